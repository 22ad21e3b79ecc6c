"""How an image and its mask are varied together, as a pure function of (seed, epoch, sample)."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from pydantic import ConfigDict
from torch import Tensor

from limbeck.errors import UserError
from limbeck.randomness.hashing import random_bits, random_integers
from limbeck.validation import Real, Whole

_FLIP_STREAM, _ZOOM_STREAM = 211, 212
_PLACE_STREAMS = (213, 214)
_LARGEST = 16.0


class Window(NamedTuple):
    """Where a view of an image lies.

    Attributes:
        top: Its upper edge in pixels of the enlarged image, float64 (N,); negative where it begins above it.
        left: Its left edge, likewise.
        zoom: By what the image is enlarged, float64 (N,).
        flip: Whether the view is mirrored left to right afterwards, bool (N,).

    Example:
        >>> MaskAugment(zoom=(2.0, 2.0)).windows(torch.tensor([3]), (8, 8), seed=0, epoch=0).zoom
        tensor([2.], dtype=torch.float64)
    """

    top: Tensor
    left: Tensor
    zoom: Tensor
    flip: Tensor


@dataclass(frozen=True)
class MaskAugment:
    """How training images and their masks are varied together.

    Args:
        flip: Whether half of the views are mirrored left to right.
        zoom: The range of factors by which image and mask are enlarged, such as ``(0.5, 2.0)``, uniform in its
            logarithm; a view is then cut out of the enlarged image, or has it within a border that counts nowhere.
            None for no such change. It makes the views countless.
        window: Height and width in pixels of the views; None for those of the images. It makes the views countless.

    Raises:
        UserError: If a setting is out of range.

    Example:
        >>> MaskAugment(flip=True).views, MaskAugment(flip=True, zoom=(0.5, 2.0)).views
        (2, None)
    """

    # For recipes, which hold it as a mapping.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    flip: bool = False
    zoom: tuple[Real, Real] | None = None
    window: tuple[Whole, Whole] | None = None

    def __post_init__(self) -> None:
        if self.zoom is not None and not 1 / _LARGEST <= self.zoom[0] <= self.zoom[1] <= _LARGEST:
            expected = f"expected two factors, 1/{_LARGEST:g} <= low <= high <= {_LARGEST:g}"
            raise UserError(f"augment.zoom: got {self.zoom}, {expected}")
        if self.window is not None and min(self.window) < 1:
            raise UserError(f"augment.window: got {self.window}, expected height and width in pixels, of at least 1")

    @property
    def countless(self) -> str | None:
        """The setting that makes views countless, or None."""
        return "zoom" if self.zoom is not None else "window" if self.window is not None else None

    @property
    def views(self) -> int | None:
        """The number of distinct views of an image, 1 or 2; None where they are countless."""
        return None if self.countless else 2 if self.flip else 1

    @property
    def unaugmented(self) -> int | None:
        """The number of the view that is the image as it is: 0; None where views are countless."""
        return None if self.countless else 0

    def draw(self, indices: Tensor, *, seed: int, epoch: int) -> Tensor:
        """Draw the number of each sample's view: 1 for the mirrored one, else 0.

        Args:
            indices: Positions of the samples in their split, int64 (N,).
            seed: The run's seed.
            epoch: The epoch, from 0.

        Returns:
            int64 (N,), on the device of ``indices``.

        Raises:
            UserError: If the views are countless.

        Example:
            >>> numbers = MaskAugment(flip=True).draw(torch.arange(1000), seed=0, epoch=0)
            >>> 400 < int(numbers.sum()) < 600
            True
        """
        if self.countless:
            got = f"augment.{self.countless}: got {getattr(self, self.countless)}"
            raise UserError(f"{got}, but only flip gives views that can be numbered")
        return self._flips(indices, seed=seed, epoch=epoch)

    def _flips(self, indices: Tensor, *, seed: int, epoch: int) -> Tensor:
        if not self.flip:
            return torch.zeros_like(indices)
        return random_integers(indices, 2, seed=seed, epoch=epoch, stream=_FLIP_STREAM)

    def windows(self, indices: Tensor, size: tuple[int, int], *, seed: int, epoch: int) -> Window:
        """Draw where the view of each sample lies.

        Args:
            indices: Positions of the samples in their split, int64 (N,).
            size: Height and width of the images in pixels.
            seed: The run's seed.
            epoch: The epoch, from 0.

        Example:
            >>> place = MaskAugment(window=(4, 4)).windows(torch.arange(9), (8, 8), seed=0, epoch=0)
            >>> bool(((place.top >= 0) & (place.top <= 4)).all())
            True
        """
        low, high = self.zoom or (1.0, 1.0)
        zoom = low * (high / low) ** _uniform(indices, seed, epoch, _ZOOM_STREAM)
        window = self.window or size
        edges = []
        for side, length, stream in zip(size, window, _PLACE_STREAMS, strict=True):
            # Below zero where the window is larger than the image, which then lies anywhere within.
            room = (zoom * side).round() - length
            edges.append(room.sign() * torch.floor(_uniform(indices, seed, epoch, stream) * (room.abs() + 1)))
        return Window(edges[0], edges[1], zoom, self._flips(indices, seed=seed, epoch=epoch) == 1)


def _uniform(indices: Tensor, seed: int, epoch: int, stream: int) -> Tensor:
    return random_bits(indices, seed=seed, epoch=epoch, stream=stream).double() / 2.0**63
