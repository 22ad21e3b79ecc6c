import gzip

import numpy as np
import pytest
import torch

from data_layouts import pixels, write_idx, write_mnist
from limbeck.data import load
from limbeck.data.images.mnist import read_idx
from limbeck.errors import UserError


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize(
    ("name", "below"), [("mnist", "MNIST/raw"), ("fashion_mnist", "FashionMNIST/raw"), ("mnist", ".")]
)
def test_reads_both_places_and_both_packings(tmp_path, name, below, pack):
    images, labels = write_mnist(tmp_path / below, pack=pack)
    data = load(name, root=tmp_path)
    assert torch.equal(data.train.images[:, 0], torch.from_numpy(images))
    assert torch.equal(data.train.labels, torch.from_numpy(labels).long())
    assert (len(data.test), data.shape, len(data.classes)) == (10, (1, 28, 28), 10)


def test_statistics(tmp_path):
    write_mnist(tmp_path)
    assert (load("mnist", root=tmp_path).mean, load("fashion_mnist", root=tmp_path).std) == ((0.1307,), (0.3530,))


def test_missing_file_is_named_with_where_and_how(tmp_path):
    with pytest.raises(UserError) as caught:
        load("fashion_mnist", root=tmp_path)
    text = str(caught.value)
    assert "train-images-idx3-ubyte or train-images-idx3-ubyte.gz is not in" in text
    assert str(tmp_path / "FashionMNIST" / "raw") in text
    assert "download: true" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\0\0\x08", "no idx file of bytes in 1 dimensions"),
        (b"\0\0\x08\x03" + bytes(20), "no idx file of bytes in 1 dimensions"),
        (b"\0\0\x0d\x01\0\0\0\x01" + bytes(4), "no idx file of bytes"),
        (b"\0\0\x08\x01\0\0\0\x05abc", r"has 11 bytes, expected 13 for its shape \(5,\)"),
        (b"\0\0\x08\x01\0\0\0\x02abc", r"has more than 10 bytes, expected 10"),
    ],
)
def test_damaged_idx(tmp_path, content, message):
    path = tmp_path / "labels"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{path} .*{message}"):
        read_idx(path, 1)


@pytest.mark.parametrize(
    "content",
    # gzip writes the time into its header; a test's name must not depend on the clock.
    [b"no gzip", gzip.compress(b"\0\0\x08\x01\0\0\x03\xe8" + bytes(1000), mtime=0)[:-9], b"\x1f\x8b\x08\0" + b"x" * 30],
    ids=["no gzip", "cut short", "no deflate"],
)
def test_damaged_gzip(tmp_path, content):
    path = tmp_path / "labels.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"labels.gz is truncated or no gzip file"):
        read_idx(path, 1)


def test_label_out_of_range_names_the_file(tmp_path):
    write_mnist(tmp_path)
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", np.array([0, 10] * 5, np.uint8))
    with pytest.raises(UserError, match=r"t10k-labels-idx1-ubyte holds the label 10 \(sample 1\), expected 0 to 9"):
        load("mnist", root=tmp_path)


def test_images_and_labels_of_different_number(tmp_path):
    write_mnist(tmp_path)
    write_idx(tmp_path / "train-images-idx3-ubyte", pixels(21, 28, 28))
    with pytest.raises(UserError, match=r"train-labels-idx1-ubyte holds 20 labels, expected 21"):
        load("mnist", root=tmp_path)
