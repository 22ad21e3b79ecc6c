"""Runs of images with several classes each."""

import pytest

import limbeck
from data_layouts import write_image
from limbeck.errors import UserError
from stopped_runs import assert_same_run, log, stopping


@pytest.fixture
def several(precise, tmp_path):
    """A recipe of 40 images with three classes, of which some are not known."""
    lines = ["image,cat,dog,tree"]
    for number in range(40):
        write_image(tmp_path / "photos" / f"{number}.png", 20, 24, seed=number)
        lines.append(f"{number}.png,{number % 2},{number // 2 % 2},{'' if number % 5 == 0 else number % 3 // 2}")
    (tmp_path / "photos" / "labels.csv").write_text("\n".join(lines))
    data = {"name": "image_folder", "root": str(tmp_path / "photos"), "size": 16, "augment": {"flip": True}}
    training = {**precise["training"], "batch_size": 16}
    teacher = {**precise["teacher"], "training": {**training, "epochs": 1}}
    data |= {"options": {"labels": "labels.csv"}}
    return {**precise, "task": "multilabel", "data": data, "training": training, "teacher": teacher}


@pytest.mark.parametrize(
    "method",
    ["none", "kd", "dist", "lr+dist", "dr_kd", "tf_kd_reg", "fitnet", "weigh+kd", "tame+kd", "lw_kd"],
)
def test_methods(several, tmp_path, method):
    bank = {"lightweight": {"per_class": 40, "epochs": 1}}
    done = limbeck.run({**several, "method": method, "teacher": {**several["teacher"], **bank}}, out=tmp_path / "run")
    assert 0 <= done.summary["test.map"] <= 1
    assert {"test.f1", "test.label_accuracy", "test.loss"} <= done.summary.keys()
    assert done.line.startswith("test mAP ")


def test_selected_cached_and_resumed(several, tmp_path):
    recipe = {**several, "method": {"name": "lr_ds", "scorer": "agreement"}}
    live = limbeck.run(recipe, out=tmp_path / "live")
    cached = {**recipe, "teacher": {**recipe["teacher"], "cache": "views", "cache_dtype": "float32"}}
    for name in ("made", "read"):
        assert_same_run(limbeck.run(cached, out=tmp_path / name).folder, live.folder)
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(recipe, out=tmp_path / "stopped", reporting=stopping(1, of=2))
    limbeck.run(recipe, out=tmp_path / "stopped", resume=True)
    assert_same_run(tmp_path / "stopped", live.folder)


def test_with_unlabeled_images(several, tmp_path):
    for number in range(10):
        write_image(tmp_path / "more" / f"{number}.png", 20, 24, seed=1000 + number)
    recipe = {**several, "data": {**several["data"], "unlabeled": str(tmp_path / "more")}, "method": "kd"}
    done = limbeck.run(recipe, out=tmp_path / "run")
    assert "10 unlabeled" in log(done.folder)


def test_a_comparison(several, tmp_path, limbeck):
    import yaml

    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**several, "compare": {"methods": ["none", "kd"], "seeds": 2}}))
    code, out, err = limbeck("compare", path, "--out", tmp_path / "compared", "--jobs", "1")
    assert code == 0, err
    assert "mAP" in out


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"task": "classification"}, "task 'classification': got image_folder, whose samples have several classes"),
        (
            {"method.name": "lr_ds", "method.scorer": "influence"},
            "scorer: got 'influence', which needs samples of one row each, expected random",
        ),
        ({"training.mix.mixup": 0.2}, "training.mix: got one, but the ground truth of task 'multilabel' cannot be"),
        ({"teacher.cache": "views", "teacher.cache_top_k": 2}, "teacher.cache_top_k: got 2 with task 'multilabel'"),
        ({"data.options": {"label": "labels.csv"}}, "unknown option 'label'"),
        ({"teacher.average": "confidence"}, "teacher.average: got 'confidence' with task 'multilabel', whose classes"),
    ],
)
def test_bad_input(several, tmp_path, changed, message):
    recipe = {**several, "method": {"name": "kd"}}
    if "teacher.average" in changed:
        recipe |= {"teacher": {"members": [recipe["teacher"], {**recipe["teacher"], "seed": 1}]}}
    with pytest.raises(UserError, match=message):
        limbeck.run(recipe, overrides=changed, out=tmp_path / "run")


def test_data_of_one_class_each(tiny, tmp_path):
    with pytest.raises(UserError, match="task 'multilabel': got mnist, whose samples have one class each"):
        limbeck.run({**tiny, "task": "multilabel"}, out=tmp_path / "run")
