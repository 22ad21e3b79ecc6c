"""Random views of an image as a pure function of (seed, epoch, sample index)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from limbeck.errors import UserError
from limbeck.replay import random_integers

_VIEW_STREAM = 201


class Placement(NamedTuple):
    """Where the views of a batch lie in their padded images.

    Attributes:
        top: The first row, int64 (N,), in [0, 2 * crop].
        left: The first column, int64 (N,), in [0, 2 * crop].
        flip: Whether the view is mirrored left to right afterwards, bool (N,).

    Example:
        >>> Augment(crop=1, flip=True).place(torch.tensor([17])).flip
        tensor([True])
    """

    top: Tensor
    left: Tensor
    flip: Tensor


@dataclass(frozen=True)
class Augment:
    """How training images are varied.

    With ``crop`` and ``flip`` alone an image has few distinct views, so that a view is one number and what a teacher
    says about all of them can be stored. ``scale`` is for image folders and makes the views countless.

    Args:
        crop: Zero padding in pixels on each side, out of which a window of the image's own size is cut.
        flip: Whether half of the views are mirrored left to right.
        scale: The range of the share of the image's area that is cut out and resized, such as ``(0.08, 1.0)``, with
            torchvision's range of aspect ratios (3/4 to 4/3); None for the centre of the image.

    Raises:
        UserError: If a setting is out of range, or both ``crop`` and ``scale`` are given.

    Example:
        >>> Augment(crop=4, flip=True).views
        162
    """

    crop: int = 0
    flip: bool = False
    scale: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.crop < 0:
            raise UserError(f"augment.crop: got {self.crop}, expected a whole number of pixels of at least 0")
        if self.scale is None:
            return
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise UserError(f"augment.scale: got {self.scale}, expected two shares of the area, 0 < low <= high <= 1")
        if self.crop:
            raise UserError(f"augment.crop: got {self.crop} beside a scale, expected only one of the two")

    @property
    def views(self) -> int | None:
        """The number of distinct views of an image, or None when ``scale`` makes them countless."""
        return None if self.scale is not None else (2 * self.crop + 1) ** 2 * (2 if self.flip else 1)

    def draw(self, indices: Tensor, *, seed: int, epoch: int) -> Tensor:
        """Draw the number of the view of each sample.

        Args:
            indices: Positions of the samples in their split, int64 (N,).
            seed: The run's seed.
            epoch: The epoch, from 0.

        Returns:
            int64 (N,) in [0, views), on the device of ``indices``.

        Raises:
            UserError: If the views are countless.

        Example:
            >>> numbers = Augment(crop=4).draw(torch.arange(1000), seed=0, epoch=0)
            >>> int(numbers.min()) >= 0 and int(numbers.max()) < 81
            True
        """
        if self.views is None:
            raise UserError(f"augment.scale: got {self.scale}, but only crop and flip give views that can be numbered")
        return random_integers(indices, self.views, seed=seed, epoch=epoch, stream=_VIEW_STREAM)

    def place(self, views: Tensor) -> Placement:
        """Return where the views of these numbers (int64 (N,)) lie.

        Example:
            >>> Augment(crop=1).place(torch.tensor([0, 4, 8]))
            Placement(top=tensor([0, 1, 2]), left=tensor([0, 1, 2]), flip=tensor([False, False, False]))
        """
        cells, flip = (views // 2, views % 2 == 1) if self.flip else (views, torch.zeros_like(views, dtype=torch.bool))
        side = 2 * self.crop + 1
        return Placement(cells // side, cells % side, flip)
