import codecs
import os
import pickle

import numpy as np
import pytest
import torch

import data_layouts as layouts
from limbeck.data import load
from limbeck.data.images.pickled import read_pickle
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


def rewrite(path, protocol, encoding, labels=list):
    """Write a pickle of Python 2 again, as Python 3 programs do, and as under the other major version of NumPy."""
    values = pickle.loads(path.read_bytes(), encoding=encoding)
    label = next((key for key in values if key in (b"fine_labels", "fine_labels")), None)
    if label is not None:
        values[label] = labels(values[label])
    path.write_bytes(pickle.dumps(values, protocol))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("encoding", ["bytes", "latin1"])
@pytest.mark.parametrize("labels", [list, np.array, lambda values: [np.int64(value) for value in values]])
def test_pickles_that_python_3_wrote_again_are_read(tmp_path, protocol, encoding, labels):
    data, numbers = layouts.write_cifar100_python(tmp_path, train=100)
    for name in ("train", "test", "meta"):
        rewrite(tmp_path / name, protocol, encoding, labels)
    found = load("cifar100", root=tmp_path)
    assert torch.equal(found.train.images.flatten(1), torch.from_numpy(data))
    assert found.train.labels.tolist() == numbers
    assert found.classes == tuple(f"class_{i}" for i in range(100))


@pytest.mark.parametrize("protocol", [0, 4, 5])
@pytest.mark.parametrize("order", ["C", "F"])
def test_pickles_name_numpys_modules_of_either_major_version(tmp_path, protocol, order):
    values = np.asarray(PIXELS, order=order)
    content = pickle.dumps({b"data": values, b"x": np.int64(-7)}, protocol)
    named, other = (b"_core", b"core") if b"numpy._core" in content else (b"core", b"_core")
    if protocol == 0:
        renamed = content.replace(b"numpy." + named, b"numpy." + other)
    else:
        # A string's length stands in one byte in front of it; the frame's length is left out.
        renamed = content[:2] + content[11:]
        for module in (b"multiarray", b"numeric"):
            pair = [b".".join((b"numpy", core, module)) for core in (named, other)]
            renamed = renamed.replace(*(bytes([len(name)]) + name for name in pair))
    assert b"numpy." + other in renamed
    assert b"numpy." + named not in renamed
    for name, written in (("ours", content), ("theirs", renamed)):
        (tmp_path / name).write_bytes(written)
        found = read_pickle(tmp_path / name)
        assert np.array_equal(found["data"], values)
        assert found["x"] == -7


class Encodes:
    def __init__(self, encoding):
        self.encoding = encoding

    def __reduce__(self):
        return codecs.encode, ("x", self.encoding)


class ManyBytes:
    def __reduce__(self):
        return bytes, (10**9,)


class Objects:
    def __reduce__(self):
        return PIXELS.__reduce_ex__(5)[0], (b"\x08" * 8, np.dtype("O"), (1,), "C")


class ObjectScalar:
    def __reduce__(self):
        return np.int64(0).__reduce__()[0], (np.dtype("O"), b"\x08" * 8)


@pytest.mark.parametrize("value", [Encodes("rot13"), Encodes("zlib_codec"), ManyBytes(), Objects(), ObjectScalar()])
@pytest.mark.parametrize("protocol", [2, 5])
def test_what_the_allowed_constructors_do_is_limited(tmp_path, value, protocol):
    (tmp_path / "a").write_bytes(pickle.dumps({"data": value}, protocol))
    with pytest.raises(UserError, match=r"a is no pickle of NumPy arrays: [^\n]*$"):
        read_pickle(tmp_path / "a")


@pytest.mark.parametrize("name", ["eval", "exec", "getattr", "bytearray", "__import__"])
@pytest.mark.parametrize("module", ["builtins", "__builtin__"])
def test_other_builtins_are_not_found(tmp_path, module, name):
    (tmp_path / "a").write_bytes(f"c{module}\n{name}\n.".encode())
    with pytest.raises(UserError, match=rf"it names {module}.{name}, which is not allowed"):
        read_pickle(tmp_path / "a")


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
