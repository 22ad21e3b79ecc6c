"""Recipes with several teachers, and runs that check for nan and inf."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import limbeck
from limbeck.build.context import Context
from limbeck.build.teachers import build_teacher
from limbeck.data import Views
from limbeck.errors import RunError, UserError
from limbeck.runs import Reporting, dump_recipe, load_recipe
from limbeck.teachers import EnsembleTeacher


def with_members(tiny, *changes, **more):
    member = {key: value for key, value in tiny["teacher"].items() if key != "source"}
    return {**tiny, "method": "kd", "teacher": {"members": [{**member, **change} for change in changes], **more}}


def test_members_are_trained_once_kept_and_averaged(tiny, tmp_path):
    logged = []
    recipe = with_members(tiny, {"seed": 1}, {"seed": 2}, average="probabilities")
    done = limbeck.run(recipe, out=tmp_path / "run", reporting=Reporting(logged.append))
    assert done.summary["teacher"] == "live"
    assert sum("training resnet8 as teacher" in line for line in logged) == 2
    assert any("2 teachers averaged by probabilities: teacher.members.0 resnet8: trained" in line for line in logged)
    assert any("2 teachers averaged by probabilities: test accuracy" in line for line in logged)
    kept = sorted((tmp_path / "cache" / "teachers").glob("*/teacher.safetensors"))
    assert len(kept) == 2

    context = Context(load_recipe(recipe))
    data = context.data
    logged.clear()
    teacher = build_teacher(context, Reporting(logged.append)).teacher
    assert not any("training resnet8" in line for line in logged)
    assert isinstance(teacher, EnsembleTeacher)
    batch = next(Views(data.test, batch_size=30, mean=data.mean, std=data.std).epoch(0))
    expected = torch.zeros(30, 10)
    for path in kept:
        network = limbeck.models.create("resnet8", num_classes=10, in_channels=1, width=0.5)
        network.load_state_dict(load_file(path))
        expected += network.eval()(batch.inputs).softmax(1).detach() / 2
    torch.testing.assert_close(teacher(batch.inputs, batch.labels).exp(), expected)

    # A single teacher of the same settings is one of those that were kept.
    alone = {**tiny, "method": "kd", "teacher": {**tiny["teacher"], "seed": 1}}
    limbeck.run(alone, out=tmp_path / "alone")
    assert len(list((tmp_path / "cache" / "teachers").iterdir())) == 2


def test_members_by_word_and_a_round_trip():
    given = {"data": "mnist", "student": "resnet8", "teacher": {"members": ["python:one:a", "python:one:b"]}}
    recipe = load_recipe(given, {"teacher.average": "confidence"}, trust=True)
    assert [member.name for member in recipe.teacher.members] == ["python:one:a", "python:one:b"]
    assert (recipe.teacher.average, recipe.source()) == ("confidence", "live")
    assert load_recipe(recipe, trust=True) == recipe
    assert "average: confidence" in dump_recipe(recipe)


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ({"average": "confidence"}, "teacher.average: got 'confidence' without members"),
        ({"members": ["a", "b"], "average": "mean"}, "teacher.average: got 'mean', input should be 'logits'"),
        ({"members": ["a", "b"], "name": "c"}, "teacher.members: got them beside teacher.name"),
        ({"members": ["a"], "options": {"width": 1}}, "teacher.members: got them beside teacher.options"),
        ({"members": ["a", "b", "a"]}, "teacher.members: two are the same, expected another network"),
        ({"members": "resnet8"}, "teacher.members: got 'resnet8'"),
        ({"members": [{"nam": "resnet8"}]}, "teacher.members.0.nam: unknown key 'nam'; did you mean 'name'?"),
        ({"members": ["a", {"weights": "b.pt"}]}, "teacher.members.1.name: missing, expected the teacher network"),
        ({"members": [{"name": "a", "source": "live"}]}, "teacher.members.0.source: unknown key 'source'"),
        ({"members": ["resnet8"]}, "teacher.members.0 resnet8: has no weights, expected teacher.members.0.weights or"),
        ({"members": [{"seed": 1}]}, "teacher.members.0.name: missing, expected a network"),
        ({"members": ["python:gone_away:make"]}, "teacher.members.0.name: got 'python:gone_away:make'"),
    ],
)
def test_mistakes_about_members_are_one_line_and_nothing_is_written(tiny, tmp_path, teacher, message):
    with pytest.raises(UserError) as error:
        limbeck.run({**tiny, "method": "kd", "teacher": teacher}, out=tmp_path / "run")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_every_member_is_checked_before_anything_is_trained(tiny, tmp_path):
    recipe = with_members(tiny, {}, {"options": {"widht": 1}})
    with pytest.raises(UserError, match=r"teacher\.members\.1: unknown resnet8 option 'widht'"):
        limbeck.run(recipe, out=tmp_path / "run")
    assert not (tmp_path / "cache" / "teachers").exists()


class Spoils(nn.Module):
    """Passes its rows on, some of them with a value that is no finite number."""

    def __init__(self, *rows, value=float("nan")):
        super().__init__()
        self.rows, self.value = list(rows), value
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, inputs):
        output = inputs * self.weight
        spoilt = torch.zeros_like(output, dtype=torch.bool)
        spoilt[self.rows, 0] = True
        return torch.where(spoilt, self.value, output)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_the_error_of_a_distiller_names_the_network_with_nonfinite_logits(value):
    inputs, labels = torch.randn(8, 3), torch.zeros(8, dtype=torch.long)
    fine = limbeck.Distiller(Spoils(), Spoils(), "kd", check_finite=True)(inputs, labels)
    assert fine.loss.isfinite()
    with pytest.raises(RunError) as error:
        limbeck.Distiller(Spoils(2, 5, value=value), Spoils(), "kd", check_finite=True)(inputs, labels)
    assert str(error.value) == "the student's logits: nan or inf in 2 of the batch's 8 rows (2, 5)"
    with pytest.raises(RunError) as error:
        limbeck.Distiller(Spoils(), Spoils(*range(6), value=value), "kd", check_finite=True)(inputs, labels)
    assert str(error.value) == "the teacher's logits: nan or inf in 6 of the batch's 8 rows (0, 1, 2, 3, 4, ...)"
    limbeck.Distiller(Spoils(2, value=value), Spoils(), "kd")(inputs, labels)
    limbeck.Distiller(Spoils(), Spoils(2, value=value), "none", check_finite=True)(inputs, labels)


def test_the_error_of_a_run_names_the_network_with_nonfinite_logits(tiny, tmp_path):
    change = {"training.optimizer.lr": 1e30, "training.check_finite": True}
    with pytest.raises(RunError, match="the loss part ce is nan in 20 of the batch's 20 samples .*student nan"):
        limbeck.run(tiny, overrides=change, out=tmp_path / "run")


def test_checking_changes_neither_numbers_nor_the_kept_teacher(tiny, tmp_path):
    plain, looking = {**tiny, "method": "kd"}, {**tiny, "method": "kd"}
    training = {**tiny["training"], "check_finite": True}
    looking |= {"training": training, "teacher": {**tiny["teacher"], "training": {**training, "epochs": 1}}}
    one, other = (limbeck.run(recipe, out=tmp_path / name) for recipe, name in ((plain, "one"), (looking, "other")))
    assert one.summary["test.loss"] == other.summary["test.loss"]
    assert len(list((tmp_path / "cache" / "teachers").iterdir())) == 1


def test_an_ensemble_that_uses_the_labels_is_not_measured_on_them(tiny, tmp_path):
    members = {"members": [tiny["teacher"], {**tiny["teacher"], "seed": 1}], "average": "confidence"}
    recipe = {**tiny, "teacher": members, "compare": {"methods": ["none", "kd"]}}
    found = limbeck.compare(recipe, out=tmp_path / "c", jobs=1)
    assert found.teacher_figure is None
    assert [result.agreement for result in found.results] == [None, None]
