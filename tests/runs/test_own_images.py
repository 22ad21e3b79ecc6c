"""A user's images: a folder of mixed-size JPEGs, a student of timm, a teacher of torchvision."""

import multiprocessing
import shutil

import pytest
import torch
from safetensors.torch import load_file

import limbeck
from data_layouts import write_image
from image_files import cut_jpeg
from limbeck.build.reporting import Reporting
from limbeck.errors import UserError
from limbeck.runs.folder import RunFolder


@pytest.fixture
def photos(tmp_path):
    for k, name in enumerate(("cat", "dog", "eel")):
        for i in range(8):
            path = tmp_path / "photos" / name / f"{i}.jpg"
            write_image(path, 30 + 5 * i, 60 - 4 * i, seed=100 * k + i)
    return tmp_path / "photos"


@pytest.fixture
def recipe(photos, tmp_path):
    training = {"epochs": 1, "batch_size": 6, "optimizer": {"name": "adamw", "lr": 0.001}, "device": "cpu"}
    return {
        "data": {"name": "image_folder", "root": str(photos), "size": 32, "augment": {"flip": True, "scale": [0.5, 1]}},
        "teacher": {"name": "torchvision:shufflenet_v2_x0_5", "training": training},
        "student": "timm:lcnet_035",
        "method": "lr+dist",
        "training": training,
    }


def test_mixed_sizes_a_timm_student_and_a_torchvision_teacher(recipe, tmp_path):
    done = limbeck.run(recipe, out=tmp_path / "run")
    assert done.summary["epoch"] == 1
    assert "shufflenet_v2_x0_5: test accuracy" in (done.folder / "log.txt").read_text()


def test_gray_images_to_a_color_network(recipe, tmp_path):
    done = limbeck.run(recipe, overrides={"data.color": "gray", "data.size": 40}, out=tmp_path / "run")
    assert done.summary["epoch"] == 1


@pytest.fixture
def left_alive():
    """Return the processes that were started within a test and have not ended."""
    before = set(multiprocessing.active_children())
    return lambda: set(multiprocessing.active_children()) - before


def test_workers_change_nothing_and_end_with_the_run(left_alive, recipe, tmp_path):
    alone = {**recipe, "method": "none"}
    one = limbeck.run(alone, overrides={"training.epochs": 2}, out=tmp_path / "one")
    two = limbeck.run(alone, overrides={"training.epochs": 2, "data.workers": 2}, out=tmp_path / "two")
    assert one.summary["test.loss"] == two.summary["test.loss"]
    assert not left_alive()


class StopAfterFirstEpoch:
    def step(self, position, meter):
        pass

    def epoch(self, row, epochs):
        raise KeyboardInterrupt


def test_a_run_with_kept_workers_resumes_bit_for_bit(left_alive, recipe, tmp_path):
    alone = {**recipe, "method": "none", "data": {**recipe["data"], "workers": 1, "augment": {"scale": [0.3, 1]}}}
    alone["training"] = {**recipe["training"], "epochs": 2}
    whole = limbeck.run(alone, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(alone, out=tmp_path / "stopped", reporting=Reporting(progress=StopAfterFirstEpoch()))
    assert not left_alive()
    resumed = limbeck.run(alone, out=tmp_path / "stopped", resume=True)
    states = [load_file(run.folder / "student.safetensors") for run in (whole, resumed)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not left_alive()


def test_too_many_workers_are_refused_before_anything_is_written(recipe, tmp_path):
    with pytest.raises(UserError, match=r"^data.workers: got 100000, expected 0 to"):
        limbeck.run(recipe, overrides={"data.workers": 100_000}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_with_a_test_limit_and_a_validation_folder(recipe, photos, tmp_path):
    for split in ("Train", "Test", "Valid"):
        shutil.copytree(photos, tmp_path / "divided" / split)
    overrides = {"data.root": tmp_path / "divided", "data.test_limit": 6, "method": "none"}
    done = limbeck.run(recipe, overrides=overrides, out=tmp_path / "run")
    assert len(RunFolder(done.folder).read_predictions()) == 6
    assert 0 <= done.summary["validation.accuracy"] <= 1
    assert "24 training, 24 validation and 6 test images" in (done.folder / "log.txt").read_text()


@pytest.mark.parametrize("damage", ["truncated", "no image"])
def test_damaged_images_are_refused_or_left_out_and_named(recipe, photos, tmp_path, damage):
    broken = photos / "cat" / "3.jpg"
    broken.write_bytes(broken.read_bytes()[:200] if damage == "truncated" else b"not an image")
    with pytest.raises(UserError, match="cat/3.jpg cannot be read as an image: .*; data.skip_bad: true leaves"):
        limbeck.run({**recipe, "method": "none"}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    done = limbeck.run({**recipe, "method": "none"}, overrides={"data.skip_bad": True}, out=tmp_path / "run")
    log = (done.folder / "log.txt").read_text()
    assert "data: image_folder, 3 classes (cat, dog, eel), 18 training and 5 test images, 32x32 rgb" in log
    assert "skipped 1 file: 1 unreadable (cat/3.jpg: " in log
    assert "samples left out by data.skip_bad: 1, all of them in skipped.txt" in log
    assert (done.folder / "skipped.txt").read_text().startswith("cat/3.jpg: ")
    assert done.summary["skipped"] == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_breaks_in_the_training_is_one_line(left_alive, recipe, photos, tmp_path, workers):
    (photos / "cat" / "cut.jpg").write_bytes(cut_jpeg())
    overrides = {"data.workers": workers, "method": "none"}
    with pytest.raises(
        UserError, match="^data.root: [^\n]*cut.jpg cannot be read as an image: image file is truncated"
    ):
        limbeck.run(recipe, overrides=overrides, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert not left_alive()
    done = limbeck.run(recipe, overrides={**overrides, "data.skip_bad": True}, out=tmp_path / "run")
    assert (done.folder / "skipped.txt").read_text().startswith("cat/cut.jpg: image file is truncated")
    with pytest.raises(UserError, match="already holds a run"):
        limbeck.run(recipe, overrides=overrides, out=tmp_path / "run")


def test_a_run_is_resumed_with_skip_bad_where_nothing_is_skipped(recipe, tmp_path):
    alone = {**recipe, "method": "none"}
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(alone, out=tmp_path / "run", reporting=Reporting(progress=StopAfterFirstEpoch()))
    done = limbeck.run(alone, overrides={"data.skip_bad": True}, out=tmp_path / "run", resume=True)
    assert "skipped" not in done.summary
    assert not (done.folder / "skipped.txt").exists()


@pytest.mark.parametrize("damage", ["all broken", "empty class", "missing folder"])
def test_damaged_folders_are_one_line_before_anything_is_written(recipe, photos, tmp_path, damage):
    expected = photos / "cat"
    if damage == "all broken":
        for path in expected.iterdir():
            path.write_text("not an image")
    elif damage == "empty class":
        expected = photos / "fox"
        expected.mkdir()
    else:
        expected = tmp_path / "gone"
        recipe["data"]["root"] = str(expected)
    with pytest.raises(UserError) as error:
        limbeck.run(recipe, out=tmp_path / "run")
    assert str(expected) in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_network_that_cannot_take_the_size(recipe, tmp_path):
    with pytest.raises(UserError) as error:
        limbeck.run(recipe, overrides={"student": "timm:vit_tiny_patch16_224"}, out=tmp_path / "run")
    assert "student timm:vit_tiny_patch16_224: cannot take image_folder's images of shape (3, 32, 32)" in str(
        error.value
    )
