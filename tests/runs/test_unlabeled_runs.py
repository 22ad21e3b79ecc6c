"""Runs whose batches have a share of images without labels."""

import pytest
import torch

import limbeck
from data_layouts import write_classes
from limbeck.build.context import Context
from limbeck.errors import UserError
from limbeck.recipes.loading import load_recipe
from limbeck.runs import RunFolder
from stopped_runs import assert_same_run, log, metrics, stopping


@pytest.fixture
def partly(precise_if_slow, tmp_path):
    write_classes(tmp_path / "more", each=8)
    return {
        **precise_if_slow,
        "data": {**precise_if_slow["data"], "unlabeled": str(tmp_path / "more"), "unlabeled_share": 0.4},
    }


@pytest.mark.parametrize("method", ["kd", "dist", "lr+dist", "fitnet", "lr_ds", "tame+kd", "kd+dkd", "weigh+dist"])
def test_the_teacher_supervises_images_without_labels(partly, tmp_path, method):
    done = limbeck.run({**partly, "method": method}, out=tmp_path / "run")
    assert "60 training, 16 unlabeled" not in log(done.folder).splitlines()[0]
    assert "16 unlabeled" in log(done.folder)
    assert done.summary["epoch"] == 2


def test_unlabeled_images_change_the_student(partly, tmp_path):
    first = limbeck.run({**partly, "method": "kd"}, out=tmp_path / "first")
    again = limbeck.run({**partly, "method": "kd"}, out=tmp_path / "again")
    assert_same_run(first.folder, again.folder)
    alone = {**partly, "method": "kd", "data": {k: v for k, v in partly["data"].items() if k != "unlabeled"}}
    without = limbeck.run(alone, out=tmp_path / "without")
    assert without.summary["test.loss"] != first.summary["test.loss"]
    # The teacher is the same: it was trained with labels alone.
    assert len(list((tmp_path / "cache" / "teachers").iterdir())) == 1


@pytest.mark.parametrize("augment", [{"crop": 1, "flip": True}, {"rotation": 10}, {}])
def test_a_cached_run_equals_a_live_one(partly, tmp_path, augment):
    mode = "epochs" if "rotation" in augment else "views"
    recipe = {**partly, "method": "lr_ds", "data": {**partly["data"], "augment": augment}}
    live = limbeck.run(recipe, out=tmp_path / "live")
    settings = {**partly["teacher"], "cache": mode, "cache_dtype": "float32"}
    for name in ("made", "read"):
        assert_same_run(limbeck.run({**recipe, "teacher": settings}, out=tmp_path / name).folder, live.folder)
    assert "100.0% of what this run reads" in log(tmp_path / "read")


def test_a_resumed_run_equals_one_that_never_stopped(partly, tmp_path):
    recipe = {**partly, "method": "lr_ds"}
    whole = limbeck.run(recipe, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(recipe, out=tmp_path / "stopped", reporting=stopping(1, of=2))
    limbeck.run(recipe, out=tmp_path / "stopped", resume=True)
    assert_same_run(tmp_path / "stopped", whole.folder)


def test_other_unlabeled_images_are_another_run(partly, tmp_path):
    recipe = {**partly, "method": "kd"}
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(recipe, out=tmp_path / "stopped", reporting=stopping(1, of=2))
    next((tmp_path / "more" / "cat").iterdir()).unlink()
    with pytest.raises(UserError, match="the unlabeled images are not those"):
        limbeck.run(recipe, out=tmp_path / "stopped", resume=True)


def test_folders_of_images(partly, tmp_path):
    write_classes(tmp_path / "photos", each=20)
    data = {"name": "image_folder", "root": str(tmp_path / "photos"), "size": 16, "unlabeled": str(tmp_path / "more")}
    done = limbeck.run({**partly, "data": {**data, "augment": {"flip": True}}, "method": "kd"}, out=tmp_path / "run")
    assert RunFolder(done.folder).finished


@pytest.mark.parametrize(
    ("method", "why"),
    [
        ("none", "has no teacher"),
        ("label_smoothing", "has no teacher"),
        ("tf_kd_reg", "the logits of its virtual teacher are made from labels"),
        ("lw_kd", "the logits of its lightweight teacher are made from labels"),
        ("dkd", "its loss dkd needs labels"),
        ("nkd+rld", "its losses nkd and rld need labels"),
        ("crd+kd", "crd contrasts samples of different classes"),
    ],
)
def test_methods_that_need_labels_are_refused(tiny, tmp_path, method, why):
    write_classes(tmp_path / "more", each=8)
    recipe = {**tiny, "data": {**tiny["data"], "unlabeled": str(tmp_path / "more")}, "method": method}
    with pytest.raises(UserError, match=f"{why}, but data.unlabeled has images without labels; expected a teacher"):
        limbeck.run(recipe, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"data.unlabeled": "nowhere"}, "data.unlabeled: the folder nowhere does not exist"),
        ({"data.unlabeled_share": 1.0}, "data.unlabeled_share: got 1.0, input should be less than 1"),
        ({"training.batch_size": 1}, "training.batch_size: got 1 with data.unlabeled, expected at least 2"),
        ({"training.batch_size": 200}, "got 200, of which 100 have labels, expected at most 60 labeled images"),
        ({"teacher.average": "confidence"}, "teacher.average 'confidence' weighs teachers by the labels"),
        ({"method.name": "weigh+kd", "method.by_row": True}, "weigh.by_row weighs samples by their labels"),
    ],
)
def test_bad_input(tiny, tmp_path, changed, message):
    write_classes(tmp_path / "more", each=8)
    recipe = {**tiny, "data": {**tiny["data"], "unlabeled": str(tmp_path / "more")}, "method": {"name": "kd"}}
    if "teacher.average" in changed:
        members = [{"name": "resnet8", "seed": seed, "training": tiny["training"]} for seed in (0, 1)]
        recipe |= {"teacher": {"members": members}}
    with pytest.raises(UserError, match=message):
        limbeck.run(recipe, overrides=changed, out=tmp_path / "run")


def test_the_cache_has_a_place_for_each_image(tiny, tmp_path):
    from limbeck.build.caching import expected_spec

    write_classes(tmp_path / "more", each=8)
    settings = {"data.unlabeled": str(tmp_path / "more"), "teacher.cache": "views"}
    recipe = load_recipe(tiny, {**settings, "method": "kd"})
    spec = expected_spec(recipe, Context(recipe).data, None)
    assert (spec.samples, spec.place(torch.tensor([60]), seed=0, epoch=0) // spec.per_sample) == (76, 60)


def test_a_comparison_trains_methods_without_a_network_as_teacher_on_labels_alone(tiny, tmp_path):
    write_classes(tmp_path / "more", each=8)
    teacher = {**tiny["teacher"], "cache": "epochs", "lightweight": {"per_class": 40, "epochs": 1}}
    data = {**tiny["data"], "unlabeled": str(tmp_path / "more")}
    settings = {"methods": ["none", "lw_kd", "kd", "dist"], "seeds": 2}
    compared = limbeck.compare(
        {**tiny, "data": data, "teacher": teacher, "compare": settings}, out=tmp_path / "all", jobs=1
    )
    assert not compared.failures
    assert "60 training and 16 unlabeled images" in compared.title
    assert "none, lw_kd: trained on the labeled images alone" in compared.notes
    alone = limbeck.run({**tiny, "method": "none"}, out=tmp_path / "alone")
    assert_same_run(alone.folder, tmp_path / "all" / "none" / "seed-0")
    live = limbeck.run({**tiny, "data": data, "method": "kd", "seed": 1}, out=tmp_path / "kd")
    assert live.summary["test.accuracy"] == pytest.approx(compared.results[2].figures["accuracy"][1], abs=0.1)


@pytest.mark.parametrize("augment", [{"crop": 1, "flip": True}, {"rand_augment": [1, 9], "random_erasing": 0.5}])
def test_stored_pixels_give_the_run_of_files(tiny, tmp_path, augment):
    write_classes(tmp_path / "photos", each=20)
    write_classes(tmp_path / "more", each=8)
    data = {"name": "image_folder", "root": str(tmp_path / "photos"), "size": 16, "augment": augment}
    recipe = {**tiny, "data": {**data, "unlabeled": str(tmp_path / "more")}, "method": "kd"}
    files = limbeck.run(recipe, out=tmp_path / "files")
    for store in ("memory", "disk"):
        stored = limbeck.run(recipe, overrides={"data.store": store}, out=tmp_path / store)
        assert_same_run(stored.folder, files.folder)


def test_views_of_any_scale_of_stored_pixels(tiny, tmp_path):
    write_classes(tmp_path / "photos", each=20)
    write_classes(tmp_path / "more", each=8)
    augment = {"scale": [0.5, 1.0], "trivial_augment": True}
    data = {"name": "image_folder", "root": str(tmp_path / "photos"), "size": 16, "store": "memory", "augment": augment}
    recipe = {**tiny, "data": {**data, "unlabeled": str(tmp_path / "more")}, "method": "kd"}
    live = limbeck.run(recipe, out=tmp_path / "live")
    cached = {"teacher.cache": "epochs", "teacher.cache_dtype": "float32"}
    assert_same_run(limbeck.run(recipe, overrides=cached, out=tmp_path / "cached").folder, live.folder)


@pytest.mark.parametrize("scorer", ["influence", "agreement", "random"])
def test_a_selection_ranks_the_labeled_images_alone(partly, tmp_path, scorer):
    recipe = {**partly, "method": {"name": "select+kd", "scorer": scorer, "ratio": 0.5}}
    whole = limbeck.run(recipe, out=tmp_path / "whole")
    assert "30 of 60 training samples are supervised by the teacher" in log(whole.folder)
    assert float(metrics(whole.folder)[-1]["selected"]) == pytest.approx((30 + 16) / 76, abs=1e-6)
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(recipe, out=tmp_path / "stopped", reporting=stopping(1, of=2))
    limbeck.run(recipe, out=tmp_path / "stopped", resume=True)
    assert_same_run(tmp_path / "stopped", whole.folder)


def test_a_teacher_may_have_the_labels_of_all_images(partly, tmp_path):
    write_classes(tmp_path / "photos", each=15)
    root = str(tmp_path / "photos")
    data = {"name": "image_folder", "root": root, "size": 16, "unlabeled": root, "train_limit": 6}
    teacher = {**partly["teacher"], "train_limit": 24}
    recipe = {**partly, "data": data, "teacher": teacher, "method": "kd"}
    done = limbeck.run({**recipe, "training": {**partly["training"], "batch_size": 4}}, out=tmp_path / "run")
    assert "18 unlabeled" in log(done.folder)
