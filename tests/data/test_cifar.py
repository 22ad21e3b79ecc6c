import os
import pickle

import numpy as np
import pytest
import torch

import data_layouts as layouts
from limbeck.data import load
from limbeck.errors import UserError


@pytest.mark.parametrize("below", [".", "{}"])
@pytest.mark.parametrize(
    ("name", "folder", "write"),
    [
        ("cifar100", "cifar-100-python", layouts.write_cifar100_python),
        ("cifar100", "cifar-100-binary", layouts.write_cifar100_binary),
    ],
)
def test_cifar100_layouts(tmp_path, name, folder, write, below):
    pixels, labels = write(tmp_path / below.format(folder))
    data = load(name, root=tmp_path)
    assert torch.equal(data.train.images.flatten(1), torch.from_numpy(pixels))
    assert data.train.labels.tolist() == list(labels)
    assert data.classes == tuple(f"class_{i}" for i in range(100))
    assert (data.shape, len(data.test)) == ((3, 32, 32), 100)


@pytest.mark.parametrize(
    ("folder", "write"),
    [("cifar-10-batches-py", layouts.write_cifar10_python), ("cifar-10-batches-bin", layouts.write_cifar10_binary)],
)
def test_cifar10_joins_its_five_batches_in_order(tmp_path, folder, write):
    write(tmp_path / folder)
    data = load("cifar10", root=tmp_path)
    expected = np.concatenate([layouts.pixels(10, 3072, seed=i) for i in range(5)])
    assert torch.equal(data.train.images.flatten(1), torch.from_numpy(expected))
    assert data.train.labels.tolist() == list(range(10)) * 5
    assert (len(data.classes), len(data.test)) == (10, 10)


def test_agrees_with_torchvision_on_the_python_layout(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    layouts.write_cifar10_python(tmp_path / "cifar-10-batches-py")
    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr(CIFAR10, "_load_meta", lambda self: None)
    theirs, ours = CIFAR10(tmp_path, train=True), load("cifar10", root=tmp_path)
    assert np.array_equal(ours.train.images.permute(0, 2, 3, 1).numpy(), theirs.data)
    assert ours.train.labels.tolist() == theirs.targets


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("made-by-a-pickle",)


class Sneaky:
    def __reduce__(self):
        return np.fromfile, ("train",)


@pytest.mark.parametrize(("value", "named"), [(Harmful(), "mkdir"), (Sneaky(), "fromfile")])
def test_a_pickle_runs_no_code(tmp_path, monkeypatch, value, named):
    layouts.write_cifar100_python(tmp_path)
    (tmp_path / "train").write_bytes(pickle.dumps({"data": value}))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"train is no pickle of NumPy arrays: .*{named}.* not allowed"):
        load("cifar100", root=tmp_path)
    assert not (tmp_path / "made-by-a-pickle").exists()


def test_a_pickle_of_python_3_is_read_too(tmp_path):
    data, labels = layouts.write_cifar100_python(tmp_path)
    (tmp_path / "train").write_bytes(pickle.dumps({"data": data, "fine_labels": labels}, protocol=4))
    assert load("cifar100", root=tmp_path).train.labels.tolist() == labels


PIXELS = layouts.pixels(2, 3072)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps([1]), "train holds a list, expected a dictionary"),
        (b"", "train is no pickle of NumPy arrays"),
        (pickle.dumps({"data": PIXELS}, protocol=4)[:-50], "train is no pickle of NumPy arrays"),
        (pickle.dumps({"fine_labels": [0, 1]}), "train has no usable entry 'data'"),
        (pickle.dumps({"data": PIXELS.astype(float)}, 4), "train has no usable entry 'data'"),
        (pickle.dumps({"data": PIXELS}, 4), "train has no usable entry 'fine_labels'"),
        (
            pickle.dumps({"data": PIXELS[:, :9], "fine_labels": [0, 1]}, 4),
            r"has the shape \(2, 9\), expected \(N, 3072\)",
        ),
        (pickle.dumps({"data": PIXELS, "fine_labels": [0, 100]}, 4), r"train holds the label 100 \(sample 1\)"),
        (pickle.dumps({"data": PIXELS, "fine_labels": [0, -1]}, 4), r"train holds the label -1 \(sample 1\)"),
        (pickle.dumps({"data": PIXELS, "fine_labels": [0, "1"]}, 4), "train has no usable entry 'fine_labels'"),
        (pickle.dumps({"data": PIXELS, "fine_labels": [0]}, 4), "train holds 1 labels, expected 2"),
    ],
)
def test_damaged_pickles(tmp_path, content, message):
    layouts.write_cifar100_python(tmp_path)
    (tmp_path / "train").write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        load("cifar100", root=tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [0, 3074 * 2 - 1])
def test_truncated_records(tmp_path, size):
    layouts.write_cifar100_binary(tmp_path)
    (tmp_path / "test.bin").write_bytes(bytes(size))
    with pytest.raises(UserError, match=f"test.bin has {size} bytes, expected a multiple of 3074; it is truncated"):
        load("cifar100", root=tmp_path)


def test_label_byte_out_of_range(tmp_path):
    layouts.write_cifar10_binary(tmp_path)
    (tmp_path / "data_batch_3.bin").write_bytes(bytes([10]) + bytes(3072))
    with pytest.raises(UserError, match=r"data_batch_3.bin holds the label 10 \(sample 0\), expected 0 to 9"):
        load("cifar10", root=tmp_path)


def test_class_names_of_another_number(tmp_path):
    layouts.write_cifar100_binary(tmp_path)
    (tmp_path / "fine_label_names.txt").write_text("cat\ndog\n")
    with pytest.raises(UserError, match=r"fine_label_names.txt holds 2 class names, expected 100"):
        load("cifar100", root=tmp_path)


def test_missing_files(tmp_path):
    with pytest.raises(UserError, match=r"data_batch_1 or data_batch_1.bin is not in .* set download: true"):
        load("cifar10", root=tmp_path)
    layouts.write_cifar10_binary(tmp_path)
    (tmp_path / "data_batch_4.bin").unlink()
    with pytest.raises(UserError, match=r"data_batch_4.bin is not in .*; the folder is not complete"):
        load("cifar10", root=tmp_path)
