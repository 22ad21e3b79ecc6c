import gzip
import struct
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from limbeck.errors import UserError
from limbeck.teachers.digits import check_num_classes, source_digest, synthesize


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}i", *array.shape)
    data = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def write_mnist(folder, part, ink, *, suffix="", labels=None, size=28):
    labels = np.arange(20) % 10 if labels is None else labels
    folder.mkdir(exist_ok=True)
    write_idx(folder / f"{part}-images-idx3-ubyte{suffix}", np.full((len(labels), size, size), ink))
    write_idx(folder / f"{part}-labels-idx1-ubyte{suffix}", labels)
    return folder


@pytest.mark.parametrize(("num_classes", "per_class"), [(2, 1), (10, 3), (11, 2), (100, 2), (1000, 1)])
def test_shapes_types_and_order(num_classes, per_class):
    images, labels = synthesize(num_classes, per_class)
    assert images.shape == (num_classes * per_class, 1, 32, 32)
    assert images.dtype == torch.uint8
    assert labels.dtype == torch.int64
    assert labels.tolist() == [k for k in range(num_classes) for _ in range(per_class)]
    assert (images.flatten(1).max(dim=1).values > 150).all()


@pytest.mark.parametrize(("num_classes", "height"), [(10, 26), (100, 22), (200, 18)])
def test_a_nearest_neighbor_reads_the_zero_padded_number(num_classes, height):
    bundle = load_digits()
    reader = KNeighborsClassifier(3).fit(bundle.images.reshape(-1, 64), bundle.target)
    images, labels = synthesize(num_classes, 4)
    length = len(str(num_classes - 1))
    width = min(24, 32 / length)
    for place in range(length):
        left = 16 - width / 2 if length == 1 else place * width
        top = (32 - height) // 2
        crop = images[:, :, top : top + height, round(left) : round(left + width)].float() / 255 * 16
        read = reader.predict(F.interpolate(crop, (8, 8), mode="area").flatten(1).numpy())
        expected = np.array([int(str(k).zfill(length)[place]) for k in labels.tolist()])
        assert (read == expected).mean() > 0.85


def test_a_function_of_its_arguments():
    first, _ = synthesize(10, 5, seed=1)
    torch.manual_seed(99)
    again, _ = synthesize(10, 5, seed=1)
    assert torch.equal(first, again)
    assert not torch.equal(first, synthesize(10, 5, seed=2)[0])
    assert not torch.equal(first, synthesize(10, 5, seed=1, held_out=True)[0])


def test_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    synthesize(10, 5)
    assert torch.equal(torch.get_rng_state(), state)


def test_samples_of_a_class_differ():
    images, _ = synthesize(2, 50)
    assert len(images[:50].unique(dim=0)) == 50


def test_large_sets_are_drawn_like_small_ones():
    images, _ = synthesize(3, 1000)
    means = images.view(3, 1000, -1).float().mean(dim=(1, 2))
    reference = synthesize(3, 400, seed=5)[0].view(3, 400, -1).float().mean(dim=(1, 2))
    assert torch.allclose(means, reference, rtol=0.05)


def test_held_out_digits_are_never_trained_on(monkeypatch):
    ink = np.arange(1, 101) * 2 / 255 * 16
    fake = SimpleNamespace(images=np.ones((100, 8, 8)) * ink[:, None, None], target=np.arange(100) // 5 % 10)
    monkeypatch.setattr("sklearn.datasets.load_digits", lambda: fake)
    train, held_out = ({int(image.max()) for image in synthesize(10, 200, held_out=flag)[0]} for flag in (False, True))
    assert len(train) == 80
    assert len(held_out) == 20
    assert not train & held_out


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist_files(tmp_path, suffix):
    write_mnist(tmp_path, "train", 250, suffix=suffix)
    write_mnist(tmp_path, "t10k", 100, suffix=suffix)
    assert synthesize(10, 2, source=tmp_path)[0].amax() == 250
    assert synthesize(10, 2, source=str(tmp_path), held_out=True)[0].amax() == 100


def test_mnist_margin_is_cut(tmp_path):
    write_mnist(tmp_path, "train", 0)
    images = np.zeros((20, 28, 28))
    images[:, 4:24, 4:24] = 200
    write_idx(tmp_path / "train-images-idx3-ubyte", images)
    drawn = synthesize(10, 20, source=tmp_path)[0].float().mean(dim=0)[0]
    assert (drawn[8:24, 9:23] == 200).all()
    assert (drawn[:, :1] < 5).all()


@pytest.mark.parametrize("num_classes", [-1, 0, 1, 1001])
def test_refuses_numbers_of_classes(num_classes):
    with pytest.raises(UserError, match=rf"num_classes: got {num_classes}, expected 2 to 1000"):
        synthesize(num_classes, 1)
    with pytest.raises(UserError, match=r"num_classes"):
        check_num_classes(num_classes)


def test_refuses_no_samples():
    with pytest.raises(UserError, match="per_class: got 0, expected a whole number of at least 1"):
        synthesize(10, 0)


def test_refuses_a_missing_source(tmp_path):
    with pytest.raises(
        UserError, match=r"^source: train-images-idx3-ubyte or train-images-idx3-ubyte\.gz is not in .*expected MNIST's"
    ):
        synthesize(10, 1, source=tmp_path)


def test_refuses_damaged_archives(tmp_path):
    write_mnist(tmp_path, "train", 9, suffix=".gz")
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(UserError, match=r"^source: .*ubyte\.gz is truncated or no gzip file"):
        synthesize(10, 1, source=tmp_path)
    path.write_bytes(b"not gzip at all")
    with pytest.raises(UserError, match=r"^source: .*ubyte\.gz is truncated or no gzip file"):
        synthesize(10, 1, source=tmp_path)


@pytest.mark.parametrize("data", [b"", b"\0\0\x08", b"\0\0\x08\0", b"\0\0\x08\x03\0\0", b"\0\0\x0d\x01\0\0\0\x01\0"])
def test_refuses_files_without_an_idx_header(tmp_path, data):
    write_mnist(tmp_path, "train", 9)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(data)
    with pytest.raises(UserError, match="^source: .*ubyte is no idx file of bytes in 3 dimensions"):
        synthesize(10, 1, source=tmp_path)


def test_refuses_truncated_and_other_files(tmp_path):
    write_mnist(tmp_path, "train", 9)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"has 15695 bytes, expected 15696 for its shape \(20, 28, 28\)"):
        synthesize(10, 1, source=tmp_path)
    write_mnist(tmp_path, "train", 9, size=32)
    with pytest.raises(UserError, match=r"holds images of shape \(1, 32, 32\), expected MNIST's"):
        synthesize(10, 1, source=tmp_path)


@pytest.mark.parametrize("labels", [np.arange(20) % 9, np.arange(22) % 11])
def test_refuses_labels_that_are_not_the_ten_digits(tmp_path, labels):
    write_mnist(tmp_path, "train", 9, labels=labels)
    with pytest.raises(
        UserError, match=r"expected every digit from 0 to 9|holds the label 10 \(sample 10\), expected 0 to 9"
    ):
        synthesize(10, 1, source=tmp_path)


def test_a_source_is_identified_by_its_content(tmp_path):
    for name, ink in (("first", 200), ("moved", 200), ("other", 201)):
        (tmp_path / name).mkdir()
        write_mnist(tmp_path / name, "train", ink)
    first, moved, other = (source_digest(tmp_path / name) for name in ("first", "moved", "other"))
    assert first == moved != other
    with pytest.raises(UserError, match="train-images-idx3-ubyte"):
        source_digest(tmp_path)
