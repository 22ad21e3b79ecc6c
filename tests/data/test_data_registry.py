import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision.datasets

from data_layouts import write_mnist
from limbeck.data import Data, ImageSet, Views, fingerprint, load, names, register
from limbeck.data.registry import REGISTRY
from limbeck.data.split import limit
from limbeck.errors import UserError
from limbeck.recipes.schema import Recipe

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


def test_fingerprints_are_those_of_earlier_versions():
    data = load(SAMPLE, train_limit=100, validation=0.1, seed=3)
    assert data.fingerprint == "6442b8a3d0dd95d9fea52c33ccffaf0d1a93d2f19b365a59f5012b2ec98050aa"
    assert data.fingerprints["validation"][:16] == "b7d16e1b0f6dbd6d"


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
        ({"validation": 0.0001}, "data.validation: got a share of 0.0001 of 10000 samples"),
        ({"train_limit": 0}, "data.train_limit: got 0"),
        ({"train_limit": 9}, r"data.train_limit: got 9, expected 10 \(the classes\) to 10000 \(the samples\)"),
        ({"train_limit": 10001}, "data.train_limit: got 10001"),
        ({"train_limit": 9001, "validation": 0.1}, r"got 9001, .* 9000 \(the samples beside the validation split\)"),
        ({"test_limit": 0}, "data.test_limit: got 0"),
        ({"test_limit": 5001}, r"data.test_limit: got 5001, expected 10 \(the classes\) to 5000 \(the samples\)"),
        ({"size": 0}, "data.size: got 0"),
        ({"size": 10**400}, r"^data.size: got 10{8}\.{3}0{8}, expected 1 to 16384 pixels$"),
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
def test_a_data_set_without_a_download_is_refused_in_one_line(tmp_path, name):
    with pytest.raises(UserError, match=f"data.download: {name} cannot be downloaded"):
        load(name, root=tmp_path, download=True)


def squares(seed=0):
    images = torch.arange(40, dtype=torch.uint8).view(40, 1, 1, 1).expand(40, 1, 4, 4)
    split = ImageSet(images, torch.arange(40) % 2)
    return Data("whatever", ("even", "odd"), split, None, split, mean=(0.5,), std=(0.25,))


class Points:
    """A split of samples that are no images."""

    shape = (3,)

    def __init__(self, labels):
        self.labels = labels

    def __len__(self):
        return len(self.labels)

    def select(self, indices):
        return Points(self.labels[indices])

    def fingerprint(self):
        return str(self.labels.tolist())


@pytest.fixture
def registered():
    names = []

    def add(name, loader):
        register(name, loader)
        names.append(name)

    yield add
    for name in names:
        REGISTRY.unregister(name)


def test_a_registered_loader_is_found_cut_and_named(registered):
    registered("squares", squares)
    data = load("squares", validation=0.25, train_limit=10, test_limit=4)
    assert (data.name, len(data.train), len(data.validation), len(data.test)) == ("squares", 10, 10, 4)
    assert data.description == (
        "data: squares, 2 classes (even, odd), 10 training, 10 validation and 4 test images, 4x4 gray",
    )
    assert "squares" in names()
    with pytest.raises(UserError, match="data set 'squares': the name is taken"):
        register("squares", squares)


def test_a_comparison_lists_the_names_that_its_workers_lack(registered):
    from limbeck.runs.local_names import local_names

    registered("squares", squares)
    assert local_names(Recipe.model_validate({"data": "squares", "student": "resnet8", "method": "none"})) == [
        "squares"
    ]


def test_samples_need_not_be_images(registered):
    split = Points(torch.arange(20) % 4)
    registered("points", lambda: Data("points", tuple("abcd"), split, None, split))
    data = load("points", train_limit=4)
    assert data.train.labels.sort().values.tolist() == [0, 1, 2, 3]
    assert data.fingerprints == {"train": str(data.train.labels.tolist()), "test": str(split.labels.tolist())}
    assert data.description[0].endswith("4 training and 20 test samples of shape (3,)")


def test_a_loader_gets_the_settings_that_it_takes(registered, tmp_path):
    given = {}

    def load_it(root, seed, color="auto"):
        given.update(root=root, seed=seed, color=color)
        return squares()

    registered("it", load_it)
    load("it", root=str(tmp_path), seed=7, color="gray")
    assert given == {"root": tmp_path, "seed": 7, "color": "gray"}
    with pytest.raises(UserError, match="data.size: got 8, but data set 'it' takes of such settings root, color, seed"):
        load("it", size=8)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def load(): return 3", "data set 'python:mine:load': returned a int, expected a limbeck.data.Data"),
        ("def load(): return {}['x']", "data set 'python:mine:load' could not be loaded: KeyError: 'x'"),
        ("class load: pass", "data set 'python:mine:load': is a class, expected a function"),
        ("load = 3", "data set 'python:mine:load': is a int, expected a function"),
        ("def other(): pass", "unknown function of module 'mine': 'load'"),
    ],
)
def test_a_wrong_function_is_one_line(tmp_path, monkeypatch, body, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    (tmp_path / "mine.py").write_text(f"{body}\n")
    with pytest.raises(UserError, match=f"^{re.escape(message)}[^\n]*$"):
        load("python:mine:load")
    sys.modules.pop("mine", None)


def test_a_function_of_the_working_folder_loads_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mysquares.py").write_text(
        "import limbeck.data\ndef whole(): return limbeck.data.load('squares_of_mine')\n"
    )
    register("squares_of_mine", squares)
    try:
        assert load("python:mysquares:whole").name == "python:mysquares:whole"
    finally:
        REGISTRY.unregister("squares_of_mine")


def test_the_function_of_the_documentation(tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text("utf-8")
    code = re.search(r"# blobs\.py\n(.*?)```", page, flags=re.DOTALL)
    assert code is not None
    monkeypatch.chdir(tmp_path)
    (tmp_path / "blobs.py").write_text(code[1])
    data = load("python:blobs:load", train_limit=100, seed=3)
    assert (data.description[0], len(data.test)) == (
        "data: python:blobs:load, 2 classes (dark, light), 100 training and 50 test images, 8x8 gray",
        50,
    )
    first = next(Views(data.test, batch_size=50, mean=data.mean, std=data.std).epoch(0))
    assert first.inputs.flatten(1).mean(1).argsort()[:25].sort().values.equal((first.labels == 0).nonzero().flatten())


def test_an_installed_package_offers_data_by_an_entry_point(tmp_path, monkeypatch):
    (tmp_path / "plugged_data.py").write_text(
        "import torch\nfrom limbeck.data import Data, ImageSet\n"
        "def load():\n    split = ImageSet(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.arange(4) % 2)\n"
        "    return Data('x', ('a', 'b'), split, None, split)\n"
    )
    about = tmp_path / "plugged_data-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged-data\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[limbeck.data]\nplugged = plugged_data:load\n")
    code = "import limbeck; print(len(limbeck.data.load('plugged').train), 'plugged' in limbeck.data.names())"
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert (done.stdout.split(), done.stderr) == (["4", "True"], "")


@pytest.mark.parametrize(
    ("name", "options", "line"),
    [
        ("shapes", {"train": "many"}, "data.options.train: got 'many', input should be a valid integer"),
        ("shapes", {"train": True}, "data.options.train: got True, input should be a number"),
        ("mask_folder", {"classes": 5}, "data.options.classes: got 5"),
        ("mask_folder", {"ignore_index": 1.5}, "data.options.ignore_index: got 1.5"),
        ("mask_folder", {"shape": 5}, "data.options.shape: got 5"),
        ("image_folder", {"labels": 5}, "data.options.labels: got 5"),
    ],
)
def test_an_option_of_another_type_is_refused(name, options, line, tmp_path):
    with pytest.raises(UserError, match=line):
        load(name, root=None if name == "shapes" else tmp_path, options=options)


def test_options_are_as_a_loader_has_them():
    def loader(pair: tuple[int, int] = (0, 0)) -> Data:
        return shapes if pair == (1, 2) else None

    shapes = load("shapes", options={"train": 4, "test": 2, "side": 16})
    register("of_a_pair", loader)
    try:
        assert len(load("of_a_pair", options={"pair": [1, 2]}).train) == 4
    finally:
        REGISTRY.unregister("of_a_pair")
