"""MNIST (LeCun et al., 1998) and Fashion-MNIST (Xiao et al., arXiv 1708.07747) from their official idx files."""

from pathlib import Path

import numpy as np

from limbeck.data.images.files import Bytes, labeled, missing, read_bytes
from limbeck.data.images.splits import ImageSet, Splits
from limbeck.errors import UserError

DIGITS = tuple("0123456789")
FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_UINT8 = 8  # the third byte of an idx file names the type of its values


def read_idx(path: Path, ndim: int) -> Bytes:
    """Read an idx file of bytes, gzipped or raw.

    Args:
        path: The file.
        ndim: How many dimensions it must have (3 for images, 1 for labels).

    Returns:
        The values, uint8, in the file's own shape.

    Raises:
        UserError: If the header is another one, or the file is shorter or longer than the header says.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "labels-idx1-ubyte")
        >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]))
        >>> read_idx(path, 1)
        array([7, 9], dtype=uint8)
    """
    content = read_bytes(path)
    start = 4 + 4 * ndim
    if len(content) < start or tuple(content[:4]) != (0, 0, _UINT8, ndim):
        raise UserError(f"data.root: {path} is no idx file of bytes in {ndim} dimensions (its first 4 bytes say so)")
    shape = tuple(int(n) for n in np.frombuffer(content[4:start].tobytes(), ">u4"))
    expected = start + int(np.prod(shape, dtype=np.int64))
    if len(content) != expected:
        raise UserError(f"data.root: {path} has {len(content)} bytes, expected {expected} for its shape {shape}")
    return content[start:].reshape(shape)


def read_mnist(root: Path) -> Splits:
    """Read MNIST from ``root`` or torchvision's ``root/MNIST/raw``.

    Raises:
        UserError: If a file is missing or damaged.

    Example:
        >>> read_mnist(Path("/nowhere"))
        Traceback (most recent call last):
        limbeck.data.images.files.MissingFilesError: data.root: train-images-idx3-ubyte(.gz) is not in ...
    """
    return _read(root, "MNIST", DIGITS, "set download: true, or get it from the MNIST page of Yann LeCun")


def read_fashion_mnist(root: Path) -> Splits:
    """Read Fashion-MNIST from ``root`` or torchvision's ``root/FashionMNIST/raw``.

    Raises:
        UserError: If a file is missing or damaged.

    Example:
        >>> read_fashion_mnist(Path("/nowhere"))
        Traceback (most recent call last):
        limbeck.data.images.files.MissingFilesError: data.root: train-images-idx3-ubyte(.gz) is not in ...
    """
    hint = "set download: true, or get it from github.com/zalandoresearch/fashion-mnist"
    return _read(root, "FashionMNIST", FASHION, hint)


def _read(root: Path, folder: str, classes: tuple[str, ...], hint: str) -> Splits:
    places = (root, root / folder / "raw")
    train, test = (_read_split(places, prefix, len(classes), hint) for prefix in ("train", "t10k"))
    return Splits(classes, train, test)


def _read_split(places: tuple[Path, ...], prefix: str, classes: int, hint: str) -> ImageSet:
    images = read_idx(_find(places, f"{prefix}-images-idx3-ubyte", hint), 3)
    path = _find(places, f"{prefix}-labels-idx1-ubyte", hint)
    return labeled(images[:, None], read_idx(path, 1), classes, path)


def _find(places: tuple[Path, ...], file: str, hint: str) -> Path:
    found = (place / name for place in places for name in (file, f"{file}.gz") if (place / name).is_file())
    path = next(found, None)
    if path is None:
        raise missing(f"{file}(.gz)", places, hint)
    return path
