"""Segmentation by recipe: every system, cached and live, resumed, in fp32 and bf16, and a network of the user's own."""

import functools
import json

import pytest
import torch
from safetensors.torch import load_file

import limbeck
from limbeck.errors import UserError
from limbeck.runs.cache_commands import build_cache, check_cache_files
from limbeck.tasks import Segmentation
from stopped_runs import assert_same_run, metrics, stopping

METHODS = ("none", "kd", "dist", "lr+dist", "dr_kd", "lw_kd")
EPOCHS = 3


@pytest.fixture
def recipe(tmp_path):
    training = {
        "epochs": EPOCHS,
        "batch_size": 8,
        "optimizer": {"name": "adamw", "lr": 0.01},
        "schedule": "poly",
        "precision": "fp32",
    }
    return {
        "task": "segmentation",
        "data": {
            "name": "shapes",
            "options": {"train": 32, "test": 6, "side": 32},
            "augment": {"flip": True},
        },
        "teacher": {
            "name": "small_segmenter",
            "options": {"width": 12, "aux": True},
            "training": {**training, "epochs": 2},
            "lightweight": {"per_class": 40, "epochs": 1},
        },
        "student": {"name": "small_segmenter", "options": {"width": 6, "blocks": 2, "aux": True}},
        "training": training,
        "output": {"root": str(tmp_path / "runs"), "cache": str(tmp_path / "cache")},
    }


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_system_trains_and_reports_its_figures(precision, recipe, tmp_path):
    for method in METHODS:
        changes = {"method": method, "training.precision": precision, "teacher.cache": "views"}
        done = limbeck.run(recipe, overrides=changes, out=tmp_path / f"{method}-{precision}")
        rows = metrics(done.folder)
        assert float(rows[-1]["train.ce"]) < float(rows[0]["train.ce"])
        names = {"none": set(), "lr+dist": {"dist"}, "dr_kd": {"kd"}}.get(method)
        if names is not None:
            parts = {f"train.{name}{head}" for name in {"ce", *names} for head in ("", ".aux")}
            assert parts <= rows[0].keys(), (method, rows[0])
        assert 0 < done.summary["test.miou"] <= 1
        assert done.summary["test.iou.background"] > 0
        assert {"test.pixel_accuracy", "test.loss", "epoch", "student.parameters"} <= done.summary.keys()
        assert done.line.startswith("test mIoU ")
        assert (done.folder / "masks.png").read_bytes()[:4] == b"\x89PNG"
        predictions = load_file(done.folder / "predictions.safetensors")["test"]
        assert (predictions.shape, predictions.dtype) == ((6, 32, 32), torch.uint8)


@pytest.mark.parametrize(
    ("mode", "augment"),
    [("views", {"flip": True}), ("epochs", {"flip": True, "zoom": [0.7, 1.5]}), ("epochs", {"window": [16, 16]})],
)
def test_a_cached_run_is_the_live_one_bit_for_bit(mode, augment, recipe, tmp_path):
    recipe["data"]["augment"] = augment
    changes = {"method": "dist", "teacher.cache_dtype": "float32"}
    live = limbeck.run(recipe, overrides=changes, out=tmp_path / "live")
    if mode == "views":
        assert build_cache(recipe, overrides={**changes, "teacher.cache": mode}) == 64
    for name in ("filling", "reading"):
        cached = limbeck.run(recipe, overrides={**changes, "teacher.cache": mode}, out=tmp_path / name)
        assert_same_run(live.folder, cached.folder)
    assert "100.0% of what this run reads" in (cached.folder / "log.txt").read_text()
    check_cache_files(recipe, overrides={**changes, "teacher.cache": mode})


@pytest.mark.parametrize("method", ["dist", "lw_kd", "lr_ds"])
def test_a_stopped_run_resumes_bit_for_bit(method, recipe, tmp_path):
    if method == "lr_ds":
        recipe["method"] = {"name": "lr_ds", "scorer": "agreement"}
    changes = {"method": method} if method != "lr_ds" else {}
    recipe["task"] = {"name": "segmentation", "positions": 20, "seed": 1}
    whole = limbeck.run(recipe, overrides=changes, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(recipe, overrides=changes, out=tmp_path / "run", reporting=stopping(2, of=EPOCHS))
    resumed = limbeck.run(recipe, overrides=changes, out=tmp_path / "run", resume=True)
    assert_same_run(whole.folder, resumed.folder)


def test_several_teachers_are_averaged_and_stored(recipe, tmp_path):
    member = {key: recipe["teacher"][key] for key in ("name", "options", "training")}
    recipe["teacher"] = {"members": [member, {**member, "seed": 1}], "cache": "views", "cache_dtype": "float32"}
    done = limbeck.run(recipe, overrides={"method": "kd"}, out=tmp_path / "run")
    live = limbeck.run(recipe, overrides={"method": "kd", "teacher.cache": "off"}, out=tmp_path / "live")
    assert_same_run(done.folder, live.folder)
    with pytest.raises(UserError, match="average: got 'confidence' with outputs of shape"):
        limbeck.run(recipe, overrides={"method": "kd", "teacher.average": "confidence"}, out=tmp_path / "no")


def test_drawn_positions_and_heads_are_settings_of_the_recipe(recipe, tmp_path):
    recipe["task"] = {"name": "segmentation", "positions": 5, "aux_weight": 0.1}
    done = limbeck.run(recipe, overrides={"method": "kd"}, out=tmp_path / "run")
    plain = limbeck.run({**recipe, "task": "segmentation"}, overrides={"method": "kd"}, out=tmp_path / "plain")
    assert done.task.positions == 5
    assert metrics(done.folder) != metrics(plain.folder)
    written = (done.folder / "recipe.yaml").read_text()
    assert "positions: 5" in written
    assert "\ntask: segmentation\n" in f"\n{(plain.folder / 'recipe.yaml').read_text()}"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"task": {"name": "segmentation", "position": 5}}, "task: task segmentation: unknown option 'position'"),
        ({"task": {"name": "segmentation", "positions": 0}}, "task.positions: got 0"),
        ({"student": "resnet8"}, r"student resnet8: its output is \(2, 5\), expected maps of logits of shape"),
        ({"task": "classification"}, r"its output is \(2, 5, 8, 8\), expected logits of shape \(N, 5\)"),
        ({"data.augment": {"crop": 2}}, "data.augment.crop: got 2, but images with masks take"),
        (
            {"data.augment": {"zoom": [0.5, 2.0]}, "teacher.cache": "views"},
            "teacher.cache: got 'views' with",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_training(changes, line, recipe, tmp_path):
    recipe["student"]["options"]["aux"] = False
    for key, value in changes.items():
        if key in ("task", "student"):
            recipe[key] = value
    overrides = {key: value for key, value in changes.items() if "." in key}
    with pytest.raises(UserError, match=line):
        limbeck.run(recipe, overrides={"method": "kd", **overrides}, out=tmp_path / "run")


OWN = """
from torch import nn

def maps(num_classes, in_channels, stride=8):
    return nn.Sequential(nn.Conv2d(in_channels, 12, stride, stride), nn.ReLU(), nn.Conv2d(12, num_classes, 1))
"""


def test_the_users_own_network_is_taught_by_maps_of_another_size(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_maps.py").write_text(OWN)
    recipe["student"] = "python:own_maps:maps"
    done = limbeck.run(recipe, overrides={"method": "dist", "teacher.cache": "views"}, out=tmp_path / "run")
    assert done.student(torch.zeros(1, 3, 32, 32)).shape == (1, 5, 4, 4)
    assert done.summary["teacher.test.miou"] > 0


def fit(distiller, data, epochs):
    optimizer = torch.optim.AdamW(distiller.parameters(), lr=0.01)
    views, losses = data.batches(data.train, batch_size=8, shuffle=True), []
    for epoch in range(epochs):
        for batch in views.epoch(epoch):
            out = distiller(*batch, epoch)
            optimizer.zero_grad()
            out.loss.backward()
            optimizer.step()
            losses.append(float(out.loss.detach()))
    assert sum(losses[-4:]) < sum(losses[:4])


def test_the_own_loop(recipe):
    torch.manual_seed(0)
    data = limbeck.data.load("shapes", options=recipe["data"]["options"])
    create = functools.partial(limbeck.models.create, "small_segmenter", num_classes=5, in_channels=3)
    student, teacher = create(width=6), create(width=8)
    fit(limbeck.Distiller(teacher, method="none", task="segmentation", num_classes=5), data, 6)
    fit(limbeck.Distiller(student, teacher, "dist", task="segmentation", num_classes=5), data, 6)
    evaluator = Segmentation(5).evaluator()
    for batch in data.batches(data.test, batch_size=4).epoch(0):
        evaluator.update(student.eval()(batch.inputs), batch.targets)
    assert 0 < evaluator.compute().miou < 1


def test_the_packaged_recipe_runs_on_a_few_images(tmp_path):
    small = {"data.options": {"train": 24, "test": 4, "side": 32}, "data.train_limit": 16, "teacher.train_limit": 24}
    epochs = {"training.epochs": 2, "teacher.training.epochs": 1, "teacher.training.evaluate_every": 1}
    changes = {**small, **epochs, "output.cache": str(tmp_path / "cache")}
    done = limbeck.run("segmentation_quickstart", overrides=changes, out=tmp_path / "run")
    assert 0 < done.summary["test.miou"] < 1
    again = limbeck.run("segmentation_quickstart", overrides=changes, out=tmp_path / "run", overwrite=True)
    assert_same_run(done.folder, again.folder)
    assert (again.folder / "masks.png").is_file()


@pytest.mark.slow
def test_a_comparison_in_two_processes_has_the_tasks_columns(recipe, tmp_path):
    recipe["compare"] = {"methods": ["none", "kd"], "seeds": 1}
    recipe["teacher"]["cache"] = "views"
    limbeck.compare(recipe, out=tmp_path / "both", jobs=2)
    table = next((tmp_path / "both").rglob("*.md")).read_text()
    assert "mIoU" in table
    assert "pixel accuracy" in table
    summaries = [json.loads(path.read_text()) for path in (tmp_path / "both").rglob("summary.json")]
    assert len(summaries) == 2
