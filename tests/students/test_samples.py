"""Raw samples that cannot be used: one line each."""

import numpy as np
import pytest
import torch

import limbeck
from limbeck.errors import UserError


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([], "samples: got none"),
        ("cat.jpg", "expected a list of images"),
        (np.zeros((4, 4, 3), np.uint8), "expected a list of images"),
        ([3], "a sample: got 3, expected a file"),
        ([np.zeros((4, 4))], r"got float64 \(4, 4\), expected a file"),
        ([np.zeros((4, 4, 5), np.uint8)], r"got uint8 \(4, 4, 5\)"),
        ([torch.zeros(3, 4, 4)], r"got torch.float32 \(3, 4, 4\)"),
        ([np.zeros((0, 4, 3), np.uint8)], r"got uint8 \(0, 4, 3\)"),
        (["/nowhere/cat.jpg"], "^/nowhere/cat.jpg cannot be read as an image: No such file"),
    ],
)
def test_images(photo_run, samples, expected):
    with pytest.raises(UserError, match=expected):
        limbeck.load(photo_run.folder).predict(samples)


def test_damaged_images_are_skipped_where_they_may_be(photo_run, photos, tmp_path):
    whole = (photos / "test" / "cat" / "0.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("no image")
    paths = [tmp_path / "cut.jpg", photos / "test" / "cat" / "0.jpg", tmp_path / "text.jpg"]
    student, skipped = limbeck.load(photo_run.folder), {}
    made = list(student.batches(paths, skipped=skipped))
    assert [batch.positions for batch in made] == [[1]]
    assert sorted(skipped) == [0, 2]
    assert "text.jpg cannot be read as an image: is no image" in skipped[2]
    with pytest.raises(UserError, match="cut.jpg cannot be read as an image"):
        student.predict(paths)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ("card please", "expected a list of texts"),
        (["card", " "], "a sample: got ' ', expected a text"),
        ([("card", "loan")], "expected a text"),
        ([3], "a sample: got 3, expected a text"),
    ],
)
def test_texts(text_run, samples, expected):
    with pytest.raises(UserError, match=expected):
        limbeck.load(text_run.folder).predict(samples)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([{"size": 1.0}], "has no column 'color'"),
        ([{"size": 1.0, "color": "green"}], "got 'green', expected a category of the training rows: blue, red"),
        ([{"size": 1.0, "color": "red"}, {"color": "red"}], "column 'size', row 2: is missing"),
        ([{"size": "wide", "color": "red"}], "got 'wide', expected a number"),
        ([3], "row 1: got 3, expected a mapping"),
        (3, "samples: got 3, expected rows"),
        ([], "has no column 'size'"),
    ],
)
def test_rows(table_run, samples, expected):
    with pytest.raises(UserError, match=expected):
        limbeck.load(table_run.folder).predict(samples)


def test_batch_size(photo_run):
    with pytest.raises(UserError, match="batch_size: got 0, expected a whole number of at least 1"):
        limbeck.load(photo_run.folder).predict([], batch_size=0)
