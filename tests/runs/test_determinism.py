"""The same recipe and seed give the same numbers twice, of every kind of data, with and without loader workers."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import limbeck
from boxes_files import SPLITS
from data_layouts import write_image, write_mnist
from limbeck.runs.same_numbers import compare_numbers
from stopped_runs import assert_same_run
from text_files import write_folder

OF_THE_MACHINE = ("seconds", "training.seconds", "threads", "device", "precision")
TRAINING = {"epochs": 2, "batch_size": 8, "optimizer": {"name": "adamw", "lr": 0.005}, "precision": "fp32"}
SMALL = {"name": "resnet8", "options": {"width": 0.25}}


def folder_of_images(root):
    for k, name in enumerate(("cat", "dog")):
        for i in range(10):
            write_image(root / name / f"{i}.jpg", 30 + 5 * i, 60 - 4 * i, seed=100 * k + i)
    augment = {"flip": True, "scale": [0.5, 1], "rand_augment": [1, 5]}
    return {"data": {"name": "image_folder", "root": str(root), "size": 32, "augment": augment}, "student": SMALL}


def packed_images(root):
    write_mnist(root, train=24, test=10)
    data = {"name": "mnist", "root": str(root), "augment": {"crop": 2, "flip": True, "random_erasing": 0.5}}
    return {"data": data, "student": SMALL}


def texts(root):
    student = {"name": "text_cnn", "options": {"width": 16, "channels": 8}}
    return {
        "data": {"name": "text", "root": str(write_folder(root)), "options": {"max_length": 16}},
        "student": student,
    }


def tables(root):
    rows = [f"{k % 7},{'red' if k % 3 else 'blue'},{'big' if k % 7 > 3 else 'small'}" for k in range(60)]
    root.mkdir()
    (root / "rows.csv").write_text("\n".join(["size,color,kind", *rows]))
    options = {"label": "kind", "test_rows": 20}
    data = {"name": "table", "root": str(root / "rows.csv"), "options": options, "augment": {"noise": 0.1}}
    return {"data": data, "student": {"name": "mlp", "options": {"hidden": 8}}}


def masks(root):
    generator = np.random.default_rng(0)
    for number in range(15):
        folder = root / ("train" if number < 12 else "test")
        for part, image in (("images", generator.integers(256, size=(32, 32, 3))), ("masks", np.eye(32))):
            (folder / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.roll(image, number, axis=0).astype(np.uint8)).save(folder / part / f"{number}.png")
    data = {"name": "mask_folder", "root": str(root), "augment": {"flip": True, "zoom": [0.7, 1.5]}}
    student = {"name": "small_segmenter", "options": {"width": 6, "blocks": 2}}
    return {"task": "segmentation", "data": data, "student": student}


def boxes(root):
    pytest.importorskip("pycocotools")
    (root / "annotations").mkdir(parents=True)
    for name, drawn in SPLITS.items():
        drawn.write(root / "images" / name)
        (root / "annotations" / f"{name}.json").write_text(json.dumps(drawn.coco()))
    data = {"name": "coco", "root": str(root), "augment": {"flip": True}}
    student = {"name": "small_detector", "options": {"width": 4}}
    return {"task": "detection", "data": data, "student": student}


def with_teacher(recipe):
    batch = {"batch_size": 2} if recipe.get("task") == "detection" else {}
    training = {**TRAINING, **batch}
    return {
        **recipe,
        "teacher": {**recipe["student"], "training": {**training, "epochs": 1}},
        "method": "kd",
        "training": training,
    }


def numbers(folder):
    values = json.loads((folder / "summary.json").read_text())
    return {name: value for name, value in values.items() if name not in OF_THE_MACHINE}


@pytest.mark.parametrize("kind", [folder_of_images, packed_images, texts, tables, masks, boxes])
def test_twice_the_same_with_and_without_workers(kind, tmp_path):
    recipe = with_teacher(kind(tmp_path / "data"))
    # Each has a cache of its own, so that its teacher is trained anew.
    first, second = (
        limbeck.run(
            recipe,
            overrides={"data.workers": workers, "output.cache": str(tmp_path / f"cache{workers}")},
            out=tmp_path / f"run{workers}",
        ).folder
        for workers in (0, 2)
    )
    assert numbers(first) == numbers(second)
    assert_same_run(first, second)
    found = compare_numbers(first, second)
    assert found.equal, found.first
    assert not found.left_out


@pytest.mark.slow
def test_another_process_with_other_hashes_gives_the_same(tmp_path):
    """Nothing may depend on the order of a set, which changes from process to process."""
    recipe = with_teacher(texts(tmp_path / "data"))
    (tmp_path / "mine.json").write_text(json.dumps({**recipe, "output": {"cache": str(tmp_path / "cache")}}))
    for seed in ("1", "2"):
        words = [sys.executable, "-m", "limbeck", "run", str(tmp_path / "mine.json"), "--out", str(tmp_path / seed)]
        words.append(f"output.cache={tmp_path / f'cache{seed}'}")
        variables = {**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"}
        subprocess.run(words, check=True, env=variables, capture_output=True, timeout=300)
    assert numbers(tmp_path / "1") == numbers(tmp_path / "2")
    assert_same_run(tmp_path / "1", tmp_path / "2")
