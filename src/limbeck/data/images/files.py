"""Finding and reading the files of a data set, with one clear line when something is wrong with them."""

import gzip
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from limbeck.data.images.splits import ImageSet
from limbeck.errors import UserError

Bytes = npt.NDArray[np.uint8]


class MissingFilesError(UserError):
    """Files of a data set are not where they were looked for, so that a download may help.

    Example:
        >>> issubclass(MissingFilesError, UserError)
        True
    """


def find_folder(folders: Iterable[Path], file: str, hint: str) -> Path:
    """Return the first folder that holds ``file``.

    Args:
        folders: Where to look, in order.
        file: The file's name.
        hint: How to get the files, the end of the error's line.

    Raises:
        MissingFilesError: If no folder holds it.

    Example:
        >>> find_folder([Path("/nowhere")], "train.bin", "set download: true")
        Traceback (most recent call last):
        limbeck.data.images.files.MissingFilesError: data.root: train.bin is not in /nowhere; set download: true
    """
    places = list(folders)
    found = next((folder for folder in places if (folder / file).is_file()), None)
    if found is None:
        raise missing(file, places, hint)
    return found


def missing(file: str, places: Iterable[Path], hint: str) -> MissingFilesError:
    """Build the error for a file that is in none of the places it was looked for in.

    Args:
        file: The file's name, or several joined by "or".
        places: The folders.
        hint: How to get the files, the end of the line.

    Example:
        >>> print(missing("train.bin", [Path("a"), Path("b")], "set download: true"))
        data.root: train.bin is not in a or b; set download: true
    """
    looked = " or ".join(str(place) for place in places)
    return MissingFilesError(f"data.root: {file} is not in {looked}; {hint}")


def read_bytes(path: Path) -> Bytes:
    """Read a file, unpacked when its name ends in ``.gz``, as uint8 (size,).

    Raises:
        UserError: If it is missing, cannot be read or is a damaged gzip file.

    Example:
        >>> read_bytes(Path("/nowhere/train.bin"))
        Traceback (most recent call last):
        limbeck.errors.UserError: data.root: cannot read /nowhere/train.bin: No such file or directory
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"data.root: {path} is truncated or no gzip file ({error})") from error
    except OSError as error:
        raise UserError(f"data.root: cannot read {path}: {error.strerror}") from error
    return np.frombuffer(content, np.uint8)


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
    numbers = np.asarray(labels).astype(np.int64)
    if numbers.shape != images.shape[:1]:
        raise UserError(f"data.root: {path} holds {numbers.size} labels, expected {len(images)}, one for each image")
    wrong = np.flatnonzero((numbers < 0) | (numbers >= classes))
    if wrong.size:
        found = f"the label {numbers[wrong[0]]} (sample {wrong[0]})"
        raise UserError(f"data.root: {path} holds {found}, expected 0 to {classes - 1}")
    return ImageSet(torch.from_numpy(images.copy()), torch.from_numpy(numbers))
