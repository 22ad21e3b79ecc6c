"""``limbeck advise`` on tiny runs: what it measures, keeps, writes and refuses."""

import json

import pytest
import torch

import limbeck
from limbeck.errors import UserError


@pytest.fixture
def command(request):
    """The command of the fixture ``limbeck``, whose name here is the package's."""
    return request.getfixturevalue("limbeck")


def test_a_teacher_is_trained_measured_and_kept(tiny, tmp_path):
    tiny["data"]["validation"] = 0.2
    # What a run chooses on its validation split is no part of a brief student's training.
    tiny["training"] |= {"keep": "best", "patience": 1, "temperature_scaling": True}
    lines, state = [], torch.random.get_rng_state()
    cache = {"output.cache": str(tmp_path / "cache")}
    advised = limbeck.advise(tiny, overrides=cache, reporting=limbeck.runs.Reporting(lines.append))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert "training resnet8 as teacher, 1 epochs on 50 images" in lines
    assert "training resnet8 as brief student, 1 epochs on 50 images" in lines
    card = advised.card
    assert (card.train.rows, card.held_out.rows, card.seen, card.reliability) == (50, 10, False, None)
    assert 0 <= card.agreement <= 1
    # Where a run measures the same teacher on the same images, it finds the same.
    done = limbeck.run({**tiny, "method": "kd"}, overrides=cache, out=tmp_path / "run")
    assert card.held_out.right == pytest.approx(done.summary["teacher.validation.accuracy"])
    assert card.train.confidence == pytest.approx(done.summary["teacher.train.confidence"], abs=1e-6)
    assert card.held_out.ece == pytest.approx(done.summary["teacher.validation.ece"], abs=1e-6)
    assert any("before this run" in line for line in (tmp_path / "run" / "log.txt").read_text().splitlines())
    assert not (tmp_path / "runs").exists()
    # The proxies are trained when they are asked for, and looked at afterwards.
    with_reliability = limbeck.advise(tiny, overrides=cache, reliability=True)
    weighed = limbeck.run({**tiny, "method": "weigh+kd"}, overrides=cache, out=tmp_path / "weighed")
    assert with_reliability.card.reliability == pytest.approx(weighed.summary["weigh.share"])
    lines.clear()
    again = limbeck.advise(tiny, overrides=cache, reporting=limbeck.runs.Reporting(lines.append))
    assert again == with_reliability
    assert not any(line.startswith("training ") for line in lines)


def test_the_command_that_is_advised_is_valid(tiny, tmp_path):
    overrides = {"output.cache": str(tmp_path / "my cache"), "training.optimizer": {"name": "sgd", "lr": 0.1}}
    advised = limbeck.advise(tiny, overrides=overrides, student_epochs=2)
    assert "student of 2 epochs" in "\n".join(advised.lines)
    start = "limbeck compare RECIPE "
    assert advised.command.startswith(start)
    assert f"'output.cache={tmp_path}/my cache'" in advised.command
    assert "'training.optimizer={name: sgd, lr: 0.1}'" in advised.command
    assert advised.card.seen
    assert any(note.startswith("the teacher is measured on rows that it learned from") for note in advised.notes)
    assert advised.lines[-1] == advised.command
    assert json.loads(json.dumps(advised.figures))["advice"][0]["method"] == advised.advice[0].method


def test_without_a_teacher_nothing_is_trained(tmp_path, command):
    words = ["data.train_limit=100", "teacher={source: self}", "method=dr_kd"]
    code, out, err = command("advise", "quickstart", *words)
    assert (code, err) == (0, "")
    assert out.splitlines()[0].startswith("the recipe has no teacher: these methods need none")
    assert "teacher.source=auto --methods none,lw_kd,tf_kd_reg,dr_kd --seeds 3" in out
    assert not (tmp_path / "cache").exists()


def test_the_command_prints_json_alone(command):
    small = ["data.train_limit=60", "data.test_limit=10", "training.epochs=4", "teacher.options.n_estimators=3"]
    code, out, err = command("advise", "table_quickstart", *small, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["card"]["classes"] == 10
    assert found["card"]["gap"] == pytest.approx(
        found["card"]["held_out"]["right"] - found["card"]["held_out"]["student_right"]
    )
    assert found["command"].startswith("limbeck compare table_quickstart data.train_limit=60 data.test_limit=10")


def test_maps_have_a_card_of_their_positions(tmp_path):
    small = {"data.train_limit": 20, "data.test_limit": 4, "data.options": {"train": 20, "test": 4}}
    trained = {"teacher.train_limit": None, "teacher.training.epochs": 1, "training.epochs": 1}
    advised = limbeck.advise("segmentation_quickstart", overrides={**small, **trained, "output.cache": str(tmp_path)})
    assert advised.card.several_rows
    assert advised.card.agreement is None
    # About 64 positions of each of 16 and 4 maps.
    assert 16 * 40 < advised.card.train.rows < 16 * 90
    assert advised.advice


@pytest.mark.parametrize(
    ("recipe", "changes", "error"),
    [
        ("detection_quickstart", {}, "advise: task 'detection' runs the teacher only on what the student finds"),
        ("tiny", {"teacher": {"name": "resnet8"}}, "teacher resnet8: has no weights, expected teacher.weights or"),
        ("tiny", {"training.batch_size": 55}, "expected at most the 50 images that are not held out"),
    ],
)
def test_what_cannot_be_done_is_one_line(tiny, tmp_path, recipe, changes, error):
    small = {"data.train_limit": 8, "data.test_limit": 4} if recipe != "tiny" else {}
    settings = {**small, **changes, "output.cache": str(tmp_path / "cache")}
    if "teacher" in changes:
        tiny.pop("teacher")
    with pytest.raises(UserError, match=error):
        limbeck.advise(tiny if recipe == "tiny" else recipe, overrides=settings)


@pytest.mark.parametrize("epochs", [0, 3])
def test_the_student_is_trained_no_longer_than_a_run(tiny, epochs):
    with pytest.raises(UserError, match=f"student_epochs: got {epochs}, expected 1 to 2, the epochs of a run"):
        limbeck.advise(tiny, student_epochs=epochs)
