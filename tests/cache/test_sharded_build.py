"""Several processes fill one cache at the same time, a shard each: byte for byte what one process makes of it."""

import multiprocessing
import os
import signal
import time
from contextlib import contextmanager

import pytest
import torch
import yaml
from cache_parts import network_of, replay_of, spec_of, store_of

from limbeck.build.reporting import Reporting
from limbeck.cache import LogitStore, Shard, building, fill, holding, missing
from limbeck.cache.progress import unfilled
from limbeck.errors import RunError
from limbeck.runs.cache_commands import build_cache
from limbeck.teachers import LiveTeacher

FORK = multiprocessing.get_context("fork")
FILES = ("logits.bin", "checks.bin")


def same_files(first, second):
    return all((first / name).read_bytes() == (second / name).read_bytes() for name in FILES)


def whole(tmp_path, spec):
    store = LogitStore.open(tmp_path / "whole", spec)
    fill(store, LiveTeacher(network_of()), replay_of(spec))
    return store


class Pausing(LiveTeacher):
    """A live teacher that waits in its second batch, until it is killed or let go."""

    def __init__(self, network, inside, go):
        super().__init__(network)
        self.batches, self.inside, self.go = 0, inside, go

    def logits(self, inputs, labels, indices=None, epoch=0):
        self.batches += 1
        if self.batches == 2:
            self.inside.set()
            # A file, since an event waits for a waiter that was killed.
            while not self.go.exists():
                time.sleep(0.01)
        return super().logits(inputs, labels, indices, epoch)


def fill_part(tmp_path, spec, shard, inside, go):
    torch.set_num_threads(1)
    teacher = Pausing(network_of(), inside, go)
    fill(store_of(tmp_path, spec), teacher, replay_of(spec), shard=shard, batch_size=32)


@contextmanager
def started(tmp_path, spec, *shards):
    """Processes that fill shards, all in the middle of it; they go on where the block ends."""
    go, begun = tmp_path / "go", [FORK.Event() for _ in shards]
    parts = zip(shards, begun, strict=True)
    processes = [FORK.Process(target=fill_part, args=(tmp_path, spec, shard, inside, go)) for shard, inside in parts]
    for process in processes:
        process.start()
    try:
        assert all(inside.wait(30) for inside in begun)
        yield processes
    finally:
        go.touch()
        for process in processes:
            process.join()


@pytest.mark.parametrize(("mode", "dtype", "top_k"), [("views", "float16", None), ("epochs", "float32", 3)])
def test_shards_filled_at_once_are_the_whole_cache(tmp_path, mode, dtype, top_k):
    spec = spec_of(mode, dtype, top_k=top_k)
    with started(tmp_path, spec, *(Shard(part, 3) for part in (1, 2, 3))) as processes:
        # All of them are in the middle of their parts.
        assert len(missing(store_of(tmp_path, spec))) == spec.slots - 3 * 32
    assert [process.exitcode for process in processes] == [0, 0, 0]
    store = store_of(tmp_path, spec)
    assert same_files(store.folder, whole(tmp_path, spec).folder)
    assert fill(store, LiveTeacher(network_of()), replay_of(spec)) == 0


def test_who_may_fill_beside_whom(tmp_path):
    spec, live = spec_of(), LiveTeacher(network_of())
    store, held = store_of(tmp_path, spec), r"process \d+ on .* is working on it; wait for it"
    with started(tmp_path, spec, Shard(1, 2)):
        for shard in (Shard(1, 2), Shard(2, 3), None):
            with pytest.raises(RunError, match=f"^logit cache {store.folder}, shard 1 of 2: {held}"):
                fill(store, live, replay_of(spec), shard=shard)
        with pytest.raises(RunError, match=held), holding(store.folder):
            pass
        start, end = Shard(2, 2).bounds(spec.slots)
        assert fill(store, live, replay_of(spec), shard=Shard(2, 2)) == end - start
    assert store.filled.all()
    with building(store):
        for shard in (None, Shard(1, 2)):
            with pytest.raises(RunError, match=f"^logit cache {store.folder}: {held}"):
                fill(store, live, replay_of(spec), shard=shard)
    # Nobody is left who would have to be waited for.
    for shard in (None, Shard(1, 2), Shard(3, 3), None):
        assert fill(store, live, replay_of(spec), shard=shard) == 0


def test_a_killed_shard_resumes_and_blocks_nothing(tmp_path):
    spec, live = spec_of(), LiveTeacher(network_of())
    start, end = Shard(2, 3).bounds(spec.slots)
    with started(tmp_path, spec, Shard(2, 3)) as processes:
        store = store_of(tmp_path, spec)
        lacking, part = unfilled(store.folder)
        assert lacking == f"{spec.slots - 32} rows are missing: 0 to {start - 1}, {start + 32} to {spec.slots - 1}"
        share = f"shard 2 of 3, rows {start} to {end - 1}: {32 / (end - start):.1%} stored"
        assert part.startswith(f"{share}, process {processes[0].pid} on ")
        os.kill(processes[0].pid, signal.SIGKILL)
        processes[0].join()
        assert list(unfilled(store.folder)) == [lacking, f"{share}, stopped"]
    assert fill(store, live, replay_of(spec), shard=Shard(2, 3)) == end - start - 32
    assert len(list(unfilled(store.folder))) == 1
    assert fill(store, live, replay_of(spec)) == spec.slots - (end - start)
    assert same_files(store.folder, whole(tmp_path, spec).folder)
    assert list(unfilled(store.folder)) == []


def test_many_ranges_of_missing_rows_are_counted(tmp_path):
    spec = spec_of()
    store = store_of(tmp_path, spec)
    fill(store, LiveTeacher(network_of()), replay_of(spec), slots=torch.arange(spec.slots) % 3 > 0)
    missed = spec.slots // 3
    assert list(unfilled(store.folder)) == [f"{missed} rows are missing: 0, 3, 6, 9 and {missed - 4} ranges more"]


def test_more_shards_than_rows(tmp_path):
    spec, live = spec_of(), LiveTeacher(network_of())
    count = 2 * spec.slots
    assert fill(store_of(tmp_path, spec), live, replay_of(spec), shard=Shard(1, count)) == 0
    assert fill(store_of(tmp_path, spec), live, replay_of(spec), shard=Shard(count, count)) == 1


@pytest.fixture
def recipe(tiny, tmp_path):
    path = tmp_path / "tiny.yaml"
    teacher = {**tiny["teacher"], "cache": "views"}
    path.write_text(yaml.safe_dump({**tiny, "method": "kd", "teacher": teacher}))
    return path


def build_part(recipe, cache, shard, log):
    torch.set_num_threads(1)
    with log.open("w") as lines:
        reporting = Reporting(lambda line: print(line, file=lines, flush=True))
        build_cache(recipe, overrides={"output.cache": str(cache)}, shard=shard, reporting=reporting)


def test_machines_started_at_once_train_one_teacher_and_fill_one_cache(recipe, tmp_path):
    cache, logs = tmp_path / "shared", [tmp_path / f"{part}.log" for part in (1, 2, 3)]
    build_cache(recipe, overrides={"output.cache": str(tmp_path / "whole")})
    parts = [(recipe, cache, Shard(part, 3), log) for part, log in enumerate(logs, start=1)]
    processes = [FORK.Process(target=build_part, args=part) for part in parts]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    outputs = [log.read_text() for log in logs]
    assert sum("training resnet8 as teacher" in out for out in outputs) == 1
    for number, out in enumerate(outputs):
        part = f"shard {number + 1} of 3"
        assert f"; {part}, rows {1000 * number:,} to {1000 * number + 999:,}; 1,000 rows to store" in out
        assert f"logit cache: {part} is complete, 1,000 rows stored in " in out
    assert any("s; so is the cache" in out for out in outputs)
    ((shared,), (alone,)) = ([*(folder / "logits").iterdir()] for folder in (cache, tmp_path / "whole"))
    assert shared.name == alone.name
    assert same_files(shared, alone)


def test_shards_on_the_command_line(limbeck, recipe, tmp_path, monkeypatch):
    code, out, err = limbeck("cache", "build", recipe, "--shard", "2/3", "--quiet")
    assert (code, err, out) == (0, "", "logit cache: shard 2 of 3 is complete, 1,000 rows stored\n")
    out = limbeck("cache", "info", recipe)[1]
    assert "33.3% stored" in out
    assert "\n  2,000 rows are missing: 0 to 999, 2,000 to 2,999\n" in out
    out = limbeck("cache", "build", recipe, "--shard", "3/3")[1]
    assert "shard 3 of 3, rows 2,000 to 2,999; 1,000 rows to store" in out
    assert "shard 3 of 3 is complete, 1,000 rows stored in" in out
    assert out.rstrip().endswith("1,000 rows of other shards are missing")
    # What torchrun or SLURM left in the environment makes no part of a build that does not take it.
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "logit cache: complete, 1,000 rows stored" in limbeck("cache", "build", recipe)[1]
    assert "missing" not in limbeck("cache", "info")[1]


def test_a_shard_beside_the_whole_is_refused_in_one_line(limbeck, recipe, tmp_path):
    assert limbeck("cache", "build", recipe, "--shard", "1/9")[0] == 0
    (folder,) = (tmp_path / "cache" / "logits").iterdir()
    with holding(folder, Shard(2, 9)):
        for words in (("build",), ("build", "--shard", "1/2"), ("build", "--shard", "2/9"), ("clear",)):
            code, _, err = limbeck("cache", words[0], recipe, *words[1:])
            assert code == 1
            assert f"{folder.name}, shard 2 of 9: process {os.getpid()} on " in err
            assert err.count("\n") == 1
        assert f"shard 2 of 9, rows 333 to 665: 0.0% stored, process {os.getpid()} on" in limbeck("cache", "info")[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--shard", "9/8"), "shard: got 9/8, expected i/n with i from 1 to n, such as 3/8, or auto"),
        (("--shard", "first"), "shard: got 'first', expected i/n"),
        (("--shard", "auto"), "shard: got auto without variables of a launcher, expected RANK and WORLD_SIZE"),
    ],
)
def test_mistakes_of_shards_are_one_line(limbeck, recipe, monkeypatch, words, message):
    for name in [name for name in os.environ if name.startswith("SLURM_") or name in ("RANK", "WORLD_SIZE")]:
        monkeypatch.delenv(name)
    code, _, err = limbeck("cache", "build", recipe, *words)
    assert (code, err.count("\n")) == (2, 1)
    assert message in err
