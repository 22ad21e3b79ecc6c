"""A small data set of images with boxes as files."""

import json

import pytest

from boxes_files import SPLITS


@pytest.fixture
def coco_root(tmp_path):
    for name, drawn in SPLITS.items():
        drawn.write(tmp_path / "images" / name)
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / "annotations" / f"{name}.json").write_text(json.dumps(drawn.coco()))
    return tmp_path


@pytest.fixture
def voc_root(tmp_path):
    for name, drawn in SPLITS.items():
        drawn.voc(tmp_path, name)
    return tmp_path
