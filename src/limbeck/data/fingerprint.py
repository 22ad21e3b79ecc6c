"""One short name for the content of a split."""

import hashlib
from pathlib import Path

import numpy as np
from torch import Tensor

from limbeck.data.images import FolderSet, ImageSet, Split


def fingerprint(split: Split) -> str:
    """Hash what a split holds, in its order.

    Images in memory count with every pixel. Images in files count with their path below the data's folder, the file's
    size in bytes and time of change, and the colour and size they are looked at in: reading all would take too long.

    Args:
        split: The split.

    Returns:
        The SHA-256 of the content and the labels, 64 hexadecimal digits.

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
    lines = (_file(path, split.root) for path in split.paths)
    return "\n".join((split.color, *lines)).encode()


def _file(path: Path, root: Path) -> str:
    status = path.stat()
    return f"{path.relative_to(root).as_posix()} {status.st_size} {status.st_mtime_ns}"
