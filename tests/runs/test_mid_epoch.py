"""Runs that are stopped in the middle of an epoch and resumed: every number is that of a run that never stopped."""

import re

import pytest
import torch

import limbeck
from data_layouts import write_classes
from limbeck.errors import UserError
from limbeck.methods import names
from limbeck.teachers import lightweight
from limbeck.training import Engine
from stopped_runs import assert_equal_runs, assert_same_files, log, stopping_at
from text_files import write_folder

EACH = {"checkpoint_steps": 1}


def trained(recipe, **more):
    """The recipe with more settings of its student's training."""
    return {**recipe, "training": {**recipe["training"], **more}}


def stopped_and_resumed(recipe, out, *places, of=2, **options):
    """Stop a run once at each of the places (epoch, step), then let it end."""
    for number, (epoch, step) in enumerate(places):
        with pytest.raises(KeyboardInterrupt):
            limbeck.run(recipe, out=out, resume=number > 0, reporting=stopping_at(epoch, step, of=of), **options)
    return limbeck.run(recipe, out=out, resume=True, **options)


def check(recipe, tmp_path, *places, of=2):
    """Compare a run that is stopped and resumed with one that never is; return the folder of the former."""
    whole = limbeck.run(recipe, out=tmp_path / "whole")
    done = stopped_and_resumed(trained(recipe, **EACH), tmp_path / "run", *places, of=of)
    assert_equal_runs(done.folder, whole.folder)
    for epoch, step in places:
        assert re.search(rf"resuming after step {step} of \d of epoch {epoch + 1} of {of}\n", log(done.folder))
    return done.folder


CRD = {"name": "crd", "negatives": 16}
LIGHT = {"lightweight": {"per_class": 40, "epochs": 1}}


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("lw_kd", {"ema": 0.9, "clip_norm": 1.0}),
        ({"name": "lr_ds", "scorer": "influence", "refresh_every": 1, "proxy_epochs": 3}, {}),
        ("crd", {"mix": {}, "optimizer": {"name": "adamw", "lr": 0.01}}),
        pytest.param(
            "ctkd+dist", {"mix": {"mixup": 0.2, "cutmix": 1.0}, "schedule": "one_cycle"}, marks=pytest.mark.slow
        ),
    ],
    ids=str,
)
def test_every_state_is_that_of_a_run_that_never_stopped(tiny, tmp_path, method, more):
    recipe = trained({**tiny, "method": method, "teacher": {**tiny["teacher"], **LIGHT}}, **more)
    check(recipe, tmp_path, (1, 1))


def test_a_stop_in_the_first_epoch_with_the_best_kept(tiny, tmp_path):
    recipe = trained({**tiny, "data": {**tiny["data"], "validation": 0.2}}, keep="best", patience=2)
    check(recipe, tmp_path, (0, 1), (1, 2))


@pytest.mark.parametrize("cache", [pytest.param("epochs", marks=pytest.mark.slow), "views"])
def test_a_cached_teacher_reads_on_where_the_epoch_was(tiny, tmp_path, cache):
    """The run that is stopped fills the cache, of which the other one reads some and makes the rest."""
    teacher = {**tiny["teacher"], "cache": cache, "cache_dtype": "float16"}
    recipe = {**tiny, "method": "kd", "teacher": teacher}
    done = stopped_and_resumed(trained(recipe, **EACH), tmp_path / "run", (0, 1), (1, 1))
    assert_equal_runs(done.folder, limbeck.run(recipe, out=tmp_path / "whole").folder)


def test_a_teachers_training_continues_in_the_middle_of_an_epoch(tiny, tmp_path):
    training = {**tiny["teacher"]["training"], "epochs": 3}
    recipe = {**tiny, "method": "dist", "teacher": {**tiny["teacher"], "training": training}}
    whole = limbeck.run(recipe, overrides={"output.cache": str(tmp_path / "one")}, out=tmp_path / "whole")
    training = {**training, **EACH}
    again = {**recipe, "teacher": {**recipe["teacher"], "training": training}}
    options = {"overrides": {"output.cache": str(tmp_path / "other")}}
    done = stopped_and_resumed(again, tmp_path / "run", (0, 2), (1, 1), of=3, **options)
    assert_equal_runs(done.folder, whole.folder)
    assert "teacher: resuming after step 1 of 3 of epoch 2 of 3\n" in log(done.folder)


def test_a_proxy_continues_in_the_middle_of_an_epoch(tiny, tmp_path, monkeypatch):
    settings = {"name": "select+lr", "scorer": "influence", "proxy_epochs": 2}
    recipe = trained({**tiny, "method": settings, "teacher": {**tiny["teacher"], "seed": 1}}, **EACH)
    whole = limbeck.run(recipe, out=tmp_path / "whole")
    save, saved = Engine._save, []

    def stop(engine, under_way=None):
        save(engine, under_way)
        if not engine.splits and under_way is not None and not saved:
            saved.append(under_way.text)
            raise KeyboardInterrupt

    monkeypatch.setattr(Engine, "_save", stop)
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(recipe, out=tmp_path / "run")
    done = limbeck.run(recipe, out=tmp_path / "run", resume=True)
    assert f"proxy: resuming after {saved[0]} of 2\n" in log(done.folder)
    assert_equal_runs(done.folder, whole.folder)


def test_a_lightweight_teacher_whose_training_was_stopped_is_the_same(tiny, tmp_path, monkeypatch):
    """It takes seconds, and begins again: whatever was drawn before, its bank is a function of its seed."""
    recipe = {**tiny, "method": "lw_kd", "teacher": {**tiny["teacher"], **LIGHT}}
    whole = limbeck.run(recipe, overrides={"output.cache": str(tmp_path / "one")}, out=tmp_path / "whole")

    def interrupt(*_):
        raise KeyboardInterrupt

    other = {"output.cache": str(tmp_path / "other")}
    with monkeypatch.context() as patched:
        patched.setattr(lightweight, "_held_out_accuracy", interrupt)
        with pytest.raises(KeyboardInterrupt):
            limbeck.run(recipe, overrides=other, out=tmp_path / "run")
    torch.rand(5)
    done = limbeck.run(recipe, overrides=other, out=tmp_path / "run", resume=True)
    assert_equal_runs(done.folder, whole.folder)
    assert_same_files(*(next((tmp_path / name).rglob("bank.safetensors")) for name in ("one", "other")))


def test_the_preparations_of_an_epoch_are_not_repeated(tiny, tmp_path):
    method = {"name": "lr_ds", "scorer": "agreement", "refresh_every": 1}
    done = stopped_and_resumed(trained({**tiny, "method": method}, **EACH), tmp_path / "run", (0, 1), (0, 2), (1, 2))
    assert log(done.folder).count("selection by ") == 2


def test_a_measurement_that_is_interrupted_does_not_cost_the_epoch(tiny, tmp_path, monkeypatch):
    whole = limbeck.run(tiny, out=tmp_path / "whole")

    def interrupt(engine):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Engine, "_measure", interrupt)
        with pytest.raises(KeyboardInterrupt, match=r"saved after step 3 of 3 of epoch 1 of 2 \(\S+last\)"):
            limbeck.run(tiny, out=tmp_path / "run")
    done = limbeck.run(tiny, out=tmp_path / "run", resume=True)
    assert "resuming after step 3 of 3 of epoch 1 of 2\n" in log(done.folder)
    assert_equal_runs(done.folder, whole.folder)


def test_checkpoints_by_the_clock(tiny, tmp_path, monkeypatch):
    recipe = trained(tiny, checkpoint_minutes=1e-9, checkpoint_every=2)
    stopped_and_resumed(recipe, tmp_path / "run", (1, 2))
    assert "resuming after step 2 of 3 of epoch 2 of 2\n" in log(tmp_path / "run")
    never = trained(tiny, checkpoint_minutes=None, checkpoint_every=2)
    stopped_and_resumed(never, tmp_path / "other", (1, 2))
    assert "no checkpoint is there, so the run begins again\n" in log(tmp_path / "other")


def test_other_batches_than_those_of_the_epoch_are_refused(tiny, tmp_path):
    recipe = trained(tiny, **EACH)
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(recipe, out=tmp_path / "run", reporting=stopping_at(0, 1))
    line = r"^training\.batch_size: the run in \S+ has 20, got 10"
    with pytest.raises(UserError, match=line):
        limbeck.run(trained(recipe, batch_size=10), out=tmp_path / "run", resume=True)


SEGMENTATION = {
    "task": "segmentation",
    "data": {
        "name": "shapes",
        "options": {"train": 24, "test": 6, "side": 32},
        "augment": {"flip": True, "zoom": [0.7, 1.5]},
    },
    "teacher": {"name": "small_segmenter", "options": {"width": 12, "aux": True}, **LIGHT},
    "student": {"name": "small_segmenter", "options": {"width": 6, "blocks": 2, "aux": True}},
    "batch_size": 8,
}
DETECTION = {
    "task": "detection",
    "data": {"name": "boxes_sample", "options": {"train": 12, "test": 4, "side": 64}, "augment": {"flip": True}},
    "teacher": {"name": "small_detector", "options": {"width": 8}, **LIGHT},
    "student": {"name": "small_detector", "options": {"width": 4}},
    "batch_size": 4,
}
TABLE = {
    "data": {"name": "digits", "train_limit": 60, "test_limit": 40, "augment": {"noise": 0.2}},
    "teacher": {"name": "mlp", "options": {"hidden": 16}, **LIGHT},
    "student": {"name": "mlp", "options": {"hidden": 8}},
    "batch_size": 20,
}
TEXT = {
    "data": {"name": "text", "options": {"max_length": 16}, "augment": {"drop": 0.3}},
    "teacher": {"name": "text_transformer", "options": {"width": 16, "depth": 1, "dropout": 0.1}, **LIGHT},
    "student": {"name": "text_cnn", "options": {"width": 16, "channels": 8}},
    "batch_size": 16,
}
FOLDER = {
    "data": {"name": "image_folder", "size": 16, "workers": 2, "augment": {"flip": True, "random_erasing": 0.5}},
    "batch_size": 12,
}


def of_task(tiny, tmp_path, changes, **training):
    """The recipe of ``tiny`` with the data and networks of another task."""
    data = {**changes["data"]}
    if data["name"] == "text":
        data["root"] = str(write_folder(tmp_path / "texts"))
    if data["name"] == "image_folder":
        data["root"] = str(tmp_path / "photos")
        write_classes(tmp_path / "photos", each=20)
    training = {**tiny["training"], "batch_size": changes["batch_size"], **training}
    roles = {role: {**tiny[role], **changes.get(role, {})} for role in ("teacher", "student")}
    roles["teacher"]["training"] = {**training, "epochs": 1}
    return {**tiny, "task": changes.get("task", "classification"), "data": data, **roles, "training": training}


def test_loader_workers_continue_where_they_were(tiny, tmp_path):
    check({**of_task(tiny, tmp_path, FOLDER), "method": "dist"}, tmp_path, (1, 2))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["none", "kd", "dist", "lr+dist", "lr_ds", "lw_kd", "dr_kd", "tf_kd_reg"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "changes", [SEGMENTATION, DETECTION, TABLE, TEXT, FOLDER], ids=lambda changes: changes["data"]["name"]
)
def test_every_task(tiny, tmp_path, changes, method, precision):
    scored = {"name": "lr_ds", "scorer": "random" if changes is DETECTION else "agreement", "refresh_every": 1}
    recipe = of_task(tiny, tmp_path, changes, precision=precision)
    check({**recipe, "method": scored if method == "lr_ds" else method}, tmp_path, (0, 1), (1, 2))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["kd", "dist", "lr_ds"])
def test_samples_without_labels(tiny, tmp_path, method):
    write_classes(tmp_path / "more", each=8)
    data = {**tiny["data"], "unlabeled": str(tmp_path / "more"), "unlabeled_share": 0.4}
    check({**tiny, "data": data, "method": method}, tmp_path, (0, 1), (1, 3))


@pytest.mark.slow
@pytest.mark.parametrize("more", [{"compile": True}, {"accumulate": 2, "batch_size": 10}], ids=str)
def test_compiled_students_and_accumulated_batches(tiny, tmp_path, more):
    check(trained({**tiny, "method": "kd"}, **more), tmp_path, (0, 1), (1, 2))


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", names())
def test_every_method(tiny, tmp_path, method, precision):
    recipe = trained({**tiny, "method": method, "teacher": {**tiny["teacher"], **LIGHT}}, precision=precision)
    check(recipe, tmp_path, (0, 1), (1, 2))
