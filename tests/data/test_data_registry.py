import pytest
import torch
import torchvision.datasets

from data_layouts import write_mnist
from limbeck.data import fingerprint, load, names
from limbeck.data.split import limit
from limbeck.errors import UserError

SAMPLE = "fashion_mnist_sample"


def test_names():
    assert set(names()) >= {SAMPLE, "cifar100", "image_folder"}


def test_unknown_name_suggests():
    with pytest.raises(UserError, match=r"unknown data set 'cifar-100'; did you mean .*'cifar100'"):
        load("cifar-100")


def test_validation_and_limit_are_per_class():
    data = load(SAMPLE, validation=0.25, train_limit=105, seed=1)
    assert data.validation.labels.bincount().tolist() == [250] * 10
    assert sorted(data.train.labels.bincount().tolist()) == [10] * 5 + [11] * 5
    assert len(data.test) == 5000


def test_train_and_validation_share_no_image():
    def rows(split):
        return {bytes(image.flatten().tolist()) for image in split.images}

    data = load(SAMPLE, validation=0.05)
    assert len(data.train) == 9500
    # Fashion-MNIST itself holds a few images twice, so not exactly none.
    assert len(rows(data.train) & rows(data.validation)) <= 2


def test_the_seed_decides_the_cut_and_the_fingerprint():
    first, again, other = (load(SAMPLE, train_limit=100, seed=s) for s in (0, 0, 1))
    assert torch.equal(first.train.images, again.train.images)
    assert first.fingerprint == again.fingerprint
    assert first.fingerprint != other.fingerprint
    assert first.fingerprint != load(SAMPLE, train_limit=101).fingerprint
    assert load(SAMPLE, seed=0).fingerprint == load(SAMPLE, seed=1).fingerprint


def test_every_split_has_a_fingerprint_and_is_hashed_once():
    data = load(SAMPLE, train_limit=100, validation=0.1)
    assert data.fingerprints.keys() == {"train", "validation", "test"}
    assert data.fingerprints["train"] == data.fingerprint
    assert data.fingerprints["test"] == fingerprint(data.test)
    assert data.fingerprints is data.fingerprints
    assert load(SAMPLE, train_limit=100).fingerprints.keys() == {"train", "test"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation": 1.0}, "data.validation: got 1.0, expected a share of at least 0 and below 1"),
        ({"validation": -0.1}, "data.validation: got -0.1"),
        ({"validation": 0.0001}, "data.validation: got a share of 0.0001 of 10000 images"),
        ({"train_limit": 0}, "data.train_limit: got 0"),
        ({"train_limit": 9}, r"data.train_limit: got 9, expected 10 \(the classes\) to 10000 \(the images\)"),
        ({"train_limit": 10001}, "data.train_limit: got 10001"),
        ({"train_limit": 9001, "validation": 0.1}, "data.train_limit: got 9001, .* 9000"),
        ({"test_limit": 0}, "data.test_limit: got 0"),
        ({"test_limit": 5001}, r"data.test_limit: got 5001, expected 10 \(the classes\) to 5000 \(the images\)"),
        ({"size": 0}, "data.size: got 0"),
        ({"size": 10**400}, r"^data.size: got 10{8}\.{3}0{8}, expected at most 16384 pixels$"),
        ({"train_limit": 10**400}, r"^data.train_limit: got 10{8}\.{3}0{8}, expected 10"),
        ({"size": 32}, "data.size: got 32, but fashion_mnist_sample has 28x28 images"),
        ({"color": "blue"}, "data.color: got 'blue'"),
        ({"color": "rgb"}, "data.color: got 'rgb', but the images of fashion_mnist_sample are gray"),
    ],
)
def test_settings_out_of_range(options, message):
    with pytest.raises(UserError, match=message):
        load(SAMPLE, **options)


def test_test_limit_takes_as_many_of_each_class_from_the_test_split_alone():
    data = load(SAMPLE, validation=0.1, test_limit=100, seed=1)
    assert data.test.labels.bincount().tolist() == [10] * 10
    whole = load(SAMPLE).test
    assert torch.equal(data.test.images, whole.images[limit(whole.labels, 100, seed=1)])
    assert data.description == (
        "data: fashion_mnist_sample, 10 classes (T-shirt/top, Trouser, Pullover, ...),"
        " 9,000 training, 1,000 validation and 100 test images, 28x28 gray",
    )


def test_own_size_and_color_are_accepted():
    assert load(SAMPLE, size=28, color="gray").shape == (1, 28, 28)


@pytest.mark.parametrize("name", ["mnist", "image_folder"])
def test_a_root_is_needed(name):
    with pytest.raises(UserError, match=f"data.root: got none, expected the folder of {name}"):
        load(name)


def test_download_goes_through_torchvision_and_only_when_needed(tmp_path, monkeypatch):
    calls = []

    def fake(root, *, download):
        calls.append((root, download))
        write_mnist(tmp_path / "MNIST" / "raw")

    monkeypatch.setattr(torchvision.datasets, "MNIST", fake)
    assert len(load("mnist", root=tmp_path, download=True).train) == 20
    load("mnist", root=tmp_path, download=True)
    assert calls == [(str(tmp_path), True)]


def test_failed_download_is_one_line(tmp_path, monkeypatch):
    def fail(root, *, download):
        raise RuntimeError("no network\nsecond line")

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", fail)
    with pytest.raises(UserError, match=r"data.download: cifar10 could not be downloaded to .*: no network$"):
        load("cifar10", root=tmp_path, download=True)


@pytest.mark.parametrize("name", ["tiny_imagenet", "image_folder"])
def test_what_cannot_be_downloaded_says_so(tmp_path, name):
    with pytest.raises(UserError, match=f"data.download: {name} cannot be downloaded"):
        load(name, root=tmp_path, download=True)
