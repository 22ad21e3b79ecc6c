"""Worker processes: one dies and the others continue; none outlives its parent; scripts need no main guard."""

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from limbeck.runs import workers
from limbeck.runs.workers import WorkerDiedError, Workers


def test_processes_share_the_cores_and_get_no_more_threads_than_their_parent(monkeypatch):
    monkeypatch.setattr(workers, "cores", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    for jobs, share in ((1, 2), (4, 2), (8, 1), (16, 1)):
        with workers._one_share_each(jobs) as threads:
            assert (threads, os.environ["OMP_NUM_THREADS"]) == (share, str(share))
    assert os.environ["OMP_NUM_THREADS"] == "2"


KILLED = "__import__('os').kill(__import__('os').getpid(), 9)"
START_METHOD = "__import__('multiprocessing').get_context().get_start_method()"


def test_a_worker_that_dies_fails_its_own_task_alone(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = {}
    with Workers(1) as processes:
        for finished in processes.finished(
            eval, [(KILLED,), ("1 + 1",), ("__import__('os').getcwd()",), (START_METHOD,)]
        ):
            found |= finished
    assert isinstance(found[0], WorkerDiedError)
    assert str(found[0]) == "its process was ended by SIGKILL, as when memory runs out"
    # What a DataLoader in a worker uses is what it uses in this process.
    assert [found[number] for number in (1, 2, 3)] == [
        2,
        str(tmp_path),
        multiprocessing.get_context().get_start_method(),
    ]


@pytest.fixture
def minutes(tiny, tmp_path):
    """A recipe of two runs that take long enough to be stopped."""
    path = tmp_path / "minutes.yaml"
    training = {**tiny["training"], "epochs": 20}
    path.write_text(yaml.safe_dump({**tiny, "training": training, "compare": {"methods": ["none", "label_smoothing"]}}))
    return path


def members(group):
    """The processes of a group that are not zombies."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = status.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(its_group) == group and state != "Z":
            found.append(int(status.parent.name))
    return found


def wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def started(recipe, out, *words, runs=("none", "label_smoothing")):
    """Start a comparison, and wait until each of these runs has got further."""
    command = [sys.executable, "-m", "limbeck", "compare", recipe, "--out", out, "--jobs", "2", *words]
    logs = [out / name / "seed-0" / "metrics.csv" for name in runs]
    before = [path.read_text() if path.is_file() else "" for path in logs]

    def moved():
        return all(path.is_file() and path.read_text() != text for path, text in zip(logs, before, strict=True))

    process = subprocess.Popen(
        [*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert wait_until(moved, 120)
    return process


def unfinished(folder):
    return [run.name for run in folder.iterdir() if run.is_dir() and not [*run.glob("*/summary.json")]]


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="lists processes by /proc")
def test_no_worker_outlives_a_comparison_and_resuming_finishes_it(minutes, tmp_path, limbeck):
    process = started(minutes, tmp_path / "c")
    assert len(members(process.pid)) >= 3
    process.terminate()
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "limbeck: stopped; the same command with --resume continues\n")
    assert wait_until(lambda: not members(process.pid), 10)
    for name in unfinished(tmp_path / "c"):
        assert "stopped" in (tmp_path / "c" / name / "seed-0" / "log.txt").read_text()
    words = ["--out", tmp_path / "c", "--jobs", 1, "--resume", "--methods", "lskd,label_smoothing,none"]
    code, out, err = limbeck("compare", minutes, *words)
    assert (code, err) == (0, "")
    assert "epoch 20/20" in out


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="lists processes by /proc")
def test_nor_does_one_a_comparison_that_is_killed(minutes, tmp_path, limbeck):
    process = started(minutes, tmp_path / "c")
    process.kill()
    process.communicate(timeout=30)
    assert wait_until(lambda: not members(process.pid), 10)
    code, _, err = limbeck("compare", minutes, "--out", tmp_path / "c", "--jobs", 1, "--resume")
    assert (code, err) == (0, "")
    assert unfinished(tmp_path / "c") == []


SCRIPT = """
import sys, limbeck
print("script begins")
found = limbeck.compare(sys.argv[1], out=sys.argv[2], jobs=2, overrides={"compare.methods": "none,label_smoothing"})
print(len(found.failures), "failures")
"""


@pytest.mark.slow
def test_a_script_without_a_main_guard(tiny, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny))
    command = [sys.executable, tmp_path / "script.py", tmp_path / "tiny.yaml", tmp_path / "c"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "script begins\n0 failures\n"), done.stderr
