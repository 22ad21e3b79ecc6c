"""Image folders with a CSV file of labels, several an image."""

import pytest
import torch

from data_layouts import write_image
from limbeck.data import load
from limbeck.data.images.label_table import read_label_table
from limbeck.errors import UserError

COLUMNS = "image,cat,dog,tree\n0.png,1,0,\n1.png,0,1,1\n2.png,1,1,0\n3.png,0,0,-1\n4.png,1.0,?,nan\n"
NAMES = "image,classes\n0.png,cat\n1.png,dog|tree\n2.png,cat | dog\n3.png,\n4.png,cat\n"


@pytest.fixture
def photos(tmp_path):
    for number in range(6):
        write_image(tmp_path / "photos" / f"{number}.png", 20 + number, 24, seed=number)
    return tmp_path / "photos"


def folder(root, text, **options):
    (root / "labels.csv").write_text(text, encoding="utf-8")
    return load("image_folder", root=root, size=16, options={"labels": "labels.csv"}, **options)


def test_a_column_for_each_class(photos):
    data = folder(photos, COLUMNS, test_share=0.4, validation=0.34)
    assert data.classes == ("cat", "dog", "tree")
    assert (len(data.train), len(data.validation), len(data.test)) == (2, 1, 2)
    assert "1 without a row of labels" in data.notes[-1]
    by_name = {
        path.name: label
        for part in (data.train, data.validation, data.test)
        for path, label in zip(part.paths, part.labels.tolist(), strict=True)
    }
    assert by_name == {
        "0.png": [1, 0, -1],
        "1.png": [0, 1, 1],
        "2.png": [1, 1, 0],
        "3.png": [0, 0, -1],
        "4.png": [1, -1, -1],
    }
    batch = next(data.batches(data.train, batch_size=2).epoch(0))
    assert (batch.inputs.shape, batch.targets.shape) == ((2, 3, 16, 16), (2, 3))


def test_a_column_of_names(photos):
    data = folder(photos, NAMES, test_share=0.2, train_limit=3)
    assert (data.classes, len(data.train)) == (("cat", "dog", "tree"), 3)
    assert read_label_table(photos / "labels.csv").labels == ((1, 0, 0), (0, 1, 1), (1, 1, 0), (0, 0, 0), (1, 0, 0))


def test_a_column_of_splits(photos):
    text = "image,split,cat,dog\n0.png,train,1,0\n1.png,train,0,1\n2.png,val,1,1\n3.png,test,0,0\n"
    data = folder(photos, text)
    assert [[path.name for path in part.paths] for part in (data.train, data.validation, data.test)] == [
        ["0.png", "1.png"], ["2.png"], ["3.png"]
    ]  # fmt: skip
    assert data.classes == ("cat", "dog")


def test_broken_images_are_left_out(photos):
    (photos / "2.png").write_text("no image")
    with pytest.raises(UserError, match="2.png cannot be read as an image: is no image; data.skip_bad"):
        folder(photos, COLUMNS, test_share=0.5)
    data = folder(photos, COLUMNS, test_share=0.5, skip_bad=True)
    assert len(data.train) + len(data.test) == 4
    assert "1 unreadable (2.png: is no image)" in data.notes[-1]


def test_labels_are_part_of_the_fingerprint(photos):
    first = folder(photos, COLUMNS).fingerprint
    assert folder(photos, COLUMNS).fingerprint == first
    assert folder(photos, COLUMNS.replace("1.png,0", "1.png,1")).fingerprint != first


def test_without_labels_the_images_get_as_many_unknown_ones(photos, tmp_path):
    for number in range(3):
        write_image(tmp_path / "more" / f"{number}.png", 20, 24, seed=100 + number)
    data = folder(photos, COLUMNS).with_unlabeled(tmp_path / "more")
    assert torch.equal(data.joined.labels[len(data.train) :], torch.full((3, 3), -100))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has 0 rows of 0 columns, expected a header and a row for each image"),
        ("image,cat\n", "has 1 rows of 2 columns, expected a header"),
        ("image\n0.png\n", "has 2 rows of 1 columns"),
        ("image,cat,cat\n0.png,1,0\n", "has the column 'cat' twice"),
        ("image,cat,dog\n0.png,1\n", "line 2: 2 cells, expected 3"),
        ("image,cat,dog\n0.png,1,2\n", "line 2, column 'dog': got '2', expected 1, 0, or nothing"),
        ("image,cat,dog\n0.png,1,yes\n", "line 2, column 'dog': got 'yes', expected 1, 0"),
        ("image,tags\n0.png,cat||dog\n", r"line 2: got 'cat\|\|dog', expected the names of classes"),
        ("image,cat\n0.png,1\n0.png,0\n", "line 3: the file '0.png' stands in line 2 too, expected each once"),
        ("image,cat\n0.png,1\n9.png,0\n8.png,0\n", r"names the image '9.png' \(and 1 more\), which is not in"),
        ("image,cat\n/etc/passwd,1\n", "names the image '/etc/passwd', which is not in"),
        ("image,cat\n0.png,1\n./0.png,0\n", "line 3: the file './0.png' stands in line 2 too, expected each once"),
        ("image,cat\n../photos/0.png,1\n", "names the image '../photos/0.png', which is not in"),
        ("image,split,cat\n0.png,training,1\n", "line 2: got the split 'training', expected train, test, val"),
        ("image,split,cat\n0.png,train,1\n", "has no images of the split 'test', expected some"),
    ],
)
def test_bad_tables(photos, text, message):
    with pytest.raises(UserError, match=message) as error:
        folder(photos, text)
    assert "\n" not in str(error.value)


def test_files_that_are_missing(photos):
    with pytest.raises(UserError, match=r"data.options.labels: .*lost.csv: No such file"):
        load("image_folder", root=photos, options={"labels": "lost.csv"})
    (photos / "bad.csv").write_bytes(b"image,cat\n\xff,1\n")
    with pytest.raises(UserError, match=r"data.options.labels: .*bad.csv: is no CSV file in UTF-8"):
        load("image_folder", root=photos, options={"labels": "bad.csv"})
