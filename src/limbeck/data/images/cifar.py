"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009) in the official layouts: Python pickles and binary records.

torchvision's reader unpickles with ``pickle.load``, which runs whatever code a file names; this one runs none.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from limbeck.data.images.files import find_file, labeled, read_bytes, read_text
from limbeck.data.images.pickled import read_pickle
from limbeck.data.images.splits import ImageSet, Splits
from limbeck.errors import UserError

_PIXELS = 3 * 32 * 32
_FIVE = tuple(f"data_batch_{i}" for i in range(1, 6))


class _Layout(NamedTuple):
    """The files of one of the archives, and the key of their labels (pickles) or their place in a record (bytes)."""

    folder: str
    train: tuple[str, ...]
    test: str
    names: str
    labels: str | int


_LAYOUTS = {
    10: (
        _Layout("cifar-10-batches-py", _FIVE, "test_batch", "batches.meta", "labels"),
        _Layout("cifar-10-batches-bin", tuple(f"{n}.bin" for n in _FIVE), "test_batch.bin", "batches.meta.txt", 0),
    ),
    100: (
        _Layout("cifar-100-python", ("train",), "test", "meta", "fine_labels"),
        _Layout("cifar-100-binary", ("train.bin",), "test.bin", "fine_label_names.txt", 1),
    ),
}


def read_cifar(root: Path, classes: Literal[10, 100]) -> Splits:
    """Read CIFAR-10, or CIFAR-100 with its fine labels, from ``root`` or the official folder in it.

    The official folders are ``cifar-10-batches-py``, ``cifar-10-batches-bin``, ``cifar-100-python`` and
    ``cifar-100-binary``.

    Args:
        root: The folder.
        classes: Which of the two.

    Raises:
        UserError: If a file is missing or damaged.

    Example:
        >>> read_cifar(Path("/nowhere"), 10)
        Traceback (most recent call last):
        limbeck.data.images.files.MissingFilesError: data.root: data_batch_1 or data_batch_1.bin is not in ...
    """
    layouts = _LAYOUTS[classes]
    hint = "set download: true, or get the archive from the CIFAR page of Alex Krizhevsky"
    places = [*(root / layout.folder for layout in layouts), root]
    first = find_file(places, [layout.train[0] for layout in layouts], hint)
    layout = next(layout for layout in layouts if layout.train[0] == first.name)
    incomplete = "the folder is not complete, unpack the archive again"
    files = (*layout.train, layout.test, layout.names)
    *samples, names = (find_file([first.parent], [file], incomplete) for file in files)
    *train, test = (_read_file(path, layout.labels, classes) for path in samples)
    joined = ImageSet(torch.cat([part.images for part in train]), torch.cat([part.labels for part in train]))
    return Splits(_read_names(names, layout.labels, classes), joined, test)


def _read_file(path: Path, labels: str | int, classes: int) -> ImageSet:
    if isinstance(labels, int):
        return _read_records(path, labels, classes)
    values = read_pickle(path)
    pixels = _entry(values, "data", path, lambda v: isinstance(v, np.ndarray) and v.dtype == np.uint8)
    if pixels.ndim != 2 or pixels.shape[1] != _PIXELS:
        raise UserError(f"data.root: 'data' of {path} has the shape {pixels.shape}, expected (N, {_PIXELS})")
    return labeled(pixels.reshape(-1, 3, 32, 32), _entry(values, labels, path, _is_integers), classes, path)


def _read_records(path: Path, label: int, classes: int) -> ImageSet:
    # The pixels follow upon the label; that of CIFAR-100's 20 coarse classes comes in front of it.
    content, record = read_bytes(path), label + 1 + _PIXELS
    if len(content) == 0 or len(content) % record:
        raise UserError(f"data.root: {path} has {len(content)} bytes, expected a multiple of {record}; it is truncated")
    records = content.reshape(-1, record)
    return labeled(records[:, label + 1 :].reshape(-1, 3, 32, 32), records[:, label], classes, path)


def _read_names(path: Path, labels: str | int, classes: int) -> tuple[str, ...]:
    if isinstance(labels, int):
        names = read_text(path).split()
    else:
        names = _entry(read_pickle(path), f"{labels[:-1]}_names", path, lambda v: isinstance(v, list))
    if len(names) != classes:
        raise UserError(f"data.root: {path} holds {len(names)} class names, expected {classes}")
    return tuple(map(str, names))


def _entry(values: dict[str, Any], key: str, path: Path, fits: Callable[[Any], bool]) -> Any:
    if key not in values or not fits(values[key]):
        raise UserError(f"data.root: {path} has no usable entry {key!r}, expected the official layout")
    return values[key]


def _is_integers(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and value.dtype.kind in "iu"
    return isinstance(value, list) and all(isinstance(item, int | np.integer) for item in value)
