"""Files of images and masks, in a folder or in a zip archive of one."""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from limbeck.data.images.folder_files import EXTENSIONS, is_hidden
from limbeck.errors import UserError, one_line

Place = Path | zipfile.Path
Size = tuple[int, int]
_INDEX_MODES = ("1", "L", "P", "I", "I;16", "I;16B")


@dataclass(frozen=True)
class Pair:
    """An image and its mask, as files.

    Example:
        >>> Pair(Path("images/1.jpg"), Path("masks/1.png")).image.stem
        '1'
    """

    image: Place
    mask: Place


def opened(root: Path) -> Place:
    """Return the place of a data set's files: a folder, a zip archive, or the one archive in a folder without others.

    Raises:
        UserError: If there is neither, or the archive is damaged.

    Example:
        >>> opened(Path("/nowhere"))
        Traceback (most recent call last):
        limbeck.errors.UserError: data.root: got /nowhere, expected a folder or a zip archive of images and masks
    """
    archive = root if root.is_file() else _only_archive(root)
    if archive is None and not root.is_dir():
        raise UserError(f"data.root: got {root}, expected a folder or a zip archive of images and masks")
    if archive is None:
        return root
    try:
        return zipfile.Path(archive)
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"data.root: {archive} cannot be read as a zip archive ({one_line(error)})") from None


def _only_archive(root: Path) -> Path | None:
    entries = [path for path in root.iterdir() if not is_hidden(path.name)] if root.is_dir() else []
    archives = [path for path in entries if path.suffix.lower() == ".zip"]
    return archives[0] if len(archives) == 1 and not any(path.is_dir() for path in entries) else None


def entries(place: Place) -> Iterator[Place]:
    """Yield what is in a folder, sorted by name; hidden entries are left out, and a missing folder has none.

    Example:
        >>> list(entries(Path("/nowhere")))
        []
    """
    found = place.iterdir() if place.is_dir() else ()
    yield from sorted((entry for entry in found if not is_hidden(entry.name)), key=lambda entry: entry.name)


def images_in(place: Place) -> dict[str, Place]:
    """Return the image files in a folder by their names without ending.

    Raises:
        UserError: If two have the same name.

    Example:
        >>> images_in(Path("/nowhere"))
        {}
    """
    by_stem: dict[str, Place] = {}
    for entry in entries(place):
        stem, _, ending = entry.name.rpartition(".")
        if f".{ending.lower()}" not in EXTENSIONS:
            continue
        if stem in by_stem:
            raise UserError(f"{entry}: has the name of {by_stem[stem].name}, expected one file of a name")
        by_stem[stem] = entry
    return by_stem


def read_image(place: Place, size: Size | None, *, gray: bool) -> Tensor:
    """Decode an image.

    Args:
        place: The file.
        size: Height and width to resize to, bilinearly; None leaves them.
        gray: Whether it has one channel, else three.

    Returns:
        uint8 (C, H, W).

    Raises:
        UserError: If it cannot be decoded.
    """
    return resized_pixels(_decoded(place), size, gray=gray)


def resized_pixels(image: Image.Image, size: Size | None, *, gray: bool) -> Tensor:
    """Return the pixels of an image that Pillow holds, as :func:`read_image` returns those of a file.

    Example:
        >>> resized_pixels(Image.new("RGB", (4, 2), "red"), (3, 3), gray=False).shape
        torch.Size([3, 3, 3])
    """
    image = image.convert("L" if gray else "RGB")
    if size is not None and image.size != size[::-1]:
        image = image.resize(size[::-1], Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(image))
    return pixels[None] if gray else pixels.permute(2, 0, 1).contiguous()


def read_mask(place: Place) -> Tensor:
    """Decode a mask: the value of each position, int64 (H, W).

    Raises:
        UserError: If it cannot be decoded, or holds colors instead of one number a pixel.
    """
    mask = _decoded(place)
    if mask.mode not in _INDEX_MODES:
        expected = "expected an index mask, one number a pixel (of mode L, P or I)"
        raise UserError(f"{place}: is an image of colors ({mask.mode}), {expected}")
    return torch.from_numpy(np.array(mask).astype(np.int64))


def _decoded(place: Place) -> Image.Image:
    try:
        with Image.open(BytesIO(place.read_bytes())) as image:
            image.load()
            return image
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise UserError(f"{place}: cannot be read as an image ({one_line(error)})") from None
