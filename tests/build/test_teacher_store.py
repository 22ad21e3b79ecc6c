"""The store of teachers: trained once for all processes, resumed when stopped, and nothing left over."""

import os
import threading
import time

import pytest

import limbeck
from limbeck.build.teacher_store import made_once
from limbeck.errors import RunError, UserError
from limbeck.runs import Reporting
from stopped_runs import assert_same_files, stopping


def with_long_teacher(tiny):
    return {**tiny, "method": "kd", "teacher": {**tiny["teacher"], "training": {**tiny["training"], "epochs": 4}}}


def teachers(tmp_path):
    return sorted((tmp_path / "cache" / "teachers").iterdir())


def test_a_stopped_teacher_resumes_bit_for_bit(tiny, tmp_path, monkeypatch):
    recipe, logged = with_long_teacher(tiny), []
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(recipe, out=tmp_path / "run", reporting=stopping(2, of=4))
    (partial,) = teachers(tmp_path)
    assert partial.name.endswith(".partial")
    limbeck.run(recipe, out=tmp_path / "run", resume=True, reporting=Reporting(logged.append))
    assert "teacher: resuming after epoch 2 of 4" in logged
    (resumed,) = teachers(tmp_path)
    assert {path.name for path in resumed.iterdir()} == {"teacher.safetensors", "metrics.csv", "summary.json"}
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "other" / "cache"))
    limbeck.run(recipe, out=tmp_path / "whole")
    (whole,) = teachers(tmp_path / "other")
    assert whole.name == resumed.name
    assert_same_files(whole / "teacher.safetensors", resumed / "teacher.safetensors")


def test_a_damaged_checkpoint_of_a_teacher_is_reported_and_the_training_begins_again(tiny, tmp_path):
    recipe, logged = with_long_teacher(tiny), []
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(recipe, out=tmp_path / "run", reporting=stopping(1, of=4))
    (partial,) = teachers(tmp_path)
    for path in (partial / "checkpoints").rglob("*"):
        if path.is_file():
            path.write_bytes(b"half")
    limbeck.run(recipe, out=tmp_path / "run", resume=True, reporting=Reporting(logged.append))
    assert any("the training begins again" in line for line in logged)


@pytest.mark.parametrize("content", ["", "{}", '{"seconds": 1'])
def test_a_damaged_kept_teacher_is_one_line(tiny, tmp_path, content):
    limbeck.run({**tiny, "method": "kd"}, out=tmp_path / "one")
    (folder,) = teachers(tmp_path)
    (folder / "summary.json").write_text(content)
    with pytest.raises(UserError, match=f"{folder.name}: is damaged, expected a kept teacher") as error:
        limbeck.run({**tiny, "method": "kd"}, out=tmp_path / "two")
    assert "\n" not in str(error.value)


def test_changed_weights_of_a_kept_teacher_are_noticed(tiny, tmp_path):
    recipe = {**tiny, "method": "kd"}
    limbeck.run(recipe, out=tmp_path / "run")
    path = teachers(tmp_path)[0] / "teacher.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match=r"is damaged, expected a kept teacher; delete it"):
        limbeck.run(recipe, out=tmp_path / "other")


def test_another_process_that_makes_the_same_is_waited_for(tmp_path):
    made, logged, started, ready = [], [], threading.Event(), threading.Event()

    def make_slowly(path):
        started.set()
        ready.wait(10)
        made.append(path)
        (path / "a").touch()

    first = threading.Thread(target=made_once, args=(tmp_path / "teacher", make_slowly))
    first.start()
    started.wait(10)

    def log(line):
        logged.append(line)
        ready.set()

    assert made_once(tmp_path / "teacher", made.append, log) == tmp_path / "teacher"
    first.join()
    assert [path.name for path in made] == ["teacher.partial"]
    assert logged[0].endswith("is working on it; waiting for it")
    assert f"process {os.getpid()} on " in logged[0]
    assert [path.name for path in tmp_path.iterdir()] == ["teacher"]


def test_what_stopped_attempts_left_is_cleared(tmp_path):
    old, recent = tmp_path / "other.partial", tmp_path / "recent.partial"
    for folder in (tmp_path / "teacher.partial-x1y2", old, recent):
        folder.mkdir()
        (folder / "file").touch()
    long_ago = time.time() - 40 * 24 * 3600
    for path in (old / "file", old):
        os.utime(path, (long_ago, long_ago))
    made_once(tmp_path / "teacher", lambda path: (path / "a").touch())
    assert {path.name for path in tmp_path.iterdir()} == {"teacher", "recent.partial"}


def test_a_failed_attempt_without_a_checkpoint_leaves_nothing(tmp_path):
    def fail(path):
        raise UserError("no")

    with pytest.raises(UserError, match="no"):
        made_once(tmp_path / "teacher", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line(tmp_path):
    def fail(path):
        raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match="teacher: cannot be written .No space left on device"):
        made_once(tmp_path / "teacher", fail)
