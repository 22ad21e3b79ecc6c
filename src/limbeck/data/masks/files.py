"""Files of images and masks, in a folder or in a zip archive of one."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from limbeck.data.images.decode import opened_image, reason, upright_pixels
from limbeck.data.images.folder_files import EXTENSIONS, is_hidden
from limbeck.errors import UserError, one_line
from limbeck.files import check_regular, is_file, is_folder

Place = Path | zipfile.Path
Size = tuple[int, int]
_INDEX_MODES = ("1", "L", "P", "I", "I;16", "I;16B")
# What Pillow multiplies gray values of 2 and 4 bits by.
_FACTORS = {"L;2": 85, "L;4": 17}
# Most bytes of a file in an archive: of a few kilobytes it makes gigabytes.
_MOST_BYTES = 2**30


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
    archive = root if is_file(root) else _only_archive(root)
    if archive is None and not is_folder(root):
        raise UserError(f"data.root: got {root}, expected a folder or a zip archive of images and masks")
    if archive is None:
        return root
    try:
        return zipfile.Path(archive)
    except Exception as error:  # a damaged archive can end in nearly every kind of exception
        raise UserError(f"data.root: {archive} cannot be read as a zip archive ({one_line(error)})") from None


def _only_archive(root: Path) -> Path | None:
    entries = [path for path in root.iterdir() if not is_hidden(path.name)] if is_folder(root) else []
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


def read_image(place: Place, *, gray: bool) -> Tensor:
    """Decode an image: upright by its EXIF orientation, transparent pixels on white.

    Args:
        place: The file.
        gray: Whether it has one channel, else three.

    Returns:
        uint8 (C, H, W).

    Raises:
        UserError: If it cannot be decoded.
    """
    with _decoding(place) as image:
        return upright_pixels(image, "gray" if gray else "rgb").contiguous()


def resized(pixels: Tensor, size: Size) -> Tensor:
    """Resize pixels, uint8 (C, H, W) of 1 or 3 channels, to a height and width, bilinearly.

    Example:
        >>> resized(torch.zeros(3, 2, 4, dtype=torch.uint8), (3, 3)).shape
        torch.Size([3, 3, 3])
    """
    if tuple(pixels.shape[1:]) == size:
        return pixels.contiguous()
    rows = pixels[0] if len(pixels) == 1 else pixels.permute(1, 2, 0).contiguous()
    image = Image.fromarray(rows.numpy()).resize(size[::-1], Image.Resampling.BILINEAR)
    values = torch.from_numpy(np.array(image))
    return values[None] if values.ndim == 2 else values.permute(2, 0, 1).contiguous()


def read_mask(place: Place) -> Tensor:
    """Decode a mask: the value of each position, int64 (H, W).

    Raises:
        UserError: If it cannot be decoded, or holds colors instead of one number a pixel.
    """
    with _decoding(place) as mask:
        if mask.mode not in _INDEX_MODES:
            expected = "expected an index mask, one number a pixel (of mode L, P or I)"
            raise UserError(f"{place}: is an image of colors ({mask.mode}), {expected}")
        factor = _factor(mask)
        mask.load()
        return torch.from_numpy(np.array(mask).astype(np.int64) // factor)


def _factor(mask: Image.Image) -> int:
    # A format without this list has no such values.
    modes = [tile[3] for tile in getattr(mask, "tile", ())]
    return next((_FACTORS[mode] for mode in modes if isinstance(mode, str) and mode in _FACTORS), 1)


@contextmanager
def _decoding(place: Place) -> Iterator[Image.Image]:
    try:
        with opened_image(BytesIO(read_place(place))) as image:
            yield image
    except UserError:
        raise
    except Exception as error:  # a damaged file can end in nearly every kind of exception
        raise UserError(f"{place}: cannot be read as an image ({reason(error)})") from None


def read_place(place: Place) -> bytes:
    """Return the content of a file, in a folder or an archive.

    Raises:
        OSError: If it cannot be read, is no regular file, or is a file of an archive of more than 1 GiB.
    """
    if isinstance(place, Path):
        check_regular(place)
        return place.read_bytes()
    with place.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise OSError(f"it has more than {_MOST_BYTES:,} bytes")
    return content
