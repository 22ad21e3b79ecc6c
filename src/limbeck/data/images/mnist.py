"""MNIST (LeCun et al., 1998) and Fashion-MNIST (Xiao et al., arXiv 1708.07747) from their official idx files."""

import math
from pathlib import Path
from typing import Literal

import numpy as np
from torchvision.datasets import FashionMNIST

from limbeck.data.images.files import Bytes, find_file, labeled, read_bytes
from limbeck.data.images.splits import ImageSet, Splits
from limbeck.errors import UserError

DIGITS = tuple("0123456789")
FASHION = tuple(FashionMNIST.classes)
_SETS = {
    "MNIST": (DIGITS, "the MNIST page of Yann LeCun"),
    "FashionMNIST": (FASHION, "github.com/zalandoresearch/fashion-mnist"),
}
_UINT8 = 8  # the third byte of an idx file names the type of its values


def read_idx(path: Path, ndim: int) -> Bytes:
    """Read an idx file of bytes, gzipped or raw; torchvision's reader takes raw files only and checks by assertions.

    Args:
        path: The file.
        ndim: How many dimensions it must have (3 for images, 1 for labels).

    Returns:
        The values, uint8, in the file's own shape.

    Raises:
        UserError: If the header is another one, or the file's length does not fit it.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "labels-idx1-ubyte")
        >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]))
        >>> read_idx(path, 1)
        array([7, 9], dtype=uint8)
    """
    start = 4 + 4 * ndim
    header = read_bytes(path, start)
    if len(header) < start or tuple(header[:4]) != (0, 0, _UINT8, ndim):
        raise UserError(f"data.root: {path} is no idx file of bytes in {ndim} dimensions (by its first 4 bytes)")
    shape = tuple(int(n) for n in np.frombuffer(header[4:start].tobytes(), ">u4"))
    expected = start + math.prod(shape)
    # No more than that: of a few kilobytes gzip makes gigabytes.
    content = read_bytes(path, expected + 1)
    if len(content) != expected:
        got = f"more than {expected}" if len(content) > expected else len(content)
        raise UserError(f"data.root: {path} has {got} bytes, expected {expected} for its shape {shape}")
    return content[start:].reshape(shape)


def read_idx_split(root: Path, folder: str, part: Literal["train", "t10k"], hint: str) -> ImageSet:
    """Read a split of ten classes from its two idx files in ``root`` or torchvision's ``root/folder/raw``.

    Args:
        root: The folder of the files.
        folder: torchvision's folder, such as ``"MNIST"``.
        part: Which split.
        hint: How to get the files, the end of the error's line.

    Raises:
        UserError: If a file is missing or damaged.

    Example:
        >>> read_idx_split(Path("/nowhere"), "MNIST", "train", "set download: true")
        Traceback (most recent call last):
        limbeck.data.images.files.MissingFilesError: data.root: train-images-idx3-ubyte or ...
    """
    names = (f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte")
    images, labels = (find_file((root, root / folder / "raw"), (name, f"{name}.gz"), hint) for name in names)
    return labeled(read_idx(images, 3)[:, None], read_idx(labels, 1), len(DIGITS), labels)


def read_mnist(root: Path, name: Literal["MNIST", "FashionMNIST"] = "MNIST") -> Splits:
    """Read MNIST or Fashion-MNIST from ``root`` or torchvision's ``root/NAME/raw``.

    Raises:
        UserError: If a file is missing or damaged.

    Example:
        >>> read_mnist(Path("/nowhere"))
        Traceback (most recent call last):
        limbeck.data.images.files.MissingFilesError: data.root: train-images-idx3-ubyte or ...
    """
    classes, page = _SETS[name]
    hint = f"set download: true, or get it from {page}"
    return Splits(classes, read_idx_split(root, name, "train", hint), read_idx_split(root, name, "t10k", hint))
