"""Recipes of methods that compare features: layers by name, what is refused before anything is written, resuming."""

import pytest
import torch
from safetensors.torch import load_file

import limbeck
from limbeck.errors import UserError
from limbeck.runs import Reporting, dump_recipe, load_recipe


class Stopped(Exception):
    """Raised by a progress that stops the run."""


class StopAfterFirstEpoch:
    def step(self, *_):
        pass

    def epoch(self, row, epochs):
        raise Stopped


def test_layers_may_be_named(tiny, tmp_path):
    recipe = {
        **tiny,
        "method": "at+fitnet",
        "student": {**tiny["student"], "layers": ["layer1", "layer2"]},
        "teacher": {**tiny["teacher"], "layers": ["layer2", "layer3"]},
    }
    done = limbeck.run(recipe, out=tmp_path / "run")
    assert done.summary["train.accuracy"] >= 0
    again = load_recipe(tmp_path / "run" / "recipe.yaml")
    assert again.student.layers == ("layer1", "layer2")
    assert again.teacher.layers == ("layer2", "layer3")
    assert dump_recipe(again) == (tmp_path / "run" / "recipe.yaml").read_text()
    assert "fitnet" in (tmp_path / "run" / "metrics.csv").read_text().splitlines()[0]


def test_layers_may_be_named_by_overrides(tiny):
    recipe = load_recipe(tiny, {"student.layers": ["layer3"], "method": "sp"})
    assert recipe.student.layers == ("layer3",)


def test_networks_of_other_kinds_have_stages_too(tiny, tmp_path):
    recipe = {**tiny, "method": "vid", "student": "shufflenetv2", "training": {**tiny["training"], "epochs": 1}}
    assert limbeck.run(recipe, out=tmp_path / "run").summary["epoch"] == 1


def test_a_self_teacher_has_features_too(tiny, tmp_path):
    done = limbeck.run({**tiny, "method": "dr_kd+sp", "teacher": {}}, out=tmp_path / "run")
    assert done.summary["teacher"] == "self"


@pytest.mark.parametrize("method", ["crd", "reviewkd"])
def test_a_resumed_run_ends_where_one_that_never_stopped_does(precise, tmp_path, method):
    recipe = {**precise, "method": method}
    limbeck.run(recipe, out=tmp_path / "whole")
    with pytest.raises(Stopped):
        limbeck.run(recipe, out=tmp_path / "stopped", reporting=Reporting(progress=StopAfterFirstEpoch()))
    limbeck.run(recipe, out=tmp_path / "stopped", resume=True)
    whole, stopped = (load_file(tmp_path / name / "student.safetensors") for name in ("whole", "stopped"))
    assert all(torch.equal(value, stopped[name]) for name, value in whole.items())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"student.layers": ["layer9"]}, "unknown layer 'layer9' of Sequential"),
        ({"teacher.layers": ["layer9"]}, "unknown layer 'layer9' of Sequential"),
        ({"student.layers": []}, "student.layers: got [], tuple should have at least 1 item"),
        ({"student.layers": "layer1"}, "student.layers: got 'layer1', input should be a valid tuple"),
        (
            {"student.layers": ["layer1"], "teacher.layers": ["layer1", "layer2"]},
            "teacher layers: got 2, expected 1, one for each of the student's",
        ),
        ({"student.layers": ["flatten"], "teacher.layers": ["flatten"]}, "shapes: got a vector"),
        (
            {"teacher.source": "lightweight"},
            "method 'at': compares features, needs one network as teacher, got a light",
        ),
        (
            {"teacher": {"members": [{"name": "resnet8", "weights": "nowhere.safetensors"}]}},
            "nowhere.safetensors",
        ),
    ],
)
def test_mistakes_are_found_before_anything_is_written(tiny, tmp_path, overrides, message):
    with pytest.raises(UserError) as error:
        limbeck.run({**tiny, "method": "at"}, overrides=overrides, out=tmp_path / "run")
    assert message in str(error.value)
    assert not (tmp_path / "run").exists()


def test_several_teachers_have_no_features(tiny, tmp_path):
    members = [{**tiny["teacher"], "seed": seed} for seed in (0, 1)]
    with pytest.raises(UserError, match="compares features, needs one network as teacher, got several"):
        limbeck.run({**tiny, "method": "at", "teacher": {"members": members}}, out=tmp_path / "run")
