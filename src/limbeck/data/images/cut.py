"""A random cut of an image in a file, drawn from the image's size before anything is decoded."""

import math
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tvf


class Cut(NamedTuple):
    """Where a view lies in its image, in pixels of the whole image.

    Attributes:
        top: The first row.
        left: The first column.
        height: The number of rows.
        width: The number of columns.
        flip: Whether the view is mirrored left to right.
        whole: Height and width of the image.

    Example:
        >>> cut = Cut.drawn((400, 600), (0.25, 0.25), flip=False, seed=0)
        >>> abs(cut.height * cut.width - 60_000) < 1000
        True
    """

    top: int
    left: int
    height: int
    width: int
    flip: bool
    whole: tuple[int, int]

    @classmethod
    def drawn(cls, whole: tuple[int, int], scale: tuple[float, float], *, flip: bool, seed: int) -> Self:
        """Draw what torchvision's RandomResizedCrop and RandomHorizontalFlip draw after ``torch.manual_seed(seed)``."""
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed, which would seed the accelerators of the training as well.
            torch.default_generator.manual_seed(seed)
            params = v2.RandomResizedCrop(1, scale=scale).make_params([torch.empty(1, *whole, device="meta")])
            mirrored = bool(torch.rand(1) < (0.5 if flip else 0.0))
        return cls(params["top"], params["left"], params["height"], params["width"], mirrored, whole)

    def shorter_side(self, size: int) -> int:
        """Return how long the shorter side of the image has to be so that that of the cut is ``size``.

        Example:
            >>> Cut(0, 0, 200, 300, False, (400, 600)).shorter_side(100)
            200
        """
        return math.ceil(size * min(self.whole) / min(self.height, self.width))

    def of(self, image: Tensor, size: int) -> Tensor:
        """Cut the view (C, size, size) out of an image (C, H, W), the whole one or one that was decoded smaller."""
        view = tvf.resized_crop(image, *self._within(image.shape[1:]), [size, size], antialias=True)
        mirrored: Tensor = tvf.horizontal_flip(view) if self.flip else view
        return mirrored

    def _within(self, shape: torch.Size) -> tuple[int, int, int, int]:
        # A decoder makes whole blocks of pixels one, and fills up the last.
        (top, height), (left, width) = (
            _scaled(start, length, round(whole / of), of)
            for start, length, of, whole in zip(
                (self.top, self.left), (self.height, self.width), shape, self.whole, strict=True
            )
        )
        return top, left, height, width


def _scaled(start: int, length: int, block: int, limit: int) -> tuple[int, int]:
    first = min(round(start / block), limit - 1)
    return first, max(1, min(round((start + length) / block), limit) - first)
