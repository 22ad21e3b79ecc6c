"""One short name for the content of a split."""

import hashlib
import os
from pathlib import Path

import numpy as np
from torch import Tensor

from limbeck.data.images.splits import FolderSet, ImageSet, Split
from limbeck.data.threads import map_in_threads
from limbeck.errors import UserError

_BLOCK = 32 * 1024


def fingerprint(split: Split) -> str:
    """Hash what a split holds, in its order.

    Images in memory count with every pixel. Images in files count with their path below the data's folder, the file's
    size and content, and the color and size they are looked at in. Times of change and the place of the folder do not
    count: a copy has the same fingerprint. Of a file of more than 96 KiB only its first, middle and last 32 KiB are
    read, because a large data set would take minutes otherwise. A change of a compressed image (JPEG, PNG, WebP) goes
    on to the end of its file or changes the file's size; what may go unnoticed is a change of a few pixels between the
    blocks of a large uncompressed file (BMP, PPM, TIFF).

    Args:
        split: The split.

    Returns:
        The SHA-256 of the content and the labels, 64 hexadecimal digits.

    Raises:
        UserError: If a file cannot be read.

    Example:
        >>> import torch
        >>> split = ImageSet(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 1]))
        >>> fingerprint(split) == fingerprint(split.select(torch.tensor([0, 1])))
        True
        >>> fingerprint(split) == fingerprint(split.select(torch.tensor([1, 0])))
        False
    """
    digest = hashlib.sha256(f"{type(split).__name__} {split.shape}\n".encode())
    digest.update(_content(split.labels))
    digest.update(_content(split.images) if isinstance(split, ImageSet) else _files(split))
    return digest.hexdigest()


def _content(values: Tensor) -> memoryview:
    return values.contiguous().view(-1).numpy().view(np.uint8).data


def _files(split: FolderSet) -> bytes:
    names = [os.fsencode(path.relative_to(split.root).as_posix()) for path in split.paths]
    digests = map_in_threads(_digest, split.paths)
    return b"".join([split.color.encode(), *(b"\0" + name + b"\0" + d for name, d in zip(names, digests, strict=True))])


def _digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.sha256(str(size).encode())
            for start in (0, (size - _BLOCK) // 2, size - _BLOCK) if size > 3 * _BLOCK else (0,):
                file.seek(start)
                digest.update(file.read(3 * _BLOCK if size <= 3 * _BLOCK else _BLOCK))
    except OSError as error:
        raise UserError(f"data.root: cannot read {path}: {error.strerror}") from error
    return digest.digest()
