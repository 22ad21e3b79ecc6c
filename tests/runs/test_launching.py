"""Processes of a run that limbeck starts by itself: how they end, and what is refused."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import limbeck as limbeck_package
from limbeck.errors import UserError
from limbeck.training import TrainingSettings
from limbeck.training.processes import check_one_process, check_processes, in_each_process

SECONDS = 60


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"devices": 2}, "training.devices: got 2 in one process, expected the command limbeck run, or torchrun"),
        ({"nodes": 2}, "training.nodes: got 2, expected torchrun --nnodes 2"),
    ],
)
def test_processes_that_nobody_has_started(settings, message):
    with pytest.raises(UserError, match=message):
        check_processes(TrainingSettings(device="cpu", **settings))


@pytest.mark.parametrize(("key", "started"), [("devices", "LOCAL_WORLD_SIZE"), ("nodes", "GROUP_WORLD_SIZE")])
def test_other_processes_than_the_settings_have(monkeypatch, key, started):
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "1", "GROUP_WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(started, "3")
    with pytest.raises(UserError, match=f"training.{key}: got 2, torchrun has started 3"):
        check_processes(TrainingSettings(device="cpu", **{key: 2}))
    check_processes(TrainingSettings(device="cpu", **{key: 3}))


def test_a_comparison_has_one_process_a_run(limbeck, tiny, tmp_path):
    (tmp_path / "mine.yaml").write_text(json.dumps(tiny))
    code, _, err = limbeck("compare", str(tmp_path / "mine.yaml"), "training.devices=2")
    assert (code, err) == (
        2,
        "limbeck: training.devices: got 2 in a comparison, expected 1: its runs have one process each\n",
    )
    with pytest.raises(UserError, match="training.nodes: got 2 in a comparison"):
        check_one_process(TrainingSettings(nodes=2))


def test_a_global_batch_is_divided():
    settings = TrainingSettings(batch_size=12, batch_of="global")
    assert [in_each_process(settings, count).batch_size for count in (1, 2, 3)] == [12, 6, 4]
    with pytest.raises(
        UserError, match="training.batch_size: got 12 with batch_of global, expected a multiple of the 5"
    ):
        in_each_process(settings, 5)


@pytest.mark.parametrize("settings", [{"ema": 0.9}, {"compile": True}, {"keep": "best"}, {"channels_last": True}])
def test_what_a_divided_student_cannot_have(settings):
    with pytest.raises(UserError, match=f"training.{next(iter(settings))}: got .* with strategy fsdp"):
        in_each_process(TrainingSettings(strategy="fsdp", **settings), 2)


def started(tiny, tmp_path, *more):
    tiny["training"] |= {"epochs": 500, "evaluate_every": 500}
    (tmp_path / "mine.yaml").write_text(json.dumps(tiny))
    command = [sys.executable, "-m", "limbeck", "run", str(tmp_path / "mine.yaml"), "training.devices=2", *more]
    command += ["--out", str(tmp_path / "run")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with (tmp_path / "printed.txt").open("w") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, env=environment)


def wait_until(tmp_path, text):
    deadline = time.monotonic() + 3 * SECONDS
    while text not in (tmp_path / "printed.txt").read_text():
        assert time.monotonic() < deadline, (tmp_path / "printed.txt").read_text()
        time.sleep(0.2)


def children(pid):
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def trains(pid):
    return b"limbeck" in Path(f"/proc/{pid}/cmdline").read_bytes()


def training_processes(launcher, tmp_path):
    """Wait for the second epoch, and return both processes."""
    wait_until(tmp_path, "epoch 2/500")
    found = [pid for pid in children(launcher.pid) if trains(pid)]
    assert len(found) == 2
    return found


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_killed_process_ends_all_with_one_line(tiny, tmp_path):
    process = started(tiny, tmp_path)
    try:
        workers = training_processes(process, tmp_path)
        os.kill(workers[1], signal.SIGKILL)
        assert process.wait(SECONDS) == 1
    finally:
        process.kill()
    printed = (tmp_path / "printed.txt").read_text()
    line = (
        "was ended by SIGKILL, as when memory runs out; all have been ended, the same command with --resume continues"
    )
    assert printed.count("limbeck:") == 1
    assert f"limbeck: process 2 of 2 {line}" in printed
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_process_outlives_its_launcher(tiny, tmp_path):
    """Found by killing: the processes went on alone, for up to a week where one waited for another."""
    process = started(tiny, tmp_path)
    try:
        workers = training_processes(process, tmp_path)
    finally:
        process.kill()
    process.wait(SECONDS)
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_sigterm_saves_and_the_run_continues(tiny, tmp_path):
    process = started(tiny, tmp_path)
    try:
        wait_until(tmp_path, "epoch 2/500")
        process.terminate()
        assert process.wait(SECONDS) == 130
    finally:
        process.kill()
    printed = (tmp_path / "printed.txt").read_text()
    assert printed.count("limbeck:") == 1
    assert "the same command with --resume continues" in printed
    process = started(tiny, tmp_path, "--resume")
    try:
        wait_until(tmp_path, "resuming after")
    finally:
        process.terminate()
        process.wait(SECONDS)


@pytest.mark.parametrize(
    ("device", "message"),
    [("gpu", "teacher.device: got 'gpu', expected cpu, mps"), ("cuda:90", "teacher.device: got 'cuda:90', which")],
)
def test_a_teacher_on_a_device_that_is_not_there(tiny, device, message):
    with pytest.raises(UserError, match=message):
        limbeck_package.run({**tiny, "method": "kd"}, overrides={"teacher.device": device})


def test_a_teacher_on_a_device_of_its_own(tiny, tmp_path):
    runs = [
        limbeck_package.run({**tiny, "method": "kd"}, overrides={"teacher.device": device}, out=tmp_path / str(device))
        for device in (None, "cpu")
    ]
    assert runs[0].summary["test.loss"] == runs[1].summary["test.loss"]
