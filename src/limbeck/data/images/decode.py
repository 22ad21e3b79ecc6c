"""Decoding image files with Pillow, and inspecting them before a run starts."""

import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, JpegImagePlugin, UnidentifiedImageError
from torch import Tensor

from limbeck.data.images.splits import Color
from limbeck.data.threads import map_in_threads
from limbeck.errors import UserError, first_line, one_line
from limbeck.files import check_regular

# Errors that only their text describes.
_CLEAR = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
# Pillow decodes PostScript by another program, which runs what the file holds.
_PROGRAMS = ("EPS",)
_WIDE_MODES = ("I", "I;16", "I;16B", "I;16L", "F")
_GRAY_MODES = ("1", "L", "LA", "La", *_WIDE_MODES)
_ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
_BACKGROUND = "white"
_SIDEWAYS = range(5, 9)  # EXIF orientations that exchange width and height
_JPEG_END = b"\xff\xd9"
_TAIL = 4096
# Where a PNG's orientation may stand, as Pillow names it, and the mark of it behind the pixels.
_PNG_ORIENTATION = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")
_PNG_EXIF, _PNG_TAIL = b"eXIf", 2**16


def decode(path: Path, color: Color, needed: Callable[[int, int], int] | None = None) -> Tensor:
    """Decode one image file: upright by its EXIF orientation, transparent pixels on white.

    Args:
        path: The file, in any format that Pillow reads; of several images in it, the first.
        color: ``"rgb"`` for 3 channels, ``"gray"`` for 1.
        needed: How long the shorter side of an image of a height and width has to be: a JPEG is decoded at 1/2, 1/4 or
            1/8 of its size where it stays that long, which takes a part of the time. None for whole images.

    Returns:
        The pixels, uint8 (C, H, W), channels last in memory as they were decoded: resizing them takes half as long.

    Raises:
        UserError: If the file is missing, truncated or no image.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "image.png")
        >>> Image.new("RGB", (4, 2), "red").save(path)
        >>> decode(path, "rgb").shape, decode(path, "gray").unique()
        (torch.Size([3, 2, 4]), tensor([76], dtype=torch.uint8))
    """
    try:
        with _opened(path) as image:
            if needed is not None and isinstance(image, JpegImagePlugin.JpegImageFile):
                _reduce(image, needed)
            return upright_pixels(image, color)
    except Exception as error:  # a damaged file can end in nearly every kind of exception
        raise UserError(f"data.root: {path} cannot be read as an image: {reason(error)}") from error


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    check_regular(path)
    with opened_image(path) as image:
        yield image


@contextmanager
def opened_image(file: Path | IO[bytes]) -> Iterator[Image.Image]:
    """Open an image with Pillow, of no format that another program decodes.

    Raises:
        Exception: Of nearly every kind, where it is damaged; :func:`reason` writes it shortly.

    Example:
        >>> import io
        >>> with opened_image(io.BytesIO(b"P5 1 1 255 x")) as image:
        ...     image.size
        (1, 1)
    """
    with Image.open(file) as image:
        if image.format in _PROGRAMS:
            raise ValueError(f"is of the format {image.format}, which is not read")
        yield image


def image_pixels(image: Image.Image, color: Color) -> Tensor:
    """Return the pixels of an image that Pillow holds, as :func:`decode` returns those of a file; it stays as it is.

    Args:
        image: The image.
        color: ``"rgb"`` for 3 channels, ``"gray"`` for 1.

    Raises:
        UserError: If it cannot be read, or has pixels of more than 16 bits.

    Example:
        >>> image_pixels(Image.new("RGB", (4, 2), "red"), "gray").shape
        torch.Size([1, 2, 4])
    """
    try:
        return upright_pixels(image.copy(), color)
    except Exception as error:  # as above
        raise UserError(f"an image cannot be read: {reason(error)}") from error


def upright_pixels(image: Image.Image, color: Color) -> Tensor:
    """Turn an image of :func:`opened_image` upright, and return its pixels, as :func:`decode` returns those of a file.

    Raises:
        Exception: As for that.

    Example:
        >>> upright_pixels(Image.new("RGB", (4, 2), "red"), "gray").shape
        torch.Size([1, 2, 4])
    """
    image = _opaque(_eight_bit(_upright(image)))
    pixels = np.array(_in_mode(image, "RGB" if color == "rgb" else "L"))
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1)


def _reduce(image: Image.Image, needed: Callable[[int, int], int]) -> None:
    width, height = reversed(image.size) if _is_sideways(image) else image.size
    side = max(needed(height, width), 1)
    if min(width, height) >= 2 * side:
        image.draft(None, (side, side))


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    # Pillow copies an image that is in that mode already, and has no way from LAB to gray.
    image = image.convert("RGB") if image.mode == "LAB" else image
    return image if image.mode == mode else image.convert(mode)


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    # The pixels are there; metadata that cannot be read are no reason to lose the image.
    with suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)
    return image


def _opaque(image: Image.Image) -> Image.Image:
    if image.mode not in _ALPHA_MODES and "transparency" not in image.info:
        return image
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, _BACKGROUND), layer)


def _eight_bit(image: Image.Image) -> Image.Image:
    # Pillow cuts wider pixels off at 255, which would make nearly all of a 16-bit image white.
    if image.mode not in _WIDE_MODES:
        return image
    pixels = np.asarray(image, dtype=np.float64)
    if image.mode == "F" or bool(((pixels < 0) | (pixels > 65535)).any()):
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

    def fill(row: int) -> None:
        image = decode(paths[row], color)
        if image.shape[1:] != (size, size):
            got = f"{image.shape[2]}x{image.shape[1]}"
            raise UserError(f"data.root: {paths[row]} is {got} pixels, expected {size}x{size}")
        images[row] = image

    map_in_threads(fill, range(len(paths)))
    return images


class Inspected(NamedTuple):
    """What an image file holds, found without decoding where that is possible.

    Attributes:
        width: Width in pixels, upright.
        height: Height in pixels.
        gray: Whether it is stored without color.

    Example:
        >>> Inspected(30, 20, False).shorter
        20
    """

    width: int
    height: int
    gray: bool

    @property
    def shorter(self) -> int:
        """The shorter side in pixels."""
        return min(self.width, self.height)


def inspect_all(paths: Sequence[Path], *, decoding: bool = False) -> list[Inspected | str]:
    """Check with a pool of threads whether every image opens and is not truncated, mostly without decoding it.

    A JPEG is taken as whole when its end-of-image marker is near the end of the file and a PNG when its checksums are
    right; whatever cannot be checked like this is decoded.

    Args:
        paths: The files.
        decoding: Whether every image is decoded, so that none of those that pass can fail later.

    Returns:
        For each file what it holds, or shortly why it cannot be read.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "image.png")
        >>> _ = path.write_bytes(b"no image")
        >>> inspect_all([path])
        ['is no image']
    """
    return map_in_threads(partial(_inspect, decoding=decoding), paths)


def _inspect(path: Path, *, decoding: bool) -> Inspected | str:
    try:
        with _opened(path) as image:
            gray = image.mode in _GRAY_MODES
            if image.format == "JPEG":
                size = _checked_jpeg(image, decoding=decoding or not _has_jpeg_end(path))
            elif image.format == "PNG":
                size = _checked_png(image, path, decoding=decoding or _may_be_turned(image, path))
            else:
                size = _checked(image)
    except Exception as error:  # as above
        return reason(error)
    return Inspected(*size, gray)


def _checked_png(image: Image.Image, path: Path, *, decoding: bool) -> tuple[int, int]:
    size = image.size
    # Decoding alone does not compare the checksums.
    image.verify()
    if not decoding:
        return size
    with _opened(path) as whole:
        return _checked(whole)


def _checked_jpeg(image: Image.Image, *, decoding: bool) -> tuple[int, int]:
    width, height = reversed(image.size) if _is_sideways(image) else image.size
    if decoding:
        # At an eighth of its size all of the file is read, in half the time.
        image.draft(None, (1, 1))
        _checked(image)
    return width, height


def _checked(image: Image.Image) -> tuple[int, int]:
    """Decode an image, and return its width and height, upright."""
    upright_pixels(image, "rgb")
    return image.size


def _may_be_turned(image: Image.Image, path: Path) -> bool:
    return any(key in image.info for key in _PNG_ORIENTATION) or _PNG_EXIF in _end(path, _PNG_TAIL)


def _is_sideways(image: Image.Image) -> bool:
    with suppress(Exception):
        return image.getexif().get(ExifTags.Base.Orientation) in _SIDEWAYS
    return False


def _has_jpeg_end(path: Path) -> bool:
    return _JPEG_END in _end(path, _TAIL)


def _end(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - size))
        return file.read()


def reason(error: BaseException) -> str:
    """Return shortly why a file cannot be read as an image.

    Example:
        >>> reason(UnidentifiedImageError("cannot identify image file")), reason(KeyError("tag"))
        ('is no image', "KeyError: 'tag'")
    """
    if isinstance(error, UnidentifiedImageError):
        return "is no image"
    if not isinstance(error, _CLEAR):
        return one_line(error)
    return (error.strerror if isinstance(error, OSError) else None) or first_line(error)
