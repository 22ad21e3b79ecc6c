"""Tiny runs of every kind of data, made once for all tests of students."""

import numpy as np
import pytest
from PIL import Image

import limbeck
from data_layouts import write_image
from text_files import rows, write_csv

SIZES = ((90, 70), (200, 120), (64, 64), (40, 130), (300, 260))


def training(precision="fp32", **more):
    optimizer = {"name": "adamw", "lr": 0.01}
    return {"epochs": 1, "batch_size": 8, "optimizer": optimizer, "device": "cpu", "precision": precision, **more}


@pytest.fixture(scope="session")
def distilled(tmp_path_factory):
    """Run a recipe of the method ``none`` in a folder of its own."""

    def run(name, recipe):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("limbeck.runs.pictures.save_class_picture", lambda figures, path, title: path)
            return limbeck.run({"method": "none", **recipe}, out=tmp_path_factory.mktemp(name) / "run")

    return run


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """JPEGs of many sizes, some so large that they are decoded at a part of their size."""
    root = tmp_path_factory.mktemp("photos")
    for split, count in (("train", 6), ("test", 5)):
        for number, name in enumerate(("cat", "dog", "eel")):
            for i in range(count):
                write_image(root / split / name / f"{i}.jpg", *SIZES[i % len(SIZES)], seed=100 * number + i)
    return root


def photo_recipe(photos, **more):
    data = {"name": "image_folder", "root": str(photos), "size": 24, "augment": {"flip": True}}
    return {"data": data, "student": {"name": "resnet8", "options": {"width": 0.5}}, "training": training(**more)}


@pytest.fixture(scope="session")
def photo_run(distilled, photos):
    return distilled("photo", photo_recipe(photos))


@pytest.fixture(scope="session")
def lowered_run(distilled, photos):
    """Trained and measured in bfloat16."""
    return distilled("lowered", photo_recipe(photos, precision="bf16"))


@pytest.fixture(scope="session")
def text_run(distilled, tmp_path_factory):
    root = tmp_path_factory.mktemp("texts")
    write_csv(root / "train.csv", rows(48))
    write_csv(root / "test.csv", rows(12, start=100))
    data = {"name": "text", "root": str(root), "options": {"max_length": 16}}
    student = {"name": "text_cnn", "options": {"width": 16, "channels": 8}}
    return distilled("text", {"data": data, "student": student, "training": training()})


@pytest.fixture(scope="session")
def table_run(distilled, tmp_path_factory):
    root = tmp_path_factory.mktemp("table")
    kinds = ("big", "mid", "small")
    for split, count in (("train", 60), ("test", 21)):
        lines = [f"{k * 7 % 11 / 3},{'red' if k % 4 else 'blue'},{kinds[k % 3]}" for k in range(count)]
        (root / f"{split}.csv").write_text("\n".join(["size,color,kind", *lines]) + "\n")
    data = {"name": "table", "root": str(root), "options": {"label": "kind"}}
    student = {"name": "mlp", "options": {"hidden": 8}}
    return distilled("tables", {"data": data, "student": student, "training": training()})


@pytest.fixture(scope="session")
def mask_run(distilled, tmp_path_factory):
    """Segmentation of PNGs of several sizes, resized to 24 x 32."""
    root = tmp_path_factory.mktemp("masks")
    for split, count in (("train", 8), ("test", 3)):
        for i in range(count):
            size = (20 + 5 * i, 30 + 3 * i)
            write_image(root / split / "images" / f"{i}.png", *size, seed=i)
            mask = np.random.default_rng(i).integers(3, size=size, dtype=np.uint8)
            (root / split / "masks").mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(root / split / "masks" / f"{i}.png")
    data = {"name": "mask_folder", "root": str(root), "options": {"classes": ["sky", "road", "tree"]}}
    data["options"]["shape"] = [24, 32]
    student = {"name": "small_segmenter", "options": {"width": 6, "blocks": 2}}
    return distilled("mask", {"task": "segmentation", "data": data, "student": student, "training": training()})


@pytest.fixture(scope="session")
def label_run(distilled, tmp_path_factory):
    """Images with several classes each."""
    root, lines = tmp_path_factory.mktemp("labels"), ["image,cat,dog"]
    for i in range(20):
        write_image(root / f"{i}.png", 20, 24, seed=i)
        lines.append(f"{i}.png,{i % 2},{i // 2 % 2}")
    (root / "labels.csv").write_text("\n".join(lines))
    data = {"name": "image_folder", "root": str(root), "size": 16, "options": {"labels": "labels.csv"}}
    student = {"name": "resnet8", "options": {"width": 0.25}}
    return distilled("several", {"task": "multilabel", "data": data, "student": student, "training": training()})


@pytest.fixture(scope="session")
def box_run(distilled):
    pytest.importorskip("pycocotools")
    data = {"name": "boxes_sample", "options": {"train": 8, "test": 3, "side": 64}}
    student = {"name": "small_detector", "options": {"width": 8}}
    return distilled("boxes", {"task": "detection", "data": data, "student": student, "training": training()})
