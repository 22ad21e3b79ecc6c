"""Image data by name."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from limbeck.data.download import download as download_files
from limbeck.data.images.cifar import read_cifar10, read_cifar100
from limbeck.data.images.data import Data
from limbeck.data.images.files import MissingFilesError
from limbeck.data.images.fingerprint import fingerprint
from limbeck.data.images.folder import read_image_folder
from limbeck.data.images.mnist import read_fashion_mnist, read_mnist
from limbeck.data.images.sample import read_sample
from limbeck.data.images.splits import Split, Splits
from limbeck.data.images.tiny_imagenet import read_tiny_imagenet
from limbeck.data.split import hold_out, limit
from limbeck.errors import UserError, shortened, unknown_name

SAMPLE = "fashion_mnist_sample"
FOLDER = "image_folder"
MAX_SIZE = 16_384
ColorChoice = Literal["auto", "rgb", "gray"]


@dataclass(frozen=True)
class Statistics:
    """The mean and the standard deviation of each channel, of pixels in [0, 1].

    Example:
        >>> Statistics((0.5,), (0.25,)).std
        (0.25,)
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


_FASHION = Statistics((0.2860,), (0.3530,))
_STATISTICS = {
    SAMPLE: _FASHION,
    "fashion_mnist": _FASHION,
    "mnist": Statistics((0.1307,), (0.3081,)),
    "cifar10": Statistics((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": Statistics((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    "tiny_imagenet": Statistics((0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821)),
}
_IMAGENET = {
    3: Statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    1: Statistics((0.449,), (0.226,)),
}
_READERS: dict[str, Callable[[Path], Splits]] = {
    "fashion_mnist": read_fashion_mnist,
    "mnist": read_mnist,
    "cifar10": read_cifar10,
    "cifar100": read_cifar100,
    "tiny_imagenet": read_tiny_imagenet,
}


def names() -> tuple[str, ...]:
    """Return the names that :func:`load` takes.

    Example:
        >>> names()
        ('fashion_mnist_sample', 'fashion_mnist', 'mnist', 'cifar10', 'cifar100', 'tiny_imagenet', 'image_folder')
    """
    return (*_STATISTICS, FOLDER)


def load(
    name: str,
    *,
    root: str | Path | None = None,
    download: bool = False,
    validation: float = 0.0,
    train_limit: int | None = None,
    test_limit: int | None = None,
    seed: int = 0,
    size: int | None = None,
    color: ColorChoice = "auto",
    test_share: float = 0.2,
) -> Data:
    """Load a data set.

    Args:
        name: One of :func:`names`.
        root: The folder of its files; the embedded ``fashion_mnist_sample`` needs none.
        download: Get missing files first (Fashion-MNIST, MNIST, CIFAR).
        validation: The share of the training images to hold out for choices, in [0, 1), seeded and per class.
        train_limit: How many of the other training images to keep, seeded and as evenly over the classes as possible.
        test_limit: How many of the test images to keep, chosen likewise.
        seed: The seed of these cuts.
        size: Height and width in pixels of what the student sees; for ``image_folder``, where the files decide it
            unless given: the median of their shorter sides, at most 224.
        color: ``"rgb"``, ``"gray"`` or ``"auto"`` (as the images are); for ``image_folder``.
        test_share: The share of an ``image_folder`` without a test folder to cut off as the test split, in (0, 1).

    Returns:
        The data set.

    Raises:
        UserError: If a name or a setting is out of range, or a file is missing or damaged.

    Example:
        >>> data = load("fashion_mnist_sample", validation=0.1, train_limit=2000, seed=3)
        >>> len(data.train), len(data.validation), len(data.test)
        (2000, 1000, 5000)
    """
    if name not in names():
        raise unknown_name("data set", name, names())
    _check_settings(validation, {"train_limit": train_limit, "test_limit": test_limit, "size": size}, color)
    if name == FOLDER:
        folder = _own_folder(root, download)
        splits = read_image_folder(folder, size=size, color=color, test_share=test_share, seed=seed)
    else:
        splits = read_sample() if name == SAMPLE else _read_files(name, root, download)
    _check_native(name, splits, size, color)
    train, held_out = _cut(splits, validation, train_limit, seed)
    test = _limited(splits.test, "test_limit", test_limit, seed)
    statistics = _STATISTICS.get(name) or _IMAGENET[train.shape[0]]
    return Data(
        name=name,
        classes=splits.classes,
        train=train,
        validation=held_out,
        test=test,
        mean=statistics.mean,
        std=statistics.std,
        shape=train.shape,
        fingerprint=fingerprint(train),
        notes=splits.notes,
    )


def _check_settings(validation: float, counts: dict[str, int | None], color: str) -> None:
    if not 0 <= validation < 1:
        raise UserError(f"data.validation: got {validation}, expected a share of at least 0 and below 1")
    for name, count in counts.items():
        if count is not None and count < 1:
            unit = " of pixels" if name == "size" else ""
            raise UserError(f"data.{name}: got {count}, expected a whole number{unit} of at least 1")
    size = counts["size"]
    if size is not None and size > MAX_SIZE:
        raise UserError(f"data.size: got {shortened(size, 20)}, expected at most {MAX_SIZE} pixels")
    if color not in ("auto", "rgb", "gray"):
        raise UserError(f"data.color: got {color!r}, expected 'auto', 'rgb' or 'gray'")


def _check_native(name: str, splits: Splits, size: int | None, color: str) -> None:
    channels, height, _ = splits.train.shape
    native = "rgb" if channels == 3 else "gray"
    if size not in (None, height):
        raise UserError(f"data.size: got {size}, but {name} has {height}x{height} images; only {FOLDER} takes any size")
    if color not in ("auto", native):
        raise UserError(f"data.color: got {color!r}, but the images of {name} are {native}; only {FOLDER} takes either")


def _own_folder(root: str | Path | None, download: bool) -> Path:
    if download:
        raise UserError(
            f"data.download: {FOLDER} cannot be downloaded, expected false and your own folder in data.root"
        )
    return _required(FOLDER, root)


def _read_files(name: str, root: str | Path | None, download: bool) -> Splits:
    folder = _required(name, root)
    try:
        return _READERS[name](folder)
    except MissingFilesError:
        if not download:
            raise
    download_files(name, folder)
    return _READERS[name](folder)


def _required(name: str, root: str | Path | None) -> Path:
    if root is None:
        raise UserError(f"data.root: got none, expected the folder of {name}")
    return Path(root).expanduser()


def _cut(splits: Splits, validation: float, train_limit: int | None, seed: int) -> tuple[Split, Split | None]:
    train, held_out = splits.train, splits.validation
    if validation and held_out is not None:
        raise UserError(
            f"data.validation: got {validation}, but the data has a validation folder of its own; expected 0"
        )
    if validation:
        try:
            stay, cut = hold_out(train.labels, validation, seed=seed)
        except UserError as error:
            raise UserError(f"data.validation: {error}") from None
        train, held_out = train.select(stay), train.select(cut)
    return _limited(train, "train_limit", train_limit, seed), held_out


def _limited(split: Split, name: str, count: int | None, seed: int) -> Split:
    return split if count is None else split.select(limit(split.labels, count, seed=seed, key=f"data.{name}"))
