"""Runs with mixup, CutMix, label smoothing of any method, and the augmentations of torchvision."""

import pytest
import torch

import limbeck
from limbeck.build.context import Context
from limbeck.build.teacher_training import trained_folder
from limbeck.errors import UserError
from limbeck.recipes.loading import load_recipe
from stopped_runs import assert_same_run, metrics, stopping

BOTH = {"mixup": 0.2, "cutmix": 1.0}
FEW_BANK = {"lightweight": {"per_class": 40, "epochs": 1}}


def mixed(recipe, method, **mix):
    training = {**recipe["training"], "mix": mix or BOTH}
    return {**recipe, "method": method, "training": training, "teacher": {**recipe["teacher"], **FEW_BANK}}


@pytest.mark.parametrize("method", [name for name in limbeck.methods.names() if name not in ("crd", "semantic")])
def test_methods_take_mixed_labels(tiny, tmp_path, method):
    done = limbeck.run(mixed(tiny, method), out=tmp_path / "run")
    assert done.summary["epoch"] == 2


@pytest.mark.parametrize("method", ["dist", "lr_ds"])
def test_a_resumed_run_equals_one_that_never_stopped(precise_if_slow, tmp_path, method):
    recipe = mixed(precise_if_slow, method)
    whole = limbeck.run(recipe, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(recipe, out=tmp_path / "stopped", reporting=stopping(1, of=2))
    limbeck.run(recipe, out=tmp_path / "stopped", resume=True)
    assert_same_run(tmp_path / "stopped", whole.folder)


def test_the_teacher_sees_the_mixed_images(tiny, tmp_path, monkeypatch):
    seen = []
    answer = limbeck.teachers.LiveTeacher.answer

    def recorded(self, batch, epoch=0):
        seen.append((batch.inputs, batch.targets))
        return answer(self, batch, epoch)

    monkeypatch.setattr(limbeck.teachers.LiveTeacher, "answer", recorded)
    limbeck.run(mixed(tiny, "kd", mixup=1.0), out=tmp_path / "run")
    trained_on = [entry for entry in seen if entry[1] is not None and entry[1].ndim == 2]
    assert len(trained_on) == 6
    # The images of this set are 28 pixels of noise: mixtures of two spread less.
    assert all(inputs.std() < 0.97 * seen[0][0].std() for inputs, _ in trained_on[:1])


def test_a_teacher_can_be_trained_with_mixing_too(tiny, tmp_path):
    training = {**tiny["teacher"]["training"], "mix": BOTH}
    teacher = {**tiny["teacher"], "training": training}
    done = limbeck.run({**tiny, "method": "kd", "teacher": teacher}, out=tmp_path / "a")
    limbeck.run({**tiny, "method": "kd"}, out=tmp_path / "b")
    assert done.summary["epoch"] == 2
    assert len(list((tmp_path / "cache" / "teachers").iterdir())) == 2


def test_keys_of_teachers_without_new_settings_stay(tiny):
    """The key of a teacher of this recipe as the version before these settings made it."""
    recipe = load_recipe({**tiny, "method": "kd"})
    context = Context(recipe)
    network = context.teacher_network("teacher").module
    folder = trained_folder(recipe, recipe.teacher, network, context.data)
    from limbeck.build import teacher_training

    material = teacher_training._material(recipe, recipe.teacher, recipe.teacher.training, network, context.data)
    assert not {"mix", "label_smoothing"} & material["training"].keys()
    assert material["data"][3] == {"crop": 2, "flip": True, "scale": None, "rotation": 0.0}
    assert len(folder.name) >= 20


def test_label_smoothing_of_any_method(tiny, tmp_path):
    smooth = {**tiny, "training": {**tiny["training"], "label_smoothing": 0.1}}
    done = limbeck.run(smooth, out=tmp_path / "smooth")
    by_method = limbeck.run(
        {**tiny, "method": {"name": "label_smoothing", "smoothing": 0.1}}, out=tmp_path / "by_method"
    )
    assert metrics(done.folder) == metrics(by_method.folder)
    limbeck.run({**smooth, "method": "kd"}, out=tmp_path / "kd")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"teacher.cache": "views"},
            r"^training.mix: got mixup 0.2 and cutmix 1 with teacher.cache 'views', but",
        ),
        (
            {"method.name": "crd"},
            "^training.mix: got mixup 0.2 and cutmix 1 with crd, which keeps the features of",
        ),
        ({"training.mix.probability": 0}, "training.mix.probability: got 0, input should be greater than 0"),
        ({"training.mix.mixup": -1}, "training.mix.mixup: got -1, input should be"),
        ({"training.mix.alpha": 1}, "training.mix.alpha"),
        ({"training.label_smoothing": 1}, "training.label_smoothing: got 1, input should be less than 1"),
    ],
)
def test_bad_input(tiny, tmp_path, changed, message):
    recipe = mixed(tiny, {"name": "kd"})
    with pytest.raises(UserError, match=message) as error:
        limbeck.run(recipe, overrides=changed, out=tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "augment",
    [
        {"crop": 2, "rand_augment": [2, 9], "random_erasing": 0.5},
        {"flip": True, "trivial_augment": True, "rotation": 10},
        {"color_jitter": [0.4, 0.4, 0.4, 0.1]},
    ],
)
def test_a_cached_run_with_operations_equals_a_live_one(precise_if_slow, tmp_path, augment):
    recipe = {**precise_if_slow, "data": {**precise_if_slow["data"], "augment": augment}, "method": "kd"}
    live = limbeck.run(recipe, out=tmp_path / "live")
    settings = {**precise_if_slow["teacher"], "cache": "epochs", "cache_dtype": "float32"}
    for name in ("made", "read"):
        assert_same_run(limbeck.run({**recipe, "teacher": settings}, out=tmp_path / name).folder, live.folder)


def test_generators_do_not_matter(tiny, tmp_path):
    recipe = mixed({**tiny, "data": {**tiny["data"], "augment": {"rand_augment": [1, 5]}}}, "none")
    first = limbeck.run(recipe, out=tmp_path / "first")
    torch.manual_seed(99)
    assert_same_run(limbeck.run(recipe, out=tmp_path / "again").folder, first.folder)
