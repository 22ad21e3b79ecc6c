"""Folders of images and index masks: what is read, and one clear line for what cannot be."""

import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from limbeck.data import load
from limbeck.errors import UserError

HEIGHT, WIDTH = 6, 8


def write(folder, name, mask=None, size=(HEIGHT, WIDTH), mode="RGB", mask_mode="L", ending=".png"):
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(len(name))
    shape = (*size, 3) if mode == "RGB" else size
    Image.fromarray(generator.integers(256, size=shape, dtype=np.uint8)).save(folder / "images" / f"{name}{ending}")
    mask = np.zeros(size) if mask is None else np.array(mask)
    kind = np.uint16 if mask_mode == "I;16" else np.uint8
    image = Image.fromarray(mask.astype(kind))
    if mask_mode == "P":
        image = image.convert("P")
        image.putdata(mask.astype(np.uint8).ravel().tolist())
        image.putpalette([value for number in range(256) for value in (number, 255 - number, 7)])
    (image.convert("RGB") if mask_mode == "RGB" else image).save(folder / "masks" / f"{name}.png")


def full(value, **spots):
    mask = np.full((HEIGHT, WIDTH), value)
    mask[0, 0] = spots.get("corner", value)
    return mask


@pytest.fixture
def root(tmp_path):
    for split, count in (("train", 4), ("test", 2)):
        for number in range(count):
            write(tmp_path / split, f"{split}{number}", full(number % 2, corner=255))
    return tmp_path


def test_splits_are_read_with_masks_beside_images(root):
    data = load("mask_folder", root=root)
    assert data.classes == ("0", "1")
    assert (data.shape, len(data.train), len(data.test), data.validation) == ((3, HEIGHT, WIDTH), 4, 2, None)
    assert data.train.masks[1, 0, 0] == 255
    assert data.train.labels.tolist() == [0, 1, 0, 1]
    expected = np.array(Image.open(root / "train" / "images" / "train2.png"))
    assert torch.equal(data.train.images[2], torch.from_numpy(expected).permute(2, 0, 1))
    assert data.description[0].endswith("4 training and 2 test images with masks, 8x6 rgb")


def test_a_zip_archive_is_the_same(root, tmp_path_factory):
    place = tmp_path_factory.mktemp("zipped")
    with zipfile.ZipFile(place / "set.zip", "w") as archive:
        for file in root.rglob("*.png"):
            archive.write(file, file.relative_to(root))
    unpacked = load("mask_folder", root=root)
    assert load("mask_folder", root=place).fingerprint == unpacked.fingerprint
    assert load("mask_folder", root=place / "set.zip").fingerprints == unpacked.fingerprints


def test_the_other_layouts(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    for part in ("images", "masks"):
        (other / part).mkdir()
        for split in ("train", "test"):
            (root / split / part).rename(other / part / split)
    assert len(load("mask_folder", root=other).train) == 4
    flat = tmp_path_factory.mktemp("flat")
    for number in range(10):
        write(flat, f"image{number}", full(number % 2))
    data = load("mask_folder", root=flat, test_share=0.2)
    assert (len(data.train), len(data.test)) == (8, 2)


def test_a_validation_split_stands_in_for_a_missing_test_split(root):
    (root / "test").rename(root / "val")
    data = load("mask_folder", root=root)
    assert (len(data.test), data.validation) == (2, None)
    assert "the validation split is the test split" in data.notes[0]
    write(root / "test", "one")
    assert len(load("mask_folder", root=root).validation) == 2


@pytest.mark.parametrize("mode", ["L", "P", "I;16"])
def test_masks_of_any_index_mode(mode, tmp_path):
    for split in ("train", "test"):
        write(tmp_path / split, "a", full(2, corner=1), mask_mode=mode)
    assert load("mask_folder", root=tmp_path).train.masks[0].unique().tolist() == [1, 2]


def test_class_names_and_ignored_values(root):
    data = load("mask_folder", root=root, options={"classes": ["sky", "road", "car"], "ignore_index": [255, 0]})
    assert data.classes == ("sky", "road", "car")
    assert data.train.masks[0].unique().tolist() == [255]
    (root / "classes.txt").write_text("sky\nroad\n\n")
    assert load("mask_folder", root=root).classes == ("sky", "road")
    (root / "names").write_text("a\nb\nc\n")
    assert load("mask_folder", root=root, options={"classes": "names"}).classes == ("a", "b", "c")
    assert load("mask_folder", root=root, options={"classes": str(root / "names")}).classes == ("a", "b", "c")


def test_images_are_gray_where_all_channels_are_equal(tmp_path):
    for split in ("train", "test"):
        write(tmp_path / split, "a", mode="L")
    assert load("mask_folder", root=tmp_path).shape == (1, HEIGHT, WIDTH)
    assert load("mask_folder", root=tmp_path, color="rgb").shape == (3, HEIGHT, WIDTH)


def test_resized_masks_keep_their_values(root):
    write(root / "train", "z_larger", full(1).repeat(2, axis=0).repeat(2, axis=1), size=(12, 16))
    with pytest.raises(
        UserError, match=r"z_larger.png: is 16x12, expected the 8x6 of the others, or data.options.shape"
    ):
        load("mask_folder", root=root)
    data = load("mask_folder", root=root, options={"shape": [3, 4]})
    assert data.shape == (3, 3, 4)
    assert set(data.train.masks.unique().tolist()) <= {0, 1, 255}
    assert load("mask_folder", root=root, size=4).shape == (3, 4, 4)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda root: write(root / "train", "bad", full(1, corner=7)), None),
        (
            lambda root: (root / "train" / "masks" / "train1.png").unlink(),
            "train1.png: has no mask, expected train1.png",
        ),
        (
            lambda root: Image.new("L", (4, 6)).save(root / "train" / "masks" / "train1.png"),
            r"masks/train1.png: is 4x6, expected the 8x6 of train1.png",
        ),
        (
            lambda root: Image.new("RGB", (8, 6)).save(root / "train" / "masks" / "train1.png"),
            r"masks/train1.png: is an image of colors \(RGB\), expected an index mask",
        ),
        (
            lambda root: (root / "train" / "masks" / "train1.png").write_bytes(b"no"),
            "masks/train1.png: cannot be read as an image",
        ),
        (lambda root: (root / "train").rename(root / "training"), "has no split train; expected train/images"),
        (lambda root: (root / "test").rename(root / "holdout"), "has no split test, expected test/images"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(change, line, root):
    change(root)
    options = {"classes": ["a", "b"]} if line is None else {}
    line = line or r"masks/bad.png: has the value 7, expected a class from 0 to 1, or an ignored value \(255; data"
    with pytest.raises(UserError, match=line) as error:
        load("mask_folder", root=root, options=options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"options": {"classes": "nowhere.txt"}},
            "data.options.classes: got 'nowhere.txt', expected names, or a file in",
        ),
        ({"options": {"classes": ["a", "a"]}}, "data.options.classes: got 2 names, 1 of them different"),
        ({"options": {"shape": [3]}}, r"data.options.shape: got \[3\], expected height and width"),
        ({"size": 4, "options": {"shape": [3, 3]}}, "data.size: got 4 beside data.options.shape"),
        ({"options": {"ignore_index": ["a"]}}, "data.options.ignore_index: got"),
        ({"options": {"ignore": 1}}, "data.options: unknown option 'ignore'; did you mean 'ignore_index'"),
    ],
)
def test_wrong_options_are_refused(options, line, root):
    with pytest.raises(UserError, match=line):
        load("mask_folder", root=root, **options)


def test_no_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="data.root: got none"):
        load("mask_folder")
    with pytest.raises(UserError, match="expected a folder or a zip archive"):
        load("mask_folder", root=tmp_path / "nowhere")
    (tmp_path / "broken.zip").write_bytes(b"no archive")
    with pytest.raises(UserError, match="cannot be read as a zip archive"):
        load("mask_folder", root=tmp_path)


def test_masks_of_nothing_are_refused(root):
    with pytest.raises(UserError, match="all pixels of all masks are ignored"):
        load("mask_folder", root=root, options={"ignore_index": [0, 1, 255]})


def test_a_mask_without_an_image_is_noted(root):
    Image.new("L", (8, 6)).save(root / "train" / "masks" / "more.png")
    assert load("mask_folder", root=root).notes == ("1 masks without an image are left out (more.png, ...)",)


def test_cuts_take_masks_along(root):
    data = load("mask_folder", root=root, train_limit=2)
    assert data.train.masks.shape == (2, HEIGHT, WIDTH)
    held = load("mask_folder", root=root, validation=0.5)
    assert (len(held.train), len(held.validation)) == (2, 2)


@pytest.mark.shared
def test_camvid_is_read_whole(shared):
    data = load("mask_folder", root=shared / "data" / "camvid-240x180", options={"ignore_index": 11})
    assert (len(data.train), len(data.validation), len(data.test)) == (367, 101, 233)
    assert data.classes == tuple(map(str, range(11)))
    assert data.shape == (3, 180, 240)
    # Void is 3.4 % of the training pixels.
    assert 0 < float((data.train.masks == 255).float().mean()) < 0.1
