"""The summary of image files that a fingerprint is computed from."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from limbeck.data.threads import map_in_threads
from limbeck.errors import UserError

_BLOCK = 32 * 1024


def files_content(root: Path, paths: Sequence[Path], color: str) -> bytes:
    """Return a summary of image files: for each its path, and a hash of its size and content.

    Times of change and the place of the folder do not count: a copy has the same fingerprint. Of a file of more than
    96 KiB only its first, middle and last 32 KiB are read, because a large data set would take minutes otherwise. A
    change of a compressed image (JPEG, PNG, WebP) reaches to the end of its file or changes the file's size; what may
    go unnoticed is a change of a few pixels between the blocks of a large uncompressed file (BMP, PPM, TIFF).

    Args:
        root: The data's folder, which the paths count from.
        paths: The files.
        color: What they are converted to.

    Raises:
        UserError: If a file cannot be read.

    Example:
        >>> files_content(Path("/nowhere"), [], "rgb")
        b'rgb'
    """
    names = [os.fsencode(path.relative_to(root).as_posix()) for path in paths]
    digests = map_in_threads(_digest, paths)
    return b"".join([color.encode(), *(b"\0" + name + b"\0" + d for name, d in zip(names, digests, strict=True))])


def _digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.sha256(str(size).encode())
            starts = (0, (size - _BLOCK) // 2, size - _BLOCK) if size > 3 * _BLOCK else (0, _BLOCK, 2 * _BLOCK)
            for start in starts:
                file.seek(start)
                digest.update(file.read(_BLOCK))
    except OSError as error:
        raise UserError(f"data.root: cannot read {path}: {error.strerror}") from error
    return digest.digest()
