"""Checkpoints with damage: one that is not whole is never taken, one of something else is named."""

import os
import shutil

import pytest
import torch

from fuzzing import Crash, amounts, damaged, fuzz
from limbeck.errors import RunError, UserError
from limbeck.training.checkpoint import load_checkpoint, restoring, save_checkpoint, usable_checkpoint


def written(folder, epoch=2):
    for number in range(1, epoch + 1):
        save_checkpoint(folder, {"epoch": number, "weights": torch.full((20,), float(number))})
    return folder


@amounts(60, 800)
def test_damage_gives_the_checkpoint_before_it_or_a_line(examples, slow_counts, tmp_path):
    whole = written(tmp_path / "whole")
    newest, previous = ((whole / name).read_bytes() for name in ("state.pt", "previous.pt"))
    folder = tmp_path / "last"

    def load(content):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        (folder / "state.pt").write_bytes(content)
        state = load_checkpoint(folder)
        expected = 2 if content == newest else 1
        if state["epoch"] != expected or not bool((state["weights"] == expected).all()):
            raise Crash(f"took a damaged checkpoint: {state}")

    fuzz(load, damaged(newest).filter(lambda content: content != previous), examples=examples, count=slow_counts)


@pytest.mark.parametrize("kind", ["fifo", "link", "empty", "missing"])
def test_what_is_no_regular_file_is_no_checkpoint(tmp_path, kind):
    folder = written(tmp_path / "last")
    newest = folder / "state.pt"
    newest.unlink()
    match kind:
        case "fifo":
            os.mkfifo(newest)
        case "link":
            newest.symlink_to(newest)
        case "empty":
            newest.touch()
    assert load_checkpoint(folder)["epoch"] == 1


def test_a_folder_in_place_of_a_checkpoint(tmp_path):
    folder = written(tmp_path / "last")
    (folder / "state.pt").unlink()
    (folder / "state.pt").mkdir()
    with pytest.raises(UserError, match=r"state\.pt: cannot be replaced \(Is a directory\), expected a file"):
        load_checkpoint(folder)


def test_a_sealed_checkpoint_of_something_else_is_named(tmp_path):
    save_checkpoint(tmp_path / "last", {"epoch": 1})
    assert usable_checkpoint(tmp_path / "last", print)
    line = r"last: holds no checkpoint of this training \(KeyError: 'record'\)"
    with pytest.raises(UserError, match=line), restoring(tmp_path / "last"):
        load_checkpoint(tmp_path / "last")["record"]


def test_other_errors_while_a_checkpoint_is_restored_stay(tmp_path):
    for error in (RunError("full"), UserError("other"), KeyboardInterrupt("stop")):
        with pytest.raises(type(error), match=str(error)), restoring(tmp_path):
            raise error
