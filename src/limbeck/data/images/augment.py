"""Random views of an image as a pure function of (seed, epoch, sample index)."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from pydantic import ConfigDict
from torch import Tensor

from limbeck.errors import UserError
from limbeck.randomness.hashing import random_bits, random_integers
from limbeck.validation import Real, Whole

_VIEW_STREAM = 201
_MAGNITUDES = 31
_ANGLE_STREAM = 204
_WIDEST = 1024


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

    With ``crop`` and ``flip`` alone an image has few distinct views, so that a view is one number and a teacher's
    output for all of them can be stored. ``scale``, which is for image folders, and all other settings make the views
    countless; a view is a pure function of (seed, epoch, sample) all the same.

    Args:
        crop: Zero padding in pixels on each side, out of which a window of the image's own size is cut.
        flip: Whether half of the views are mirrored left to right.
        scale: The range of the share of the image's area that is cut out and resized, such as ``(0.08, 1.0)``, with
            torchvision's range of aspect ratios (3/4 to 4/3); None for the center of the image.
        rotation: The largest angle in degrees, from 0 to 180: after crop and flip a view is rotated by an angle uniform
            in [-rotation, rotation], bilinearly and with zeros from outside
            (see :func:`limbeck.data.images.rotation.rotate`).
        rand_augment: torchvision's RandAugment after crop and flip: how many operations, and their magnitude (0 to 30),
            such as ``(2, 9)``.
        trivial_augment: Whether torchvision's TrivialAugmentWide, one operation of any strength, comes there instead.
        color_jitter: How much brightness, contrast, saturation and hue vary, as torchvision's ColorJitter has them,
            such as ``(0.4, 0.4, 0.4, 0.1)``; after these operations, before a rotation.
        random_erasing: The share of views in which a rectangle is set to the mean, last of all
            (see :func:`limbeck.data.images.erasing.erase`).

    Raises:
        UserError: If a setting is out of range, or two are given that exclude each other.

    Example:
        >>> Augment(crop=4, flip=True).views
        162
    """

    # For recipes, which hold it as a mapping.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    crop: Whole = 0
    flip: bool = False
    scale: tuple[Real, Real] | None = None
    rotation: Real = 0.0
    rand_augment: tuple[Whole, Whole] | None = None
    trivial_augment: bool = False
    color_jitter: tuple[Real, Real, Real, Real] | None = None
    random_erasing: Real = 0.0

    # Left out of descriptions where they are not set, so that those of earlier versions stay as they are.
    later: ClassVar[frozenset[str]] = frozenset({"rand_augment", "trivial_augment", "color_jitter", "random_erasing"})

    def __post_init__(self) -> None:
        if not 0 <= self.crop <= _WIDEST:
            raise UserError(f"augment.crop: got {self.crop}, expected a whole number of pixels from 0 to {_WIDEST}")
        if not 0 <= self.rotation <= 180:
            raise UserError(f"augment.rotation: got {self.rotation}, expected degrees from 0 to 180")
        self._check_operations()
        if self.scale is None:
            return
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise UserError(f"augment.scale: got {self.scale}, expected two shares of the area, 0 < low <= high <= 1")
        if self.crop:
            raise UserError(f"augment.crop: got {self.crop} beside a scale, expected only one of the two")

    def _check_operations(self) -> None:
        if not 0 <= self.random_erasing <= 1:
            raise UserError(f"augment.random_erasing: got {self.random_erasing}, expected a share from 0 to 1")
        jitter, rand = self.color_jitter, self.rand_augment
        if jitter is not None and (len(jitter) != 4 or min(jitter) < 0 or jitter[3] > 0.5):
            expected = "brightness, contrast, saturation and hue, at least 0, the hue at most 0.5"
            raise UserError(f"augment.color_jitter: got {jitter}, expected {expected}")
        if rand is not None and (len(rand) != 2 or not 1 <= rand[0] <= 100 or not 0 <= rand[1] < _MAGNITUDES):
            expected = f"how many operations, at least 1, and a magnitude from 0 to {_MAGNITUDES - 1}"
            raise UserError(f"augment.rand_augment: got {rand}, expected {expected}")
        if rand is not None and self.trivial_augment:
            raise UserError(f"augment.rand_augment: got {rand} beside trivial_augment, expected only one of the two")

    @property
    def views(self) -> int | None:
        """The number of distinct views of an image, or None where other settings make them countless."""
        return None if self.countless else (2 * self.crop + 1) ** 2 * (2 if self.flip else 1)

    @property
    def countless(self) -> str | None:
        """The setting that makes views countless, or None."""
        several = ("scale", "rotation", *sorted(self.later))
        return next((name for name in several if getattr(self, name) not in (None, False, 0.0)), None)

    @property
    def operates(self) -> bool:
        """Whether a view has operations on its pixels between crop and flip, and rotation."""
        return self.rand_augment is not None or self.trivial_augment or self.color_jitter is not None

    @property
    def unaugmented(self) -> int | None:
        """The number of the view that is the image as it is, or None when views are countless."""
        step = 2 if self.flip else 1
        return None if self.views is None else self.views // step // 2 * step

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
            expected = "but only crop and flip give views that can be numbered"
            raise UserError(f"augment.{self.countless}: got {getattr(self, str(self.countless))}, {expected}")
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

    def placements(self, indices: Tensor, *, seed: int, epoch: int) -> Placement:
        """Draw where the view of each sample lies, before any rotation; the arguments are those of :meth:`draw`.

        Raises:
            UserError: If there is a ``scale``.

        Example:
            >>> Augment(rotation=15).placements(torch.tensor([0, 1]), seed=0, epoch=0).top
            tensor([0, 0])
        """
        upright = Augment(self.crop, self.flip, self.scale)
        return upright.place(upright.draw(indices, seed=seed, epoch=epoch))

    def angles(self, indices: Tensor, *, seed: int, epoch: int) -> Tensor:
        """Draw the angle by which the view of each sample is rotated; the arguments are those of :meth:`draw`.

        Returns:
            Degrees, float64 (N,), uniform in [-rotation, rotation], on the device of ``indices``.

        Example:
            >>> angles = Augment(rotation=15).angles(torch.arange(1000), seed=0, epoch=0)
            >>> bool(angles.min() < -14) and bool(angles.max() > 14) and bool(angles.abs().max() <= 15)
            True
        """
        bits = random_bits(indices, seed=seed, epoch=epoch, stream=_ANGLE_STREAM)
        return (bits.double() / 2**62 - 1) * self.rotation
