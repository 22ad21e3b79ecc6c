"""Decoded pixels of image files, one after the other in memory or in a file."""

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limbeck.errors import RunError, UserError, one_line
from limbeck.files import write_atomically

Bytes = NDArray[np.uint8]
_FILE, _INDEX = "pixels.bin", "index.json"


@dataclass(frozen=True, eq=False)
class Pixels:
    """The pixels of images of any sizes.

    Args:
        values: All of them, uint8, each image as (H, W, C); an array, or one that is mapped from a file.
        shapes: The shape (H, W, C) of each image.
        checksums: The CRC-32 of each image, compared when it is read for the first time.
        place: Where they are, for messages.

    Example:
        >>> pixels = pixels_of([torch.zeros(1, 2, 3, dtype=torch.uint8), torch.ones(1, 1, 1, dtype=torch.uint8)])
        >>> len(pixels), pixels.image(0).shape, pixels.image(1)
        (2, torch.Size([1, 2, 3]), tensor([[[1]]], dtype=torch.uint8))
    """

    values: Bytes
    shapes: tuple[tuple[int, int, int], ...]
    checksums: tuple[int, ...]
    place: str = "memory"
    _ends: NDArray[np.int64] = field(init=False, repr=False)
    _read: NDArray[np.bool_] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ends", np.cumsum([height * width * c for height, width, c in self.shapes]))
        object.__setattr__(self, "_read", np.zeros(len(self.shapes), dtype=bool))
        if len(self.values) != (int(self._ends[-1]) if len(self.shapes) else 0):
            raise UserError(f"{self.place}: has {len(self.values):,} bytes, expected another number; delete it")

    def __len__(self) -> int:
        return len(self.shapes)

    def image(self, number: int) -> Tensor:
        """Return an image, uint8 (C, H, W), in the memory format channels_last.

        Raises:
            RunError: If it is not what was stored.
        """
        shape, end = self.shapes[number], int(self._ends[number])
        values = self.values[end - shape[0] * shape[1] * shape[2] : end]
        if not self._read[number]:
            if zlib.crc32(values.data) != self.checksums[number]:
                raise RunError(f"{self.place}: image {number} is damaged; delete it to decode the files again")
            self._read[number] = True
        return torch.from_numpy(values).view(shape).permute(2, 0, 1)


@dataclass(frozen=True, eq=False)
class JoinedPixels:
    """The pixels of the images of two, one after the other.

    Example:
        >>> pixels = pixels_of([torch.zeros(1, 2, 3, dtype=torch.uint8)])
        >>> len(JoinedPixels(pixels, pixels)), JoinedPixels(pixels, pixels).image(1).shape
        (2, torch.Size([1, 2, 3]))
    """

    first: Pixels
    second: Pixels

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def image(self, number: int) -> Tensor:
        """Return an image; see :meth:`Pixels.image`."""
        count = len(self.first)
        return self.first.image(number) if number < count else self.second.image(number - count)


def pixels_of(images: Iterable[Tensor]) -> Pixels:
    """Keep images in memory, each uint8 (C, H, W).

    Example:
        >>> len(pixels_of([]))
        0
    """
    parts, shapes, checksums = [], [], []
    for values, shape, checksum in map(_flat, images):
        parts.append(values)
        shapes.append(shape)
        checksums.append(checksum)
    return Pixels(np.concatenate(parts) if parts else np.empty(0, np.uint8), tuple(shapes), tuple(checksums))


def write_pixels(folder: Path, images: Iterable[Tensor]) -> None:
    """Write images, each uint8 (C, H, W), to a folder, for :func:`read_pixels`.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_pixels(folder, [torch.ones(3, 2, 2, dtype=torch.uint8)])
        >>> read_pixels(folder).image(0).shape
        torch.Size([3, 2, 2])
    """
    shapes, checksums = [], []
    with (folder / _FILE).open("wb") as file:
        for values, shape, checksum in map(_flat, images):
            file.write(values.data)
            shapes.append(shape)
            checksums.append(checksum)
    write_atomically(folder / _INDEX, json.dumps({"shapes": shapes, "checksums": checksums}))


def read_pixels(folder: Path) -> Pixels:
    """Map the images that :func:`write_pixels` wrote; they are read from the disk when they are needed.

    Raises:
        UserError: If the folder is damaged.
    """
    try:
        index = json.loads((folder / _INDEX).read_bytes())
        shapes = tuple((int(height), int(width), int(c)) for height, width, c in index["shapes"])
        checksums = tuple(index["checksums"])
        if len(checksums) != len(shapes):
            raise ValueError(f"{len(checksums)} checksums of {len(shapes)} images")
        if any(side < 0 for shape in shapes for side in shape):
            raise ValueError("a shape has a side below zero")
        # Copy on write, as tensors have no flag for arrays that must not be written to.
        empty = not (folder / _FILE).stat().st_size
        values = np.empty(0, np.uint8) if empty else np.memmap(folder / _FILE, np.uint8, mode="c")
    except (OSError, ArithmeticError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise UserError(f"{folder}: is damaged ({one_line(error)}); delete it to decode the files again") from error
    return Pixels(values, shapes, checksums, str(folder))


def _flat(image: Tensor) -> tuple[Bytes, tuple[int, int, int], int]:
    values = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    height, width, channels = values.shape
    return values.reshape(-1), (height, width, channels), zlib.crc32(values.data)
