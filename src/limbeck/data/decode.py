"""Decoding image files with Pillow, and finding the damaged ones before a run starts."""

import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from limbeck.data.files import first_line
from limbeck.data.images import Color
from limbeck.errors import UserError

_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
_GREY_MODES = ("1", "L", "LA", "I", "I;16", "F")
_JPEG_END = b"\xff\xd9"
_TAIL = 4096
_CHUNK = 256


def decode(path: Path, color: Color) -> Tensor:
    """Decode one image file.

    Args:
        path: The file, in any format that Pillow reads.
        color: ``"rgb"`` for 3 channels, ``"grey"`` for 1.

    Returns:
        The pixels, uint8 (C, H, W).

    Raises:
        UserError: If the file is missing, truncated or no image.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "image.png")
        >>> Image.new("RGB", (4, 2), "red").save(path)
        >>> decode(path, "rgb").shape, decode(path, "grey").unique()
        (torch.Size([3, 2, 4]), tensor([76], dtype=torch.uint8))
    """
    try:
        with Image.open(path) as image:
            pixels = np.array(_eight_bit(image).convert("RGB" if color == "rgb" else "L"))
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1).contiguous()


def _eight_bit(image: Image.Image) -> Image.Image:
    # Pillow cuts wider pixels off at 255, which would make nearly all of a 16-bit image white.
    if image.mode not in ("I", "I;16", "I;16B", "I;16L", "F"):
        return image
    pixels = np.asarray(image, dtype=np.float64)
    if image.mode == "F" or pixels.min(initial=0) < 0 or pixels.max(initial=0) > 65535:
        raise ValueError(f"pixels of mode {image.mode}, expected 8 or 16 bits")
    return Image.fromarray((pixels / 257).round().astype(np.uint8))


def decode_all(paths: Sequence[Path], color: Color, size: int) -> Tensor:
    """Decode images of one size into memory with a pool of threads.

    Returns:
        The pixels, uint8 (N, C, size, size).

    Raises:
        UserError: If an image is damaged or has another size.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "image.png")
        >>> Image.new("L", (8, 8)).save(path)
        >>> decode_all([path, path], "rgb", 8).shape
        torch.Size([2, 3, 8, 8])
    """
    images = torch.empty(len(paths), 3 if color == "rgb" else 1, size, size, dtype=torch.uint8)

    def fill(start: int) -> None:
        for row, path in enumerate(paths[start : start + _CHUNK], start):
            image = decode(path, color)
            if image.shape[1:] != (size, size):
                got = f"{image.shape[2]}x{image.shape[1]}"
                raise UserError(f"data.root: {path} is {got} pixels, expected {size}x{size}")
            images[row] = image

    _in_threads(fill, len(paths))
    return images


def check_all(paths: Sequence[Path]) -> None:
    """Check with a pool of threads that every image opens and is not truncated, mostly without decoding it.

    A JPEG is taken as whole when its end-of-image marker is near the end of the file and a PNG when its checksums are
    right; whatever cannot be judged like this is decoded.

    Raises:
        UserError: If one is missing, truncated or no image.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "image.png")
        >>> _ = path.write_bytes(b"no image")
        >>> check_all([path])
        Traceback (most recent call last):
        limbeck.errors.UserError: data.root: .../image.png cannot be read as an image: ...
    """

    def check(start: int) -> None:
        for path in paths[start : start + _CHUNK]:
            _check(path)

    _in_threads(check, len(paths))


def guess_color(paths: Sequence[Path]) -> Color:
    """Say ``"grey"`` if all of these images are stored without colour, else ``"rgb"``.

    Raises:
        UserError: If one cannot be opened.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "image.png")
        >>> Image.new("L", (8, 8)).save(path)
        >>> guess_color([path])
        'grey'
    """
    return "grey" if all(_mode(path) in _GREY_MODES for path in paths) else "rgb"


def _in_threads(work: Callable[[int], None], count: int) -> None:
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(work, range(0, count, _CHUNK)):
            pass


def _mode(path: Path) -> str:
    try:
        with Image.open(path) as image:
            return image.mode
    except _DAMAGE as error:
        raise _damaged(path, error) from error


def _check(path: Path) -> None:
    try:
        with Image.open(path) as image:
            if image.format == "PNG":
                image.verify()
            elif image.format != "JPEG" or not _has_jpeg_end(path):
                image.load()
    except _DAMAGE as error:
        raise _damaged(path, error) from error


def _has_jpeg_end(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL))
        return _JPEG_END in file.read()


def _damaged(path: Path, error: BaseException) -> UserError:
    return UserError(f"data.root: {path} cannot be read as an image: {first_line(error)}")
