"""Finding and reading the files of a data set, with one clear line when something is wrong with them."""

import gzip
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import torch

from limbeck.data.images.splits import ImageSet
from limbeck.errors import UserError
from limbeck.files import check_regular, is_file

_BLOCK = 2**24
Bytes = npt.NDArray[np.uint8]


class MissingFilesError(UserError):
    """Files of a data set are missing from every place that was searched, so that a download may help.

    Example:
        >>> issubclass(MissingFilesError, UserError)
        True
    """


def find_file(folders: Sequence[Path], names: Sequence[str], hint: str) -> Path:
    """Return the first file there is of one of the names, in one of the folders.

    Args:
        folders: The folders to search, in order.
        names: The file's possible names, in order.
        hint: How to get the file, the end of the error's line.

    Raises:
        MissingFilesError: If no folder holds it.

    Example:
        >>> find_file([Path("/nowhere")], ["train", "train.bin"], "set download: true")
        Traceback (most recent call last):
        limbeck.data.images.files.MissingFilesError: data.root: train or train.bin is not in /nowhere; set download: ...
    """
    for path in (folder / name for folder in folders for name in names):
        if is_file(path):
            return path
    places = " or ".join(map(str, folders))
    raise MissingFilesError(f"data.root: {' or '.join(names)} is not in {places}; {hint}")


def read_bytes(path: Path, most: int | None = None) -> Bytes:
    """Read a file, unpacked when its name ends in ``.gz``, as uint8 (size,).

    Args:
        path: The file.
        most: How many bytes to read at most; None for all of them.

    Raises:
        UserError: If it is missing, cannot be read or is a damaged gzip file.

    Example:
        >>> read_bytes(Path("/nowhere/train.bin"))
        Traceback (most recent call last):
        limbeck.errors.UserError: data.root: cannot read /nowhere/train.bin: No such file or directory
    """
    try:
        check_regular(path)
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = b"".join(_blocks(file, most))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"data.root: {path} is truncated or no gzip file ({error})") from error
    except OSError as error:
        raise UserError(f"data.root: cannot read {path}: {error.strerror}") from error
    return np.frombuffer(content, np.uint8)


def _blocks(file: BinaryIO | gzip.GzipFile, most: int | None) -> Iterator[bytes]:
    # Block by block: memory for all that a header promises would be taken at once.
    left = sys.maxsize if most is None else most
    while block := file.read(min(left, _BLOCK)):
        yield block
        left -= len(block)


def read_text(path: Path) -> str:
    """Read a text file in UTF-8.

    Raises:
        UserError: If it is missing, or no text.

    Example:
        >>> read_text(Path("/nowhere/words.txt"))
        Traceback (most recent call last):
        limbeck.errors.UserError: data.root: cannot read /nowhere/words.txt: No such file or directory
    """
    try:
        check_regular(path)
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"data.root: {path} is no text in UTF-8 ({error})") from None
    except OSError as error:
        raise UserError(f"data.root: cannot read {path}: {error.strerror}") from error


def labeled(images: Bytes, labels: npt.ArrayLike, classes: int, path: Path) -> ImageSet:
    """Join the images (N, C, H, W) and the labels (N,) of a file to a split.

    Args:
        images: Pixels.
        labels: Class numbers of any integer type.
        classes: How many classes there are.
        path: The file the labels are from, for the errors.

    Raises:
        UserError: If a label is no class number, or there is not one for each image.

    Example:
        >>> labeled(np.zeros((1, 1, 2, 2), np.uint8), [7], 5, Path("train.bin"))
        Traceback (most recent call last):
        limbeck.errors.UserError: data.root: train.bin holds the label 7 (sample 0), expected 0 to 4
    """
    numbers = np.asarray(labels)
    if numbers.shape != images.shape[:1]:
        raise UserError(f"data.root: {path} holds {numbers.size} labels, expected {len(images)}, one for each image")
    wrong = np.flatnonzero((numbers < 0) | (numbers >= classes))
    if wrong.size:
        label = f"the label {numbers[wrong[0]]} (sample {wrong[0]})"
        raise UserError(f"data.root: {path} holds {label}, expected 0 to {classes - 1}")
    return ImageSet(torch.from_numpy(images.copy()), torch.from_numpy(numbers.astype(np.int64)))
