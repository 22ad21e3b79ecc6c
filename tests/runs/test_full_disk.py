"""A full disk and a read-only folder: one line, old files whole, and a run that is resumed to the same bytes."""

import builtins
import errno
import io
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file

import limbeck
from limbeck.errors import RunError, UserError
from limbeck.models import saving
from limbeck.training.checkpoint import has_checkpoint, load_checkpoint

WRITING = set("wax+")


class Disk:
    """Counts what is written, and fails from a number on as a full disk does, or at that number alone."""

    def __init__(self):
        self.count, self.fails, self.names = 0, (lambda count: False), []

    def write(self, name):
        self.count += 1
        self.names.append(str(name))
        if self.fails(self.count):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(name))


@pytest.fixture
def disk(monkeypatch):
    """Let every write of a run pass through a disk that can be full."""
    disk, plain = Disk(), builtins.open
    writes = {name: getattr(Path, name) for name in ("mkdir", "replace", "rename")}
    fsync, save, save_file = os.fsync, torch.save, saving.save_file

    def opened(file, mode="r", *given, **more):
        if WRITING & set(mode) and not isinstance(file, int):
            disk.write(file)
        return plain(file, mode, *given, **more)

    def passed(name):
        def write(path, *given, **more):
            disk.write(path)
            return writes[name](path, *given, **more)

        return write

    def saved(state, path, *given, **more):
        disk.write(path)
        return save(state, path, *given, **more)

    def saved_tensors(tensors, path, **more):
        try:
            disk.write(path)
        except OSError as error:
            # What the library raises.
            raise SafetensorError(f"Error while serializing: I/O error: {error}") from None
        return save_file(tensors, path, **more)

    def synced(file):
        disk.write("fsync")
        return fsync(file)

    monkeypatch.setattr(io, "open", opened)
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(torch, "save", saved)
    monkeypatch.setattr(saving, "save_file", saved_tensors)
    for name in writes:
        monkeypatch.setattr(Path, name, passed(name))
    return disk


def content(folder):
    """What a run computed: its student, predictions and figures."""
    rows = [line.split(",") for line in (folder / "metrics.csv").read_text().splitlines()]
    timed = [place for place, name in enumerate(rows[0]) if "seconds" in name or "per_second" in name]
    figures = [[cell for place, cell in enumerate(row) if place not in timed] for row in rows]
    tensors = {key: value.tolist() for key, value in load_file(folder / "predictions.safetensors").items()}
    return (folder / "student.safetensors").read_bytes(), tensors, figures


def check_whole(folder):
    """Every file that is there can be read, and nothing half-written is beside them."""
    if (folder / "recipe.yaml").exists():
        assert yaml.safe_load((folder / "recipe.yaml").read_bytes())["name"] == "tiny"
    if has_checkpoint(folder / "checkpoints" / "last"):
        logged = []
        load_checkpoint(folder / "checkpoints" / "last", log=logged.append)
        assert not logged
    assert not list(folder.rglob("*.partial"))


def taught(tiny, tmp_path):
    return {**tiny, "method": "kd", "output": {"root": str(tmp_path / "runs"), "cache": str(tmp_path / "cache")}}


def fail_and_resume(recipe, tmp_path, disk, number, lasting):
    """Run with a disk that is full from a write on, or at that write alone; then resume; return what was raised."""
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    folder = tmp_path / f"run-{number}-{lasting}"
    disk.count, disk.names = 0, []
    disk.fails = (lambda count: count >= number) if lasting else (lambda count: count == number)
    raised = None
    try:
        limbeck.run(recipe, out=folder)
    except (RunError, UserError) as error:
        raised = str(error)
    finally:
        disk.fails = lambda count: False
    if raised is not None:
        assert "\n" not in raised
        assert "No space left on device" in raised or "full disk" in raised, raised
    check_whole(folder)
    limbeck.run(recipe, out=folder, resume=True)
    return raised, content(folder)


def sweep(tiny, tmp_path, disk, numbers):
    recipe = taught(tiny, tmp_path)
    limbeck.run(recipe, out=tmp_path / "whole")
    count, expected = disk.count, content(tmp_path / "whole")
    assert count > 30
    lost = 0
    for number in numbers(count):
        for lasting in (True, False):
            raised, found = fail_and_resume(recipe, tmp_path, disk, number, lasting)
            assert found == expected, (number, lasting, disk.names[number - 1])
            lost += raised is not None
    return count, lost


def test_a_disk_that_is_full_at_some_write_leaves_old_files_and_resumes(tiny, tmp_path, disk):
    _, lost = sweep(tiny, tmp_path, disk, lambda count: [count // 2, count - 3])
    assert lost


@pytest.mark.slow
def test_a_disk_that_is_full_at_any_write_leaves_old_files_and_resumes(tiny, tmp_path, disk, capsys):
    count, lost = sweep(tiny, tmp_path, disk, lambda count: range(1, count + 1))
    with capsys.disabled():
        print(f"\nfull disk: {2 * count} runs over {count} writes, {lost} ended by one line, all resumed equal")


def test_a_log_that_cannot_be_written_does_not_lose_the_run(tiny, tmp_path, monkeypatch):
    whole = limbeck.run(tiny, out=tmp_path / "whole")
    plain, lines = io.open, []

    def opened(file, mode="r", *given, **more):
        if str(file).endswith("log.txt") and "a" in mode:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
        return plain(file, mode, *given, **more)

    monkeypatch.setattr(io, "open", opened)
    run = limbeck.run(tiny, out=tmp_path / "run", reporting=limbeck.runs.Reporting(lines.append))
    assert run.summary["test.loss"] == whole.summary["test.loss"]
    warnings = [line for line in lines if line.startswith("warning:") and "log.txt" in line]
    path = tmp_path / "run" / "log.txt"
    assert warnings == [f"warning: {path}: cannot be written (No space left on device); the run goes on"]


@pytest.fixture
def mounted(tmp_path):
    """Mount a small disk, and return what changes its options; skipped where that is not permitted."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options):
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    if shutil.which("mount") is None or not mount("size=400k"):
        pytest.skip("mounting a file system is not permitted here")
    yield folder, lambda options: mount(f"remount,{options}")
    subprocess.run(["umount", str(folder)], check=True)


def test_a_small_disk_is_one_line_and_more_room_resumes(tiny, tmp_path, limbeck, mounted):
    folder, remount = mounted
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**tiny, "output": {"cache": str(tmp_path / "cache")}}))
    words = ("run", str(tmp_path / "mine.yaml"))
    assert limbeck(*words, "--out", str(tmp_path / "whole"))[0] == 0
    (folder / "filler").write_bytes(b"x" * 250_000)
    code, _, errors = limbeck(*words, "--out", str(folder / "run"))
    assert code == 1
    assert errors.startswith(f"limbeck: {folder / 'run'}/")
    assert "cannot be written" in errors
    assert errors.count("\n") == 1
    check_whole(folder / "run")
    assert remount("size=20m")
    assert limbeck(*words, "--out", str(folder / "run"), "--resume")[0] == 0
    assert content(folder / "run") == content(tmp_path / "whole")


def test_a_read_only_folder_is_one_line_for_every_command(tiny, tmp_path, limbeck, mounted):
    folder, remount = mounted
    assert remount("size=20m")
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(taught(tiny, tmp_path)))
    recipe = str(tmp_path / "mine.yaml")
    assert limbeck("run", recipe, "--out", str(folder / "done"))[0] == 0
    assert limbeck("run", recipe, "--out", str(folder / "more"), "training.epochs=1")[0] == 0
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert remount("ro")
    image = tmp_path / "one.png"
    _draw(image)
    commands = [
        ("run", recipe, "--out", str(folder / "new")),
        ("run", recipe, "--out", str(folder / "more"), "--resume", "training.epochs=2"),
        ("run", recipe, "--out", str(folder / "done"), "--overwrite"),
        ("run", recipe, "--out", str(tmp_path / "x"), f"output.cache={folder / 'cache'}"),
        ("compare", recipe, "--out", str(folder / "table"), "compare.methods=none"),
        ("report", str(folder / "done"), "--out", str(folder / "page.html")),
        ("export", str(folder / "done"), "--out", str(folder / "student.safetensors"), "--format", "safetensors"),
        ("predict", str(folder / "done"), str(image), "--out", str(folder / "found.csv")),
        ("evaluate", str(folder / "done"), "--out", str(folder / "figures")),
        ("cache", "build", recipe, "teacher.cache=views", f"output.cache={folder / 'cache'}"),
    ]
    for words in commands:
        code, _, errors = limbeck(*words)
        last = errors.strip().splitlines()[-1]
        assert code in (1, 2), words
        assert last.startswith("limbeck: "), words
        assert str(folder) in last, (words, last)
        assert "Read-only file system" in last or "no permission" in last, (words, last)
        assert "Traceback" not in errors
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def _draw(path):
    from PIL import Image

    Image.new("L", (28, 28)).save(path)
