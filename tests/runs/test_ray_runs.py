"""Comparisons and searches on a Ray cluster of this machine: the same numbers, lost workers, resuming, what ends it."""

import os
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

import limbeck
from limbeck.errors import UserError
from limbeck.runs import Reporting, RunFolder
from limbeck.runs.ray_cluster import connected, machines
from limbeck.runs.ray_task import Surroundings, marked
from limbeck.runs.ray_workers import RETRIES, RayWorkers
from limbeck.runs.workers import WorkerDiedError
from stopped_runs import assert_same_run
from tiny_search import recipe_in, trials

pytest.importorskip("ray", reason="needs the extra limbeck[ray]")
# A cluster and the workers that import torch take half a minute.
pytestmark = pytest.mark.slow
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="lists processes by /proc")


@pytest.fixture(scope="module")
def cluster():
    with connected("local"):
        yield


def done(workers, work, tasks):
    with workers:
        return {number: result for found in workers.finished(work, tasks) for number, result in found.items()}


KILL = "__import__('os').kill(__import__('os').getpid(), 9)"
KILL_ONCE = "'again' if __import__('os').path.exists({0!r}) else (__import__('os').mkdir({0!r}), " + KILL + ")"
LOOK = "(__import__('os').getcwd(), __import__('torch').get_num_threads(), __import__('os').environ['LIMBECK_CACHE'])"


def test_tasks_take_over_folders_and_threads(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with marked([tmp_path]) as marks:
        found = done(RayWorkers(1.0, 0.0, 2, None, Surroundings(marks, threads=3)), eval, [(LOOK,), ("1 + 1",)])
    assert found == {0: (str(tmp_path), 3, os.environ["LIMBECK_CACHE"]), 1: 2}
    assert not list(tmp_path.glob(".ray*"))


@pytest.mark.slow
def test_a_task_outlives_its_worker_three_times(cluster, tmp_path):
    workers = RayWorkers(1.0, 0.0, 2, None, Surroundings())
    found = done(workers, eval, [(KILL_ONCE.format(str(tmp_path / "died")),), (KILL,), ("1 + 1",)])
    assert (found[0], found[2]) == ("again", 2)
    assert isinstance(found[1], WorkerDiedError)
    assert str(found[1]) == f"its worker died {RETRIES + 1} times, as when memory runs out"


def test_a_machine_without_the_folders_or_of_other_versions_is_one_line(cluster, tmp_path):
    for surroundings, reason in (
        (
            Surroundings((tmp_path / "unshared" / "mark",)),
            f"has not the folder {tmp_path}/unshared of this one, expected",
        ),
        (Surroundings(folder=tmp_path / "elsewhere"), f"has not the folder {tmp_path}/elsewhere of this one, expected"),
        (Surroundings(versions={"torch": "0.1"}), f"has torch {version('torch')}, expected 0.1 as here"),
    ):
        with pytest.raises(UserError, match="^on: the machine .* of the cluster has") as error:
            done(RayWorkers(1.0, 0.0, 1, 1, surroundings), eval, [("1",), ("1",)])
        assert reason in str(error.value)
        assert "\n" not in str(error.value)


@pytest.fixture
def compared(tiny):
    """Two runs that work, with a shared logit cache, and one that fails."""
    teacher = {**tiny["teacher"], "cache": "epochs"}
    methods = ["kd", "dist", "lr@bad"]
    bad = {"lr@bad": {"ce_weight": 1e38, "kd_weight": 1e38}}
    return {**tiny, "teacher": teacher, "compare": {"methods": methods, "settings": bad}}


def test_a_comparison_is_that_of_this_machine(cluster, compared, tmp_path):
    here = limbeck.compare(compared, out=tmp_path / "here", jobs=1, overrides={"output.cache": tmp_path / "kept"})
    there = limbeck.compare(compared, out=tmp_path / "there", on="ray")
    for method in ("kd", "dist"):
        assert_same_run(tmp_path / "here" / method / "seed-0", tmp_path / "there" / method / "seed-0")
    assert len(here.failures) == 1
    assert there.failures == here.failures
    # Complete runs are kept, others tried again.
    kept = (tmp_path / "there" / "kd" / "seed-0" / "summary.json").stat().st_mtime_ns
    (tmp_path / "there" / "dist" / "seed-0" / "summary.json").unlink()
    again = limbeck.compare(compared, out=tmp_path / "there", on="ray:1", resume=True)
    assert (tmp_path / "there" / "kd" / "seed-0" / "summary.json").stat().st_mtime_ns == kept
    assert (again.failures, [r.figures for r in again.results]) == (there.failures, [r.figures for r in there.results])


def killing(folder, after):
    """A ``tick`` that kills the process of a run once, after some epochs."""
    killed = []

    def tick(done, total):
        metrics, owner = folder / "metrics.csv", folder / ".lock.owner"
        if killed or not metrics.is_file() or metrics.read_text().count("\n") <= after or not owner.is_file():
            return
        killed.append(yaml.safe_load(owner.read_text())["pid"])
        os.kill(killed[0], signal.SIGKILL)

    return tick, killed


@pytest.mark.slow
def test_a_run_whose_worker_is_killed_continues_on_another_and_is_the_undisturbed_one(cluster, tiny, tmp_path):
    changes = {"compare.methods": "none", "training.epochs": 40}
    limbeck.compare(tiny, overrides=changes, out=tmp_path / "whole", jobs=1)
    tick, killed = killing(tmp_path / "killed" / "none" / "seed-0", 3)
    found = limbeck.compare(tiny, overrides=changes, out=tmp_path / "killed", on="ray", tick=tick)
    assert (len(killed), found.failures) == (1, ())
    log = (tmp_path / "killed" / "none" / "seed-0" / "log.txt").read_text()
    assert f"process {killed[0]} on " in log
    assert "resuming after epoch" in log
    assert_same_run(tmp_path / "whole" / "none" / "seed-0", tmp_path / "killed" / "none" / "seed-0")


@pytest.mark.slow
def test_a_search_is_that_of_this_machine(cluster, tmp_path):
    pytest.importorskip("optuna")
    here = limbeck.search(recipe_in(tmp_path), out=tmp_path / "here", jobs=2)
    there = limbeck.search(recipe_in(tmp_path), out=tmp_path / "there", on="ray")
    assert trials(here.folder / "trials.csv") == trials(there.folder / "trials.csv")
    assert (here.best, here.figure) == (there.best, there.figure)
    assert [r.figures for r in here.comparison.results] == [r.figures for r in there.comparison.results]


@pytest.mark.slow
def test_a_cache_is_filled_in_shards_as_by_one_process(cluster, tiny, tmp_path, limbeck):
    recipe = {**tiny, "method": "kd", "teacher": {**tiny["teacher"], "cache": "views"}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    for words in ((), ("--on", "ray:3")):
        kept = tmp_path / f"kept{len(words)}"
        code, out, err = limbeck("cache", "build", tmp_path / "tiny.yaml", f"output.cache={kept}", *words)
        assert (code, err) == (0, "")
    assert "logit cache: complete, 3,000 rows stored" in out
    one, three = (sorted(tmp_path.glob(f"kept{count}/logits/*/*.bin")) for count in (0, 2))
    assert [path.name for path in one] == [path.name for path in three] != []
    assert all(first.read_bytes() == second.read_bytes() for first, second in zip(one, three, strict=True))
    again = limbeck("cache", "build", tmp_path / "tiny.yaml", f"output.cache={kept}", "--on", "ray", "-q")
    assert again == (0, "logit cache: complete, 0 rows stored\n", "")
    code, _, err = limbeck("cache", "build", tmp_path / "tiny.yaml", "--on", "ray", "--shard", "1/2")
    assert (code, err) == (2, "limbeck: cache build: got --shard and --on, expected one of them\n")


def living(folder):
    """The processes that work in a folder, but for two of Ray that end a minute after a kill -9."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            state = (place / "stat").read_text().rpartition(")")[2].split()[0]
            agent = b"Agent" in (place / "cmdline").read_bytes()
            if (place / "cwd").resolve() == folder and state != "Z" and not agent:
                found.append(int(place.name))
        except OSError:
            continue
    return found


def wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


# A shell ignores Ctrl-C in what it starts in the background, and so would the command.
STOPPABLE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from limbeck.cli.main import main
main()
"""


def started(tiny, folder):
    """Start a comparison with a cluster of its own, and wait until its runs are on the way."""
    recipe = {
        **tiny,
        "training": {**tiny["training"], "epochs": 400},
        "compare": {"methods": ["none", "label_smoothing"]},
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    command = [sys.executable, "-c", STOPPABLE, "compare", "tiny.yaml", "--on", "ray:local", "--out", "c"]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    runs = [folder / "c" / name / "seed-0" / "metrics.csv" for name in ("none", "label_smoothing")]
    assert wait_until(lambda: all(run.is_file() for run in runs), 120)
    assert len(living(folder)) > 2
    return process


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nothing_goes_on_when_the_comparison_ends(tiny, tmp_path, number):
    folder = (tmp_path / "place").resolve()
    folder.mkdir()
    process = started(tiny, folder)
    # Ctrl-C reaches the whole group.
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    _, err = process.communicate(timeout=60)
    if number != signal.SIGKILL:
        assert (process.returncode, err) == (130, "limbeck: stopped; the same command with --resume continues\n")
        assert "stopped" in (folder / "c" / "none" / "seed-0" / "log.txt").read_text()
    assert wait_until(lambda: not living(folder), 30)
    assert RunFolder(folder / "c" / "none" / "seed-0").resumable


def test_the_log_names_the_cluster(cluster, tiny, tmp_path):
    lines = []
    limbeck.compare(
        tiny,
        overrides={"compare.methods": "none", "training.epochs": 1},
        out=tmp_path / "c",
        on="ray",
        reporting=Reporting(lines.append),
    )
    (machine,) = machines()
    found, room = f"{machine.cpus:g} CPUs and {machine.gpus:g} GPUs", machine.room(1, 0)
    assert lines[0] == (f"ray: a cluster of 1 machine with {found}; a run takes 1 CPUs and 0 GPUs, {room} at a time")
    with pytest.raises(UserError, match="^on: got ray:auto, but this process is connected to a Ray cluster"):
        limbeck.compare(tiny, out=tmp_path / "d", on="ray:auto")
