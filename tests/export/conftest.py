"""Tiny runs of several kinds of data, made once for all tests of exports."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

import limbeck
from data_layouts import write_image
from limbeck.models.saving import save_tensors
from text_files import rows, write_csv


def training(precision="fp32"):
    optimizer = {"name": "adamw", "lr": 0.01}
    return {"epochs": 1, "batch_size": 8, "optimizer": optimizer, "device": "cpu", "precision": precision}


@pytest.fixture(scope="session")
def distilled(tmp_path_factory):
    """Run a recipe in a folder of its own."""

    def run(name, recipe):
        root = tmp_path_factory.mktemp(name)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("limbeck.runs.pictures.save_class_picture", lambda figures, path, title: path)
            return limbeck.run({"method": "none", **recipe, "output": {"cache": str(root / "cache")}}, out=root / name)

    return run


@pytest.fixture(scope="session")
def photo_run(distilled, tmp_path_factory):
    """Color images of 16 x 16, trained and measured in bfloat16, with a temperature of 2.5 in the student's file."""
    root = tmp_path_factory.mktemp("photos")
    for split, count in (("train", 12), ("test", 4)):
        for number, name in enumerate(("cat", "dog", "eel")):
            for i in range(count):
                write_image(root / split / name / f"{i}.png", 16, 16, seed=100 * number + i)
    data = {"name": "image_folder", "root": str(root), "size": 16}
    student = {"name": "resnet8", "options": {"width": 0.25}}
    run = distilled("photo", {"data": data, "student": student, "training": training("bf16")})
    rewrite(run.folder / "student.safetensors", temperature=2.5)
    return run


def rewrite(file, **changes):
    """Change what a student's file records."""
    with safe_open(file, "pt") as opened:
        about = json.loads(opened.metadata()["limbeck"])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
    save_tensors(file, tensors, {"limbeck": json.dumps({**about, **changes})})


@pytest.fixture(scope="session")
def table_run(distilled, tmp_path_factory):
    """Two numbers, one of them far from zero, and a category; with a trained teacher."""
    root = tmp_path_factory.mktemp("table")
    kinds = ("big", "mid", "small")
    for split, count in (("train", 60), ("test", 21)):
        lines = [f"{k * 7 % 11 / 3},{2000 + k % 13},{'red' if k % 4 else 'blue'},{kinds[k % 3]}" for k in range(count)]
        (root / f"{split}.csv").write_text("\n".join(["size,year,color,kind", *lines]) + "\n")
    recipe = {
        "method": "kd",
        "data": {"name": "table", "root": str(root), "options": {"label": "kind"}},
        "student": {"name": "mlp", "options": {"hidden": 8}},
        "teacher": {"name": "mlp", "options": {"hidden": 64}, "training": training()},
        "training": training(),
    }
    return distilled("tables", recipe)


@pytest.fixture(scope="session")
def text_run(distilled, tmp_path_factory):
    root = tmp_path_factory.mktemp("texts")
    write_csv(root / "train.csv", rows(48))
    write_csv(root / "test.csv", rows(12, start=100))
    data = {"name": "text", "root": str(root), "options": {"max_length": 16}}
    student = {"name": "text_transformer", "options": {"width": 16, "depth": 1, "heads": 2}}
    return distilled("text", {"data": data, "student": student, "training": training()})


@pytest.fixture(scope="session")
def mask_run(distilled, tmp_path_factory):
    root = tmp_path_factory.mktemp("masks")
    for split, count in (("train", 8), ("test", 7)):
        for i in range(count):
            write_image(root / split / "images" / f"{i}.png", 24, 32, seed=i)
            mask = np.random.default_rng(i).integers(3, size=(24, 32), dtype=np.uint8)
            (root / split / "masks").mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(root / split / "masks" / f"{i}.png")
    data = {"name": "mask_folder", "root": str(root), "options": {"classes": ["sky", "road", "tree"]}}
    student = {"name": "small_segmenter", "options": {"width": 6, "blocks": 2}}
    return distilled("mask", {"task": "segmentation", "data": data, "student": student, "training": training()})


@pytest.fixture
def copied(tmp_path):
    """Copy a run's folder."""
    return lambda run: shutil.copytree(run.folder, tmp_path / run.folder.name)
