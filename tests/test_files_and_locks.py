"""Files that are replaced in one move, and locks between processes."""

import os
import signal
import subprocess
import sys
import time

import pytest

from limbeck.errors import RunError, UserError
from limbeck.files import remove_leftovers, replacing, write_atomically
from limbeck.locking import LockedError, locked

HOLD = """
import pathlib, sys, time
from limbeck.locking import locked
with locked(pathlib.Path(sys.argv[1]), "x"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_atomically(path, "old")
    with pytest.raises(ValueError, match="midway"), replacing(path) as partial:  # noqa: PT012
        partial.write_text("half")
        raise ValueError("midway")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_a_deleted_folder_is_one_line(tmp_path):
    with pytest.raises(RunError, match="cannot be written"):
        write_atomically(tmp_path / "gone" / "a.txt", "text")


def test_a_pipe_is_not_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RunError, match="is no regular file"):
        write_atomically(tmp_path / "pipe", "text")
    assert [entry.name for entry in tmp_path.iterdir()] == ["pipe"]
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_files_have_the_permissions_of_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        with replacing(tmp_path / "a") as partial:
            partial.unlink()
            os.close(os.open(partial, os.O_CREAT | os.O_WRONLY, 0o600))
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~umask


def test_leftovers_of_killed_processes_go_and_files_stay(tmp_path):
    write_atomically(tmp_path / "kept", "x")
    (tmp_path / ".kept.17-ab.partial").write_text("half")
    remove_leftovers(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]


def _holder(path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_another_process_is_named_and_its_death_releases_the_lock(tmp_path):
    path = tmp_path / "lock"
    process = _holder(path)
    try:
        busy = pytest.raises(LockedError, match=rf"runs/kd: process {process.pid} on \S+ is working on it")
        with busy, locked(path, "runs/kd"):
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    with locked(path, "runs/kd", timeout=5) as former:
        assert f"process {process.pid} on" in former
    with locked(path, "runs/kd") as former:
        assert former is None


def test_waiting_for_another_process(tmp_path):
    process = _holder(tmp_path / "lock")
    start = time.monotonic()
    with pytest.raises(LockedError), locked(tmp_path / "lock", "x", timeout=0.3):
        pass
    assert time.monotonic() - start >= 0.3
    process.kill()
    process.wait()


def test_a_lock_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "lock").mkdir()
    with pytest.raises(UserError, match="cannot be locked"), locked(tmp_path / "lock", "runs/kd"):
        pass


def test_what_a_process_left_that_was_killed_while_it_noted_its_number(tmp_path):
    own, other = tmp_path / ".lock.owner.17-ab.partial", tmp_path / ".note.txt.17-ab.partial"
    own.touch()
    other.touch()
    with locked(tmp_path / "lock", "here"):
        assert not own.exists()
    assert other.exists()


def test_the_leftovers_of_one_file(tmp_path):
    for name in (".a.lock.owner.17-ab.partial", ".b.17-ab.partial"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path, "a.lock.owner")
    assert [path.name for path in tmp_path.iterdir()] == [".b.17-ab.partial"]
