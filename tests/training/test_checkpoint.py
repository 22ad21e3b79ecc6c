"""Checkpoints: the last two, each with its checksum, and every generator; a training goes on from them."""

import errno
import random
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from test_graphs import CLASSES, network, views_of
from torch import nn

from limbeck import Distiller
from limbeck.errors import RunError, UserError
from limbeck.randomness.seeding import seed_everything
from limbeck.training import Engine, TrainingSettings, make_fabric
from limbeck.training.checkpoint import has_checkpoint, load_checkpoint, save_checkpoint


@pytest.fixture
def folder(tmp_path):
    """A folder with two checkpoints."""
    for epoch in (1, 2):
        save_checkpoint(tmp_path / "last", {"epoch": epoch, "weights": torch.full((50, 50), float(epoch))})
    return tmp_path / "last"


def damage(path, where=0.5):
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("where", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_one_flipped_bit_is_noticed_and_the_checkpoint_before_it_used(folder, where):
    damage(folder / "state.pt", where)
    logged = []
    assert load_checkpoint(folder, log=logged.append)["epoch"] == 1
    (line,) = logged
    assert "state.pt: " in line
    assert line.endswith("; resuming from the checkpoint before it")
    assert "\n" not in line


def test_what_was_read_in_place_of_a_damaged_checkpoint_is_not_lost_to_the_next_save(folder):
    damage(folder / "state.pt")
    load_checkpoint(folder)
    save_checkpoint(folder, {"epoch": 3})
    damage(folder / "state.pt")
    assert load_checkpoint(folder)["epoch"] == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"half", "it is half-written, or something else"),
        (bytes(500), "it is half-written, or something else"),
    ],
)
def test_files_that_are_no_checkpoints_are_one_line(tmp_path, content, reason):
    (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(UserError) as error:
        load_checkpoint(tmp_path)
    assert str(error.value) == f"{tmp_path}/state.pt: cannot be read as a checkpoint ({reason})"


def test_a_checkpoint_without_a_checksum_is_one_line(tmp_path):
    torch.save({"record": []}, tmp_path / "state.pt")
    with pytest.raises(UserError, match="it has no checksum: half-written, or by a version of limbeck before") as error:
        load_checkpoint(tmp_path)
    assert "\n" not in str(error.value)


def test_two_damaged_checkpoints_are_both_named(folder):
    for name in ("state.pt", "previous.pt"):
        damage(folder / name)
    with pytest.raises(UserError, match=r"state\.pt: is damaged.*; .*previous\.pt: is damaged"):
        load_checkpoint(folder)


def test_a_kill_between_the_two_moves_leaves_the_checkpoint_before(folder):
    (folder / "state.pt").rename(folder / "previous.pt")
    assert has_checkpoint(folder)
    assert load_checkpoint(folder)["epoch"] == 2


def test_torch_reads_a_checkpoint_too(folder):
    assert torch.load(folder / "state.pt", weights_only=True)["epoch"] == 2


def test_a_full_disk_is_one_line_and_leaves_what_was_there(folder):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(RunError, match=r"state\.pt: cannot be written") as error:
            save_checkpoint(folder, {"epoch": 3, "weights": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(error.value)
    assert load_checkpoint(folder)["epoch"] == 2
    assert sorted(path.name for path in folder.iterdir()) == ["previous.pt", "state.pt"]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="file/last: cannot be made"):
        save_checkpoint(tmp_path / "file" / "last", {})


class Drawing(nn.Module):
    """A student that draws from every generator: stochastic depth by Python's, noise by NumPy's and torch's."""

    def __init__(self):
        super().__init__()
        self.body = network(4)

    def forward(self, inputs):
        out = self.body(inputs + 0.1 * torch.rand(1) + 0.1 * float(np.random.rand()))
        return out * (0.5 if random.random() < 0.5 else 1.0)


class Stop(Exception):
    """Ends a training."""


def engine(folder, *, epochs=4, stop=None, logged=None, method="none", **more):
    seed_everything(0)
    settings = TrainingSettings(
        **{"epochs": epochs, "batch_size": 16, "device": "cpu", "precision": "fp32", "schedule": "cosine", **more}
    )
    fabric = make_fabric(settings)

    def before_epoch(epoch):
        if epoch == stop:
            raise Stop

    teacher = None if method == "none" else network(6)
    return Engine(
        Distiller(Drawing(), teacher, method, num_classes=CLASSES, epochs=epochs),
        views_of(fabric),
        settings,
        fabric=fabric,
        splits={"test": list(views_of(fabric).epoch(0))},
        checkpoint=folder,
        before_epoch=before_epoch,
        log=(lambda line: None) if logged is None else logged.append,
    )


def weights(trained):
    return torch.cat([value.flatten().double() for value in trained.network.state_dict().values()])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("hurt", [False, True])
def test_a_student_that_draws_from_every_generator_resumes_bit_for_bit(tmp_path, precision, hurt):
    whole = engine(tmp_path / "whole", precision=precision)
    whole.fit()
    with pytest.raises(Stop):
        engine(tmp_path / "last", stop=2, precision=precision).fit()
    if hurt:
        damage(tmp_path / "last" / "state.pt")
    logged = []
    resumed = engine(tmp_path / "last", precision=precision, logged=logged)
    seed_everything(77)
    resumed.fit(resume=True)
    assert torch.equal(weights(resumed), weights(whole))
    assert logged[-1] == f"resuming after epoch {1 if hurt else 2} of 4"
    assert load_checkpoint(tmp_path / "last")["record"] == resumed.record


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle", {"name": "multi_step", "milestones": [1, 3]}])
def test_a_complete_training_is_continued_for_more_epochs(tmp_path, schedule):
    engine(tmp_path / "last", epochs=4, schedule=schedule).fit()
    longer = engine(tmp_path / "last", epochs=6, schedule=schedule)
    record = longer.fit(resume=True)
    whole = engine(None, epochs=6, schedule=schedule)
    expected = [row["lr"] for row in whole.fit()]
    # The rates are the longer schedule's from the resumed epoch on.
    assert [row["lr"] for row in record[4:]] == expected[4:]
    assert [row["epoch"] for row in record] == [1, 2, 3, 4, 5, 6]
    assert longer.updates.schedule.last_epoch == 6 * len(longer.views)


def test_fewer_epochs_than_are_done_are_refused(tmp_path):
    engine(tmp_path / "last", epochs=3).fit()
    with pytest.raises(UserError, match="holds 3 epochs, expected at most the 2 of training.epochs"):
        engine(tmp_path / "last", epochs=2).fit(resume=True)


def test_a_moving_temperature_resumes_bit_for_bit(tmp_path):
    whole = engine(None, method="ctkd")
    whole.fit()
    with pytest.raises(Stop):
        engine(tmp_path / "last", stop=2, method="ctkd").fit()
    resumed = engine(tmp_path / "last", method="ctkd")
    resumed.fit(resume=True)
    assert torch.equal(weights(resumed), weights(whole))
    assert torch.equal(
        *(torch.cat([p.detach().flatten() for p in each.distiller.extra_parameters()]) for each in (whole, resumed))
    )


def test_a_disk_that_is_full_while_the_checksum_is_written_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, {"epoch": 1})
    opened, left = Path.open, [1]

    def full_once(path, mode="r", *given, **more):
        if mode == "r+b" and left.pop():
            left.append(0)
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(path, mode, *given, **more)

    monkeypatch.setattr(Path, "open", full_once)
    with pytest.raises(RunError, match="No space left on device"):
        save_checkpoint(tmp_path, {"epoch": 2})
    assert load_checkpoint(tmp_path) == {"epoch": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]
