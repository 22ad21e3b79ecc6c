import numpy as np
import pytest
from PIL import Image

from data_layouts import write_image, write_tiny_imagenet
from limbeck.data import load
from limbeck.errors import UserError


@pytest.mark.parametrize("below", [".", "tiny-imagenet-200"])
def test_reads_the_official_folder(tmp_path, below):
    folder = write_tiny_imagenet(tmp_path / below)
    data = load("tiny_imagenet", root=tmp_path)
    assert data.classes == ("goldfish, Carassius auratus", "bullfrog")
    assert data.train.images.shape == (6, 3, 64, 64)
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.test.labels.tolist() == [1, 0]
    picture = Image.open(folder / "train" / "n03" / "images" / "n03_1.JPEG")
    assert np.array_equal(data.train.images[4].permute(1, 2, 0).numpy(), np.asarray(picture))


def test_missing_files(tmp_path):
    with pytest.raises(UserError, match=r"wnids.txt is not in .* or .*tiny-imagenet-200; get tiny-imagenet-200.zip"):
        load("tiny_imagenet", root=tmp_path)
    folder = write_tiny_imagenet(tmp_path)
    (folder / "words.txt").unlink()
    with pytest.raises(UserError, match=r"words.txt is not in .*; the folder is not complete"):
        load("tiny_imagenet", root=tmp_path)


def test_a_class_without_images(tmp_path):
    write_tiny_imagenet(tmp_path)
    for path in (tmp_path / "train" / "n01" / "images").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"train/n01/images holds no .JPEG files"):
        load("tiny_imagenet", root=tmp_path)


@pytest.mark.parametrize("line", ["val_0.JPEG", "val_0.JPEG\tn99\t0", ""])
def test_damaged_annotations(tmp_path, line):
    write_tiny_imagenet(tmp_path)
    (tmp_path / "val" / "val_annotations.txt").write_text(line)
    with pytest.raises(UserError, match=r"val_annotations.txt has the line .*, expected a file name"):
        load("tiny_imagenet", root=tmp_path)


def test_a_class_without_a_name(tmp_path):
    write_tiny_imagenet(tmp_path)
    (tmp_path / "words.txt").write_text("n01\tgoldfish\n")
    with pytest.raises(UserError, match=r"words.txt has no line for n03"):
        load("tiny_imagenet", root=tmp_path)


def test_damaged_and_odd_images_are_named(tmp_path):
    write_tiny_imagenet(tmp_path)
    path = tmp_path / "val" / "images" / "val_1.JPEG"
    path.write_bytes(path.read_bytes()[:800])
    with pytest.raises(UserError, match=r"val_1.JPEG cannot be read as an image"):
        load("tiny_imagenet", root=tmp_path)
    write_image(path, 64, 65)
    with pytest.raises(UserError, match=r"val_1.JPEG is 65x64 pixels, expected 64x64"):
        load("tiny_imagenet", root=tmp_path)
