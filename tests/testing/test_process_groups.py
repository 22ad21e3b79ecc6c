"""A group of processes: each call reaches every process, and an exception in one comes back."""

import pytest
import torch
from torch import distributed as dist

from limbeck.testing import Processes


def sum_of_ranks(rank, world, start):
    total = torch.tensor([start + rank])
    dist.all_reduce(total)
    return rank, world, total.item()


def fails_at_last(rank, world):
    if rank == world - 1:
        raise ValueError(f"rank {rank} of {world}")


def test_calls_reach_every_process_in_turn():
    with Processes(2) as processes:
        assert processes.run(sum_of_ranks, 10) == [(0, 2, 21), (1, 2, 21)]
        with pytest.raises(ValueError, match="rank 1 of 2"):
            processes.run(fails_at_last)
        assert processes.run(sum_of_ranks, 0) == [(0, 2, 1), (1, 2, 1)]
