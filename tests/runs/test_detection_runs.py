"""Detection by recipe: every system, resumed, in fp32 and bf16, of both kinds of detectors; what is refused early."""

import functools
import math

import pytest
import torch

import limbeck
from limbeck.build.networks import input_adapter
from limbeck.errors import UserError
from limbeck.recipes.network_settings import NetworkTeacherSettings
from limbeck.runs.cache_commands import build_cache
from limbeck.tasks import Detection
from stopped_runs import assert_same_run, metrics, stopping

pytest.importorskip("pycocotools")
METHODS = ("none", "kd", "dist", "lr+dist", "dkd", "dist+mimic", "lw_kd", "dr_kd", "tf_kd_reg")
BOXES = {"box_reg", "objectness", "rpn_box_reg"}
EPOCHS = 3


@pytest.fixture
def recipe(tmp_path):
    training = {
        "epochs": EPOCHS,
        "batch_size": 6,
        "optimizer": {"name": "adamw", "lr": 0.002},
        "schedule": "poly",
        "precision": "fp32",
        "evaluate_every": EPOCHS,
    }
    return {
        "task": "detection",
        "data": {
            "name": "boxes_sample",
            "options": {"train": 12, "test": 4, "side": 64},
            "augment": {"flip": True},
        },
        "teacher": {
            "name": "small_detector",
            "options": {"width": 8},
            "training": {**training, "epochs": 1, "evaluate_every": 1},
            "lightweight": {"per_class": 40, "epochs": 1},
        },
        "student": {"name": "small_detector", "options": {"width": 4}},
        "training": training,
        "output": {"root": str(tmp_path / "runs"), "cache": str(tmp_path / "cache")},
    }


def one_stage(recipe):
    recipe["task"] = {"name": "detection", "stages": 1, "positions": 64}
    for role in ("teacher", "student"):
        recipe[role]["options"]["stages"] = 1
    return recipe


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_system_trains_and_reports_its_figures(precision, recipe, tmp_path):
    for method in METHODS:
        changes = {"method": method, "training.precision": precision}
        done = limbeck.run(recipe, overrides=changes, out=tmp_path / f"{method}-{precision}")
        rows = metrics(done.folder)
        assert {f"train.{name}" for name in ("ce", *BOXES)} <= rows[0].keys()
        assert float(rows[-1]["train.objectness"]) < float(rows[0]["train.objectness"])
        assert all(math.isfinite(float(value)) for row in rows for value in row.values() if value)
        assert 0 <= done.summary["test.map"] <= 1
        assert {"test.map_50", "test.map_75", "epoch", "student.parameters"} <= done.summary.keys()
        assert done.line.startswith("test mAP ")


@pytest.mark.parametrize("method", ["none", "dist", "lr+dist", "dist+mimic", "lw_kd", "dr_kd"])
def test_one_stage_detectors_train_too(method, recipe, tmp_path):
    done = limbeck.run(one_stage(recipe), overrides={"method": method}, out=tmp_path / "run")
    rows = metrics(done.folder)
    assert "train.bbox_regression" in rows[0]
    if method == "dist":
        assert {"train.dist", "train.dist.level1", "train.dist.level3"} <= rows[0].keys()
    assert 0 <= done.summary["test.map"] <= 1


@pytest.mark.parametrize("method", ["dist+mimic", "lw_kd", "select+kd"])
def test_a_stopped_run_resumes_bit_for_bit(method, recipe, tmp_path):
    if method == "select+kd":
        recipe["method"], changes = {"name": method, "scorer": "random"}, {}
    else:
        changes = {"method": method}
    whole = limbeck.run(recipe, overrides=changes, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(recipe, overrides=changes, out=tmp_path / "run", reporting=stopping(2, of=EPOCHS))
    resumed = limbeck.run(recipe, overrides=changes, out=tmp_path / "run", resume=True)
    assert_same_run(whole.folder, resumed.folder)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"teacher.cache": "views"}, "teacher.cache: got 'views', but in task 'detection' the teacher is run on what"),
        ({"teacher.train_mode": True}, "teacher.train_mode: got true in task 'detection', expected false"),
        ({"method": "tame+kd"}, "tame measures the teacher before training, but in task 'detection'"),
        ({"method": "weigh+kd"}, "weigh measures the teacher before training, but in task 'detection'"),
        ({"method": "lr_ds", "method.scorer": "influence"}, "scorer: got 'influence', which needs logits"),
        ({"training.mix": {"mixup": 0.2}}, "training.mix: got inputs of dict"),
        ({"teacher": {"options": {"width": 8, "stages": 1}}}, "a one-stage detector .*, expected a two-stage"),
        ({"student": {"name": "resnet8", "options": {}}}, "student resnet8: cannot take boxes_sample's images"),
        ({"data": {"name": "digits", "options": {}}}, "whose samples have no boxes|cannot take"),
        ({"task": "classification"}, "its output is list, expected logits|student"),
        ({"task": {"name": "detection", "stages": 3}}, "task.stages: got 3"),
        (
            {"task": {"name": "detection", "stages": 1}, "method": "lw_kd"},
            "task.stages: got 1, expected 2, as the student",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_training(changes, line, recipe, tmp_path):
    overrides = {"method": "kd"}
    for key, value in changes.items():
        if key in ("teacher", "student", "data"):
            recipe[key] = {**recipe[key], **value}
            if key == "data":
                del recipe[key]["augment"]
        elif key == "task":
            recipe[key] = value
        elif key == "method.scorer":
            recipe["method"] = {"name": overrides.pop("method"), "scorer": value}
        else:
            overrides[key] = value
    with pytest.raises(UserError, match=line):
        limbeck.run(recipe, overrides=overrides, out=tmp_path / "run")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"teacher": {"min_size": 96}}, "teacher: has anchors of the sizes .*, expected those of the student"),
        ({"student": {"min_size": [64, 80]}}, r"student: resizes images to one of the sizes \[64, 80\] at random"),
    ],
)
def test_other_anchors_are_refused_before_a_teacher_is_trained(options, line, recipe, tmp_path):
    recipe = one_stage(recipe)
    for role, changes in options.items():
        recipe[role]["options"].update(changes)
    with pytest.raises(UserError, match=line):
        limbeck.run(recipe, overrides={"method": "kd"}, out=tmp_path / "run")
    assert not (tmp_path / "cache").exists()


def test_inputs_of_a_teacher_are_not_mapped():
    data = limbeck.data.load("boxes_sample", options={"train": 1, "test": 1, "side": 64})
    line = "teacher.normalize and size: got one, but the images of boxes_sample are not normalized"
    with pytest.raises(UserError, match=line):
        input_adapter(NetworkTeacherSettings(name="small_detector", size=96), data)


def test_a_cache_is_not_built(recipe):
    with pytest.raises(
        UserError, match="teacher.cache: got 'views', but in task 'detection' the teacher is run on what"
    ):
        build_cache(recipe, overrides={"method": "kd", "teacher.cache": "views"})


def test_several_teachers_are_refused(recipe, tmp_path):
    member = {key: recipe["teacher"][key] for key in ("name", "options", "training")}
    recipe["teacher"] = {"members": [member, {**member, "seed": 1}]}
    with pytest.raises(UserError, match="teacher.members: got 2, but in task 'detection'"):
        limbeck.run(recipe, overrides={"method": "kd"}, out=tmp_path / "run")


def test_compilation_is_left_out_with_a_line(recipe, tmp_path):
    done = limbeck.run(recipe, overrides={"method": "none", "training.compile": True}, out=tmp_path / "run")
    log = (done.folder / "log.txt").read_text()
    assert "training.compile: the student is not compiled: task 'detection' runs its parts" in log


OWN = """
from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign

def own(num_classes):
    body = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU())
    body.out_channels = 16
    anchors = AnchorGenerator(((16, 32),), ((0.5, 1.0, 2.0),))
    pooling = MultiScaleRoIAlign(["0"], 5, 2)
    sizes = {"min_size": 64, "max_size": 64, "rpn_post_nms_top_n_train": 50}
    return FasterRCNN(body, num_classes + 1, rpn_anchor_generator=anchors, box_roi_pool=pooling, **sizes)
"""


def test_the_users_own_detector(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_boxes.py").write_text(OWN)
    recipe["student"] = "python:own_boxes:own"
    done = limbeck.run(recipe, overrides={"method": "dist"}, out=tmp_path / "run")
    assert sorted(done.student([torch.zeros(3, 64, 64)])[0]) == ["boxes", "labels", "scores"]


def test_the_own_loop(recipe):
    torch.manual_seed(0)
    data = limbeck.data.load("boxes_sample", options=recipe["data"]["options"])
    create = functools.partial(limbeck.models.create, "small_detector", num_classes=3)
    student, teacher = create(width=4), create(width=8)
    distiller = limbeck.Distiller(student, teacher, method="dist", task="detection", num_classes=3)
    optimizer = torch.optim.AdamW(distiller.parameters(), lr=0.002)
    views, losses = data.batches(data.train, batch_size=6, shuffle=True), []
    for epoch in range(6):
        for batch in views.epoch(epoch):
            # As torchvision's own scripts have them: a list of images and a list of targets.
            out = distiller(batch.inputs["images"], batch.targets)
            optimizer.zero_grad()
            out.loss.backward()
            optimizer.step()
            losses.append(float(out.loss.detach()))
    assert sum(losses[-4:]) < sum(losses[:4])
    evaluator = Detection(3).evaluator()
    for batch in data.batches(data.test, batch_size=4).epoch(0):
        evaluator.update(student.eval()(batch.inputs["images"]), batch.targets)
    assert 0 <= evaluator.compute().map <= 1


def test_the_packaged_recipe_runs_on_a_few_images(tmp_path):
    small = {"data.options": {"train": 24, "test": 4, "side": 64}, "data.train_limit": 16, "teacher.train_limit": 24}
    epochs = {"training.epochs": 2, "teacher.training.epochs": 2, "teacher.training.evaluate_every": 1}
    changes = {**small, **epochs, "output.cache": str(tmp_path / "cache")}
    done = limbeck.run("detection_quickstart", overrides=changes, out=tmp_path / "run")
    assert 0 <= done.summary["test.map"] < 1
    again = limbeck.run("detection_quickstart", overrides=changes, out=tmp_path / "run", overwrite=True)
    assert_same_run(done.folder, again.folder)


@pytest.mark.slow
def test_a_comparison_has_the_tasks_columns(recipe, tmp_path):
    recipe["compare"] = {"methods": ["none", "kd"], "seeds": 1}
    limbeck.compare(recipe, out=tmp_path / "both", jobs=2)
    table = next((tmp_path / "both").rglob("*.md")).read_text()
    assert "mAP (%)" in table
    assert "AP50 (%)" in table
