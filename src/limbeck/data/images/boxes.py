"""Random crops of any scale for a whole batch, as a pure function of (seed, epoch, sample)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from limbeck.randomness.hashing import random_bits

_STREAM = 240
_ATTEMPTS = 10
_LOWEST, _HIGHEST = 3 / 4, 4 / 3


class Boxes(NamedTuple):
    """Where the views of a batch lie in their images, each int64 (N,) in pixels.

    Attributes:
        top: The first row.
        left: The first column.
        height: The number of rows.
        width: The number of columns.
        flip: Whether the view is mirrored left to right, bool (N,).
    """

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor
    flip: Tensor


def random_boxes(
    rows: Tensor, heights: Tensor, widths: Tensor, scale: tuple[float, float], *, seed: int, epoch: int
) -> Boxes:
    """Draw crops with the distribution of torchvision's RandomResizedCrop, and coins for mirroring.

    The share of the area is uniform in ``scale``, the logarithm of the aspect ratio uniform between those of 3/4 and
    4/3, and the place uniform; of ten attempts the first one that fits the image counts, and the largest central crop
    of an allowed aspect ratio where none does.

    Args:
        rows: (N,) positions of the samples.
        heights: (N,) heights of the images.
        widths: (N,) widths of the images.
        scale: The range of the share of the area.
        seed: The run's seed.
        epoch: The epoch, from 0.

    Example:
        >>> sides = torch.tensor([40, 40])
        >>> boxes = random_boxes(torch.tensor([0, 1]), sides, sides, (0.25, 0.25), seed=0, epoch=0)
        >>> (boxes.height * boxes.width - 400).abs() < 50
        tensor([True, True])
    """
    draws = rows[:, None] * 32 + torch.arange(2 * _ATTEMPTS + 3)
    uniform = random_bits(draws, seed=seed, epoch=epoch, stream=_STREAM).double() / 2**63
    shares, ratios, (down, right, coin) = uniform[:, :_ATTEMPTS], uniform[:, _ATTEMPTS:-3], uniform[:, -3:].unbind(1)
    area = (heights * widths)[:, None] * (scale[0] + (scale[1] - scale[0]) * shares)
    aspect = torch.exp(math.log(_LOWEST) + (math.log(_HIGHEST) - math.log(_LOWEST)) * ratios)
    height, width = _first_fitting((area / aspect).sqrt().round(), (area * aspect).sqrt().round(), heights, widths)
    fits = (height > 0) & (width > 0)
    central_height, central_width = _central(heights, widths)
    height, width = torch.where(fits, height, central_height), torch.where(fits, width, central_width)
    top = torch.where(fits, (down * (heights - height + 1)).long(), (heights - height) // 2)
    left = torch.where(fits, (right * (widths - width + 1)).long(), (widths - width) // 2)
    return Boxes(top, left, height, width, coin < 0.5)


def _first_fitting(tall: Tensor, wide: Tensor, heights: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first of (N, attempts) sizes that fits each image, (N,) of zeros where none does."""
    fits = (tall > 0) & (tall <= heights[:, None]) & (wide > 0) & (wide <= widths[:, None])
    first = fits.long().argmax(dim=1, keepdim=True)
    chosen = fits.gather(1, first)
    height, width = ((side.gather(1, first) * chosen)[:, 0].long() for side in (tall, wide))
    return height, width


def _central(heights: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
    height = torch.minimum(heights, (widths / _LOWEST).round().long())
    width = torch.minimum(widths, (heights * _HIGHEST).round().long())
    return height, width
