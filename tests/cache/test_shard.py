"""Which part of a cache a process fills: as typed, and from the variables of torchrun and SLURM."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from limbeck.cache import Shard
from limbeck.errors import UserError

ARRAY = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "8", "SLURM_ARRAY_TASK_MIN": "0"}
SRUN = {"SLURM_PROCID": "1", "SLURM_NTASKS": "4"}
TORCHRUN = {"RANK": "5", "WORLD_SIZE": "6"}


@pytest.mark.parametrize("total", [0, 1, 7, 1000, 16384, 49_999, 8_100_000])
@pytest.mark.parametrize("count", [1, 2, 3, 8, 1000])
def test_shards_cover_everything_once_and_are_alike(total, count):
    bounds = [Shard(index, count).bounds(total) for index in range(1, count + 1)]
    assert (bounds[0][0], bounds[-1][1]) == (0, total)
    assert all(end == start for (_, end), (start, _) in pairwise(bounds))
    sizes = np.array([end - start for start, end in bounds])
    assert sizes.min() >= 0
    # One of small parts, a sixteenth of large ones.
    assert sizes.max() - sizes.min() <= max(1, total / count / 16 + 1024 * (total >= 16 * 1024 * count))


def test_large_shards_share_no_page_of_either_file():
    for index in range(1, 9):
        start, end = Shard(index, 8).bounds(8_100_000)
        for row_bytes in (4, 44, 200):
            assert start * row_bytes % 4096 == 0
            assert end * row_bytes % 4096 == 0 or end == 8_100_000


def test_parts_of_values_are_those_of_the_bounds():
    values = torch.arange(1003)
    parts = [Shard(index, 7).of(values) for index in range(1, 8)]
    assert torch.equal(torch.cat(parts), values)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (ARRAY, Shard(4, 8)),
        ({**ARRAY, "SLURM_ARRAY_TASK_MIN": "1"}, Shard(3, 8)),
        ({**ARRAY, "SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_STEP": "2"}, Shard(4, 8)),
        ({**ARRAY, "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, Shard(4, 8)),
        ({**ARRAY, "RANK": "0", "WORLD_SIZE": "1"}, Shard(4, 8)),
        ({**ARRAY, **SRUN, "SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_COUNT": "1"}, Shard(2, 4)),
        (TORCHRUN, Shard(6, 6)),
        ({**TORCHRUN, **SRUN}, Shard(6, 6)),
        (SRUN, Shard(2, 4)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, Shard(1, 1)),
    ],
)
def test_variables_of_launchers(environ, expected):
    assert Shard.of_environment({"PATH": "/bin", **environ}) == expected


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({}, "got auto without variables of a launcher, expected RANK and WORLD_SIZE, SLURM_ARRAY_TASK_ID"),
        ({"SLURM_NTASKS": "4"}, "got auto without variables of a launcher"),
        ({"RANK": "1"}, "got auto without WORLD_SIZE, expected it beside"),
        ({"WORLD_SIZE": "2"}, "got auto without RANK, expected it beside"),
        ({"RANK": "two", "WORLD_SIZE": "3"}, "got auto with RANK 'two', expected a whole number, or i/n"),
        ({"RANK": "-1", "WORLD_SIZE": "3"}, "got auto with RANK '-1', expected a whole number"),
        ({"RANK": "3", "WORLD_SIZE": "3"}, "got auto with RANK 3 and WORLD_SIZE 3, expected less"),
        ({"SLURM_ARRAY_TASK_ID": "1"}, "got auto without SLURM_ARRAY_TASK_COUNT"),
        (
            {**ARRAY, "SLURM_ARRAY_TASK_ID": "9"},
            "got auto in task 9 of an array of 8 tasks from 0, expected tasks without",
        ),
        ({**ARRAY, "SLURM_ARRAY_TASK_MIN": "4"}, "got auto in task 3 of an array of 8 tasks from 4"),
        ({**ARRAY, "SLURM_ARRAY_TASK_STEP": "2"}, "got auto in task 3 of an array of 8 tasks"),
        ({**ARRAY, **SRUN}, "got auto in an array of 8 tasks with 4 processes each, expected one process a task"),
        ({**ARRAY, **TORCHRUN}, "got auto in an array of 8 tasks with 6 processes each"),
    ],
)
def test_variables_without_sense(environ, message):
    with pytest.raises(UserError) as error:
        Shard.of_environment(environ)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "text", ["", "3", "/", "3/", "0/4", "5/4", "-1/4", "1.0/4", "a/b", "1/2/3", "1/0", "٣/٤", "1/9999999999"]
)
def test_what_is_no_shard(text):
    with pytest.raises(UserError, match="shard: got .*expected i/n with i from 1 to n, such as 3/8, or auto"):
        Shard.parse(text)
