"""What was registered in this process alone does not reach a comparison's worker processes."""

import importlib

import pytest
from torch import nn

import limbeck
from limbeck.errors import UserError
from limbeck.methods.registry import REGISTRY as METHODS
from limbeck.models.factory import REGISTRY as MODELS

jobs = importlib.import_module("limbeck.runs.jobs")


def gap(student_logits, teacher_logits, *, weight=None):
    return (student_logits - teacher_logits).square().mean()


def flat(num_classes, in_channels):
    return nn.Sequential(nn.Flatten(), nn.Linear(784 * in_channels, num_classes))


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    limbeck.methods.register_loss("gap", gap)
    limbeck.models.register("Flat", flat)
    monkeypatch.setattr(jobs, "cores", lambda: 2)
    yield
    METHODS.unregister("gap")
    MODELS.unregister("Flat")


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"compare": {"methods": ["none", "revise+gap"]}}, "gap"),
        (
            {"compare": {"methods": ["none", "gap@half"], "settings": {"gap@half": {"alpha": 0.5}}}},
            "gap",
        ),
        ({"student": "flat"}, "flat"),
        ({"teacher": {"members": ["flat", {"name": "resnet8", "training": {"epochs": 1}}]}}, "flat"),
    ],
)
def test_several_jobs_are_refused(tiny, tmp_path, changes, name):
    with pytest.raises(UserError, match=f"^jobs: got 2, but {name} was registered in this process") as error:
        limbeck.compare({**tiny, **changes}, out=tmp_path / "c", jobs=2)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "c").exists()


def test_without_a_number_of_jobs_the_runs_follow_one_another(tiny, tmp_path):
    lines = []
    recipe = {**tiny, "student": "flat", "compare": {"methods": ["none", "gap"]}}
    reporting = limbeck.build.teachers.Reporting(lines.append)
    found = limbeck.compare(recipe, overrides={"training.epochs": 1}, out=tmp_path / "c", reporting=reporting)
    assert found.failures == ()
    assert [line.partition(":")[0] for line in lines if "worker processes do not see" in line] == ["one run at a time"]


def test_names_that_are_everywhere_leave_the_number_alone(tiny):
    recipe = limbeck.runs.load_recipe({**tiny, "method": "gap", "compare": {"methods": ["none", "kd"]}})
    assert jobs.jobs_at_a_time(2, recipe, 8, print) == 2
