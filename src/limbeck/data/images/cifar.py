"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009) in the official layouts: Python pickles and binary records."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limbeck.data.images.files import Bytes, find_folder, labeled, missing, read_bytes
from limbeck.data.images.pickled import read_pickle
from limbeck.data.images.splits import ImageSet, Splits
from limbeck.errors import UserError

_PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Layout:
    """How one of the official archives is laid out.

    Attributes:
        folder: The archive's folder.
        train: Its training files.
        test: Its test file.
        names: Its file of class names.
        key: The entry of the class names (pickles) or None (a text file with a name a line).
        labels: The entry of the labels (pickles) or the byte they are in (records).
        header: How many bytes come before the pixels of a record; 0 for pickles.

    Example:
        >>> [layout.folder for layout in CIFAR100]
        ['cifar-100-python', 'cifar-100-binary']
    """

    folder: str
    train: tuple[str, ...]
    test: str
    names: str
    key: str | None
    labels: str | int
    header: int = 0


_FIVE = tuple(f"data_batch_{i}" for i in range(1, 6))
CIFAR10 = (
    Layout("cifar-10-batches-py", _FIVE, "test_batch", "batches.meta", "label_names", "labels"),
    Layout(
        "cifar-10-batches-bin",
        tuple(f"{n}.bin" for n in _FIVE),
        "test_batch.bin",
        "batches.meta.txt",
        None,
        0,
        header=1,
    ),
)
CIFAR100 = (
    Layout("cifar-100-python", ("train",), "test", "meta", "fine_label_names", "fine_labels"),
    Layout("cifar-100-binary", ("train.bin",), "test.bin", "fine_label_names.txt", None, 1, header=2),
)


def read_cifar10(root: Path) -> Splits:
    """Read CIFAR-10 from ``root``, or from ``root/cifar-10-batches-py`` or ``root/cifar-10-batches-bin``.

    Raises:
        UserError: If a file is missing or damaged.

    Example:
        >>> read_cifar10(Path("/nowhere"))
        Traceback (most recent call last):
        limbeck.data.images.files.MissingFilesError: data.root: data_batch_1 or data_batch_1.bin is not in ...
    """
    return _read(root, CIFAR10, 10)


def read_cifar100(root: Path) -> Splits:
    """Read CIFAR-100 with its 100 fine labels from ``root``, ``root/cifar-100-python`` or ``root/cifar-100-binary``.

    Raises:
        UserError: If a file is missing or damaged.

    Example:
        >>> read_cifar100(Path("/nowhere"))
        Traceback (most recent call last):
        limbeck.data.images.files.MissingFilesError: data.root: train or train.bin is not in ...
    """
    return _read(root, CIFAR100, 100)


def _read(root: Path, layouts: tuple[Layout, ...], classes: int) -> Splits:
    layout, folder = _find(root, layouts)
    for file in (*layout.train, layout.test, layout.names):
        find_folder([folder], file, "the folder is not complete, unpack the archive again")
    parts = [_read_file(folder / file, layout, classes) for file in layout.train]
    train = ImageSet(torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts]))
    return Splits(
        _read_names(folder / layout.names, layout, classes), train, _read_file(folder / layout.test, layout, classes)
    )


def _find(root: Path, layouts: tuple[Layout, ...]) -> tuple[Layout, Path]:
    for layout in layouts:
        for folder in (root / layout.folder, root):
            if (folder / layout.train[0]).is_file():
                return layout, folder
    wanted = " or ".join(layout.train[0] for layout in layouts)
    hint = "set download: true, or get the archive from the CIFAR page of Alex Krizhevsky"
    raise missing(wanted, [root, *(root / layout.folder for layout in layouts)], hint)


def _read_file(path: Path, layout: Layout, classes: int) -> ImageSet:
    if isinstance(layout.labels, int):
        return _read_records(path, layout.labels, layout.header, classes)
    values = read_pickle(path)
    pixels = _entry(values, "data", path, lambda v: isinstance(v, np.ndarray) and v.dtype == np.uint8)
    if pixels.ndim != 2 or pixels.shape[1] != _PIXELS:
        raise UserError(f"data.root: 'data' of {path} has the shape {pixels.shape}, expected (N, {_PIXELS})")
    labels = _entry(values, layout.labels, path, _is_integers)
    return labeled(_to_images(pixels), labels, classes, path)


def _read_records(path: Path, label: int, header: int, classes: int) -> ImageSet:
    content, record = read_bytes(path), header + _PIXELS
    if len(content) == 0 or len(content) % record:
        raise UserError(f"data.root: {path} has {len(content)} bytes, expected a multiple of {record}; it is truncated")
    records = content.reshape(-1, record)
    return labeled(_to_images(records[:, header:]), records[:, label], classes, path)


def _to_images(pixels: Bytes) -> Bytes:
    return pixels.reshape(-1, 3, 32, 32)


def _read_names(path: Path, layout: Layout, classes: int) -> tuple[str, ...]:
    if layout.key is None:
        names = path.read_text("utf-8").split()
    else:
        names = _entry(read_pickle(path), layout.key, path, lambda v: isinstance(v, list))
    if len(names) != classes:
        raise UserError(f"data.root: {path} holds {len(names)} class names, expected {classes}")
    return tuple(str(name) for name in names)


def _entry(values: dict[str, Any], key: str, path: Path, fits: Callable[[Any], bool]) -> Any:
    if key not in values or not fits(values[key]):
        raise UserError(f"data.root: {path} has no usable entry {key!r}, expected the official layout")
    return values[key]


def _is_integers(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and value.dtype.kind in "iu"
    return isinstance(value, list) and all(isinstance(item, int | np.integer) for item in value)
