"""The run folder: which process may use it, what replaces what, and files that are damaged, deleted or have no room."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import nn

import limbeck
from limbeck.errors import RunError, UserError
from limbeck.locking import LockedError
from limbeck.runs import Reporting, RunFolder, run
from stopped_runs import StopAfter, log, stopping


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


def wait_for(path, text, seconds=60):
    end = time.monotonic() + seconds
    while not (path.is_file() and text in path.read_text()):
        assert time.monotonic() < end, f"no {text!r} in {path}"
        time.sleep(0.05)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_two_commands_in_one_folder_and_sigterm(tiny, tmp_path, limbeck):
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "run"
    many = {**tiny, "training": {**tiny["training"], "epochs": 5000, "schedule": "constant"}}
    recipe.write_text(yaml.safe_dump(many))
    words = [sys.executable, "-m", "limbeck", "run", str(recipe), "--out", str(out)]
    first = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(out / "log.txt", "epoch 1/")
        for more in ([], ["--resume"]):
            code, _, err = limbeck("run", recipe, "--out", out, *more)
            assert (code, err.count("\n")) == (2, 1)
            assert f"{out}: process {first.pid} on " in err
        first.send_signal(signal.SIGTERM)
        _, err = first.communicate(timeout=20)
    finally:
        first.kill()
    assert first.returncode == 130
    place = r"saved after (step \d+ of 3 of )?epoch \d+ of 5000 \(.*/checkpoints/last\)"
    assert re.fullmatch(rf"limbeck: stopped; {place}; the same command with --resume continues\n", err)
    assert not [path for path in out.iterdir() if path.name.endswith((".partial", ".owner"))]
    trained = int(re.findall(r"epoch (\d+)/5000", log(out))[-1])
    stop_soon = Reporting(progress=StopAfter(trained + 2))
    with pytest.raises(KeyboardInterrupt):
        run(many, out=out, resume=True, reporting=stop_soon)
    assert re.search(rf"resuming after (step \d+ of 3 of epoch {trained + 1}|epoch {trained}) of 5000", log(out))


def test_a_lock_of_a_killed_process_is_no_obstacle_and_is_logged(tiny, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").touch()
    (tmp_path / "run" / ".lock.owner").write_text('{"pid": 4194304, "host": "elsewhere"}')
    (tmp_path / "run" / ".summary.json.17-ab.partial").write_text("{")
    limbeck.run(tiny, out=tmp_path / "run")
    assert "process 4194304 on elsewhere ended while it worked in this folder" in log(tmp_path / "run")
    assert not list((tmp_path / "run").glob(".*.partial"))


def test_a_locked_folder_is_refused_but_a_complete_run_is_read(tiny, tmp_path):
    limbeck.run(tiny, out=tmp_path / "run")
    with RunFolder(tmp_path / "run").held():
        assert limbeck.run(tiny, out=tmp_path / "run", resume=True).summary["epoch"] == 2
        for how in ({}, {"overwrite": True}):
            with pytest.raises(LockedError, match="is working on it"):
                limbeck.run(tiny, out=tmp_path / "run", **how)
    with RunFolder(tmp_path / "new").held(), pytest.raises(LockedError):
        limbeck.run(tiny, out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_mistake_leaves_no_folder_and_no_parent(tiny, tmp_path):
    with pytest.raises(UserError):
        limbeck.run(tiny, overrides={"training.batch_size": 61}, out=tmp_path / "a" / "b" / "run")
    assert not (tmp_path / "a").exists()
    (tmp_path / "mine").mkdir()
    with pytest.raises(UserError):
        limbeck.run(tiny, overrides={"training.batch_size": 61}, out=tmp_path / "mine")
    assert list((tmp_path / "mine").iterdir()) in ([], [tmp_path / "mine" / ".lock"])


def test_overwrite_replaces_a_run_and_nothing_else(tiny, tmp_path):
    out = tmp_path / "run"
    limbeck.run(tiny, out=out)
    assert limbeck.run(tiny, overrides={"seed": 5}, out=out, overwrite=True).summary["seed"] == 5
    assert "replaces the run that was in this folder" in log(out)
    assert log(out).count("epoch 2/2") == 1
    (out / "thesis.tex").touch()
    with pytest.raises(UserError, match=r"run: holds 'thesis\.tex', which is no file of a run"):
        limbeck.run(tiny, out=out, overwrite=True)
    assert RunFolder(out).read_summary()["seed"] == 5
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").touch()
    with pytest.raises(UserError, match="full: is not empty and holds no run"):
        limbeck.run(tiny, out=tmp_path / "full", overwrite=True)
    with pytest.raises(UserError, match="resume and overwrite: got both"):
        limbeck.run(tiny, out=out, overwrite=True, resume=True)


def test_overwrite_with_a_mistake_keeps_the_run(tiny, tmp_path):
    limbeck.run(tiny, out=tmp_path / "run")
    with pytest.raises(UserError, match="batch_size"):
        limbeck.run(tiny, overrides={"training.batch_size": 61}, out=tmp_path / "run", overwrite=True)
    assert RunFolder(tmp_path / "run").read_summary()["epoch"] == 2


def test_a_run_that_failed_before_its_first_epoch_ended_blocks_nothing(tiny, tmp_path):
    with pytest.raises(RunError, match="epoch 1, step 2 of 3: the loss part"):
        limbeck.run(tiny, overrides={"training.optimizer.lr": 1e30}, out=tmp_path / "run")
    assert "failed: epoch 1, step 2 of 3: the loss part" in log(tmp_path / "run")
    assert limbeck.run(tiny, out=tmp_path / "run").summary["epoch"] == 2
    assert "failed: " not in log(tmp_path / "run")


def test_a_run_that_failed_later_is_replaced_on_purpose_only(tiny, tmp_path):
    class Diverge(StopAfter):
        def epoch(self, row, epochs):
            raise RunError("epoch 2: the loss is nan")

    with pytest.raises(RunError):
        limbeck.run(tiny, out=tmp_path / "run", reporting=Reporting(progress=Diverge(1)))
    with pytest.raises(UserError, match="already holds a run, expected another --out, or --resume .* or --overwrite"):
        limbeck.run(tiny, out=tmp_path / "run")
    assert limbeck.run(tiny, out=tmp_path / "run", overwrite=True).summary["epoch"] == 2


@pytest.mark.parametrize("content", ["", '{"epoch": 2, "test.acc', "[1]", '{"epoch": 2}'])
def test_a_damaged_summary_is_written_again(tiny, tmp_path, content):
    before = limbeck.run(tiny, out=tmp_path / "run").summary
    (tmp_path / "run" / "summary.json").write_text(content)
    with pytest.raises(UserError, match=r"summary\.json: is damaged") as error:
        limbeck.runs.read_run(tmp_path / "run")
    one_line(error)
    after = limbeck.run(tiny, out=tmp_path / "run", resume=True).summary
    assert after["test.accuracy"] == before["test.accuracy"]


def test_a_recipe_of_no_length_is_one_line(tiny, tmp_path):
    limbeck.run(tiny, out=tmp_path / "run")
    (tmp_path / "run" / "recipe.yaml").write_bytes(b"")
    with pytest.raises(UserError, match=r"recipe\.yaml") as error:
        limbeck.run(tiny, out=tmp_path / "run", resume=True)
    one_line(error)


@pytest.mark.parametrize("name", ["student.safetensors", "predictions.safetensors"])
@pytest.mark.parametrize("content", [b"", b"half a file", None])
def test_damaged_results_are_written_again_from_the_checkpoint(tiny, tmp_path, name, content):
    before = limbeck.run(tiny, out=tmp_path / "run").summary
    path = tmp_path / "run" / name
    # Copies: tensors that were loaded lie in the file, which is shortened below.
    whole = {key: tensor.clone() for key, tensor in load_file(path).items()}
    path.unlink() if content is None else path.write_bytes(content)
    assert not RunFolder(tmp_path / "run").finished
    after = limbeck.run(tiny, out=tmp_path / "run", resume=True)
    assert after.summary["test.accuracy"] == before["test.accuracy"]
    again = load_file(path)
    assert all(torch.equal(again[key], whole[key]) for key in whole)


def test_damaged_results_without_a_checkpoint_are_one_line(tiny, tmp_path):
    limbeck.run(tiny, out=tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    for name in ("predictions.safetensors", "student.safetensors"):
        (tmp_path / "run" / name).write_bytes(b"")
    with pytest.raises(UserError, match=r"predictions\.safetensors") as error:
        RunFolder(tmp_path / "run").read_predictions()
    one_line(error)
    with pytest.raises(UserError, match=r"student\.safetensors") as error:
        limbeck.run(tiny, out=tmp_path / "run", resume=True)
    one_line(error)


def test_a_folder_deleted_in_the_middle_of_a_run(tiny, tmp_path):
    class Delete(StopAfter):
        def epoch(self, row, epochs):
            shutil.rmtree(tmp_path / "run")

    with pytest.raises(RunError, match="run.*cannot be written") as error:
        limbeck.run(tiny, out=tmp_path / "run", reporting=Reporting(progress=Delete(1)))
    one_line(error)


@pytest.mark.parametrize("name", ["metrics.csv", "student.safetensors", "predictions.safetensors", "summary.json"])
def test_a_full_disk_is_one_line_and_leaves_no_half_file(tiny, tmp_path, monkeypatch, name):
    replace = os.fsync

    def full(file):
        if name in str(Path(f"/proc/self/fd/{file}").readlink()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(file)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=f"{name}: cannot be written .No space left on device") as error:
        limbeck.run(tiny, out=tmp_path / "run")
    one_line(error)
    assert not list((tmp_path / "run").rglob("*.partial*"))
    assert not (tmp_path / "run" / name).exists()
    monkeypatch.undo()
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))
    assert limbeck.run(tiny, out=tmp_path / "run", resume=True).summary["epoch"] == 2


def test_a_disk_that_is_full_from_the_start_leaves_a_folder_that_blocks_nothing(tiny, tmp_path, monkeypatch):
    replace = os.fsync

    def full(file):
        if "recipe.yaml" in str(Path(f"/proc/self/fd/{file}").readlink()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(file)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(RunError, match=r"recipe\.yaml: cannot be written"):
            limbeck.run(tiny, out=tmp_path / "run")
    assert limbeck.run(tiny, out=tmp_path / "run").summary["epoch"] == 2


def test_files_have_the_permissions_of_the_umask(tiny, tmp_path):
    before = os.umask(0o022)
    try:
        limbeck.run({**tiny, "method": "kd"}, out=tmp_path / "run")
    finally:
        os.umask(before)
    kept = [*(tmp_path / "run").iterdir(), *(tmp_path / "cache" / "teachers").glob("*/*")]
    modes = {path.name: path.stat().st_mode & 0o777 for path in kept if path.is_file() and path.name[0] != "."}
    assert {"student.safetensors", "predictions.safetensors", "teacher.safetensors"} <= set(modes)
    assert set(modes.values()) == {0o644}


class Odd(nn.Module):
    """A student with a buffer that no file holds."""

    def __init__(self, odd):
        super().__init__()
        self.fc = nn.Linear(784, 10)
        self.register_buffer("odd", odd)

    def forward(self, x):
        return self.fc(x.flatten(1))


@pytest.mark.parametrize("odd", [torch.eye(2).to_sparse(), torch.empty(2, device="meta")], ids=["sparse", "meta"])
def test_tensors_that_cannot_be_stored_are_refused_before_the_training(tiny, tmp_path, monkeypatch, odd):
    monkeypatch.setattr("limbeck.build.networks.models.create", lambda *_, **__: Odd(odd))
    with pytest.raises(UserError, match="student resnet8: 'odd' is a .*expected one that can be stored") as error:
        limbeck.run(tiny, out=tmp_path / "run")
    one_line(error)
    assert not (tmp_path / "run").exists()


class WithExtraState(Odd):
    """A student whose state holds something else than tensors."""

    def get_extra_state(self):
        return {"steps": 1}


def test_a_state_that_is_no_tensor_is_refused(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("limbeck.build.networks.models.create", lambda *_, **__: WithExtraState(torch.eye(2)))
    with pytest.raises(UserError, match="student resnet8: '_extra_state' is a dict, expected a tensor"):
        limbeck.run(tiny, out=tmp_path / "run")


def test_a_student_with_lazy_layers_is_refused(tiny, tmp_path, monkeypatch):
    lazy = nn.Sequential(nn.Flatten(), nn.LazyLinear(10))
    monkeypatch.setattr("limbeck.build.networks.models.create", lambda *_, **__: lazy)
    with pytest.raises(UserError, match="student resnet8: '1.weight' has no size yet, expected"):
        limbeck.run(tiny, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_path_with_a_null_byte(tiny, tmp_path):
    with pytest.raises(UserError, match="cannot be") as error:
        limbeck.run(tiny, out=f"{tmp_path}/a\0b")
    one_line(error)


def test_a_name_that_is_no_utf8_is_logged(tiny, tmp_path):
    out = os.fsdecode(os.fsencode(tmp_path) + b"/r\xff")
    limbeck.run(tiny, out=out)
    assert "r\\udcff" in log(RunFolder(out).path)
    assert json.loads((RunFolder(out).path / "summary.json").read_text())["epoch"] == 2


def test_the_log_of_a_stopped_run_records_the_stop(tiny, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(tiny, out=tmp_path / "run", reporting=stopping(1))
    assert log(tmp_path / "run").endswith("stopped\n")
