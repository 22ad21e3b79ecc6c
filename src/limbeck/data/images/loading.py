"""The image data that limbeck reads, by name."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from limbeck.data.data import Data
from limbeck.data.images.cifar import read_cifar
from limbeck.data.images.download import download as download_files
from limbeck.data.images.files import MissingFilesError
from limbeck.data.images.folder import read_image_folder
from limbeck.data.images.labeled_folder import read_labeled_folder
from limbeck.data.images.mnist import read_mnist
from limbeck.data.images.sample import read_sample
from limbeck.data.images.splits import Splits
from limbeck.data.images.tiny_imagenet import read_tiny_imagenet
from limbeck.errors import UserError, shortened

FOLDER = "image_folder"
MAX_SIZE = 16_384
ColorChoice = Literal["auto", "rgb", "gray"]
Statistics = tuple[tuple[float, ...], tuple[float, ...]]
# The mean and the standard deviation of each channel, of pixels in [0, 1].
_FASHION: Statistics = ((0.2860,), (0.3530,))
_CIFAR10: Statistics = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
_CIFAR100: Statistics = ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))
_TINY_IMAGENET: Statistics = ((0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821))
_IMAGENET: Mapping[int, Statistics] = {3: ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), 1: ((0.449,), (0.226,))}


# The data sets whose images are files of their own, beside folders of a user's.
_OF_FILES = ("tiny_imagenet",)


def _in_files(
    name: str,
    reader: Callable[..., Splits],
    statistics: Statistics,
    root: Path | None = None,
    *,
    download: bool = False,
    size: int | None = None,
    color: ColorChoice = "auto",
    skip_bad: bool = False,
    **_: object,
) -> Data:
    folder = _required(name, root)
    read = partial(reader, folder, skip_bad=skip_bad) if name in _OF_FILES else partial(reader, folder)
    try:
        splits = read()
    except MissingFilesError:
        if not download:
            raise
        download_files(name, folder)
        splits = read()
    return _of_one_size(name, splits, statistics, size, color)


def _sample(name: str, *, size: int | None = None, color: ColorChoice = "auto", **_: object) -> Data:
    return _of_one_size(name, read_sample(), _FASHION, size, color)


def _folder(
    root: Path | None = None,
    *,
    download: bool = False,
    size: int | None = None,
    color: ColorChoice = "auto",
    test_share: float = 0.2,
    seed: int = 0,
    labels: str | None = None,
    skip_bad: bool = False,
) -> Data:
    if download:
        expected = "expected false and your own folder in data.root"
        raise UserError(f"data.download: {FOLDER} cannot be downloaded, {expected}")
    _check(size, color)
    folder = _required(FOLDER, root)
    chosen: dict[str, Any] = {"size": size, "color": color, "test_share": test_share, "seed": seed}
    options = {**chosen, "skip_bad": skip_bad}
    splits = read_image_folder(folder, **options) if labels is None else read_labeled_folder(folder, labels, **options)
    return _data(FOLDER, splits, _IMAGENET[splits.train.shape[0]])


# Settings for folders alone, such as ``test_share``, are ignored by the others.
LOADERS: Mapping[str, Callable[..., Data]] = {
    "fashion_mnist_sample": partial(_sample, "fashion_mnist_sample"),
    "fashion_mnist": partial(_in_files, "fashion_mnist", partial(read_mnist, name="FashionMNIST"), _FASHION),
    "mnist": partial(_in_files, "mnist", read_mnist, ((0.1307,), (0.3081,))),
    "cifar10": partial(_in_files, "cifar10", partial(read_cifar, classes=10), _CIFAR10),
    "cifar100": partial(_in_files, "cifar100", partial(read_cifar, classes=100), _CIFAR100),
    "tiny_imagenet": partial(_in_files, "tiny_imagenet", read_tiny_imagenet, _TINY_IMAGENET),
    FOLDER: _folder,
}
"""The loaders by name; each takes the settings ``root``, ``download``, ``size`` and ``color`` of a recipe's data."""


def _of_one_size(name: str, splits: Splits, statistics: Statistics, size: int | None, color: ColorChoice) -> Data:
    _check(size, color)
    channels, height, _ = splits.train.shape
    native = "rgb" if channels == 3 else "gray"
    if size not in (None, height):
        raise UserError(f"data.size: got {size}, but {name} has {height}x{height} images; only {FOLDER} takes any size")
    if color not in ("auto", native):
        raise UserError(f"data.color: got {color!r}, but the images of {name} are {native}; only {FOLDER} takes either")
    return _data(name, splits, statistics)


def _data(name: str, splits: Splits, statistics: Statistics) -> Data:
    cuts = splits.train, splits.validation, splits.test
    return Data(name, splits.classes, *cuts, *statistics, splits.notes, skipped=splits.skipped)


def _check(size: int | None, color: str) -> None:
    if size is not None and not 1 <= size <= MAX_SIZE:
        raise UserError(f"data.size: got {shortened(size, 20)}, expected 1 to {MAX_SIZE} pixels")
    if color not in ("auto", "rgb", "gray"):
        raise UserError(f"data.color: got {color!r}, expected 'auto', 'rgb' or 'gray'")


def _required(name: str, root: Path | None) -> Path:
    if root is None:
        raise UserError(f"data.root: got none, expected the folder of {name}")
    return root
