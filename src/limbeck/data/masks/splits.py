"""A split of images with index masks, in memory."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from limbeck.errors import UserError
from limbeck.files import content_digest

IGNORED = 255
"""The value of a mask's positions that count nowhere."""


@dataclass(frozen=True, eq=False)
class MaskSet:
    """A split whose images and masks are in memory, all of one size.

    Args:
        images: Pixels, uint8 (N, C, H, W).
        masks: The class of each position, uint8 (N, H, W); 255 counts nowhere.

    Raises:
        UserError: If a shape or a type is another.

    Example:
        >>> split = MaskSet(torch.zeros(2, 3, 4, 6, dtype=torch.uint8), torch.ones(2, 4, 6, dtype=torch.uint8))
        >>> len(split), split.shape, split.labels
        (2, (3, 4, 6), tensor([1, 1]))
    """

    images: Tensor
    masks: Tensor

    def __post_init__(self) -> None:
        for name, values, sizes in (("images", self.images, "N, C, H, W"), ("masks", self.masks, "N, H, W")):
            if values.dtype != torch.uint8 or values.ndim != len(sizes.split(",")):
                got = f"{values.dtype} {tuple(values.shape)}"
                raise UserError(f"{name}: got {got}, expected torch.uint8 ({sizes})")
        expected = (len(self.images), *self.images.shape[2:])
        if tuple(self.masks.shape) != expected:
            raise UserError(f"masks: got {tuple(self.masks.shape)}, expected one of each image's size, {expected}")

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def labels(self) -> Tensor:
        """The most frequent class of each mask, int64 (N,), for cuts of the same share of each; 0 if all is ignored."""
        counts = [mask[mask != IGNORED].bincount(minlength=1) for mask in self.masks]
        return torch.tensor([int(count.argmax()) for count in counts], dtype=torch.int64)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width in pixels of every image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def select(self, indices: Tensor) -> Self:
        """Return a copy of the samples at ``indices`` (int64 (M,)), in that order."""
        return replace(self, images=self.images[indices], masks=self.masks[indices])

    def fingerprint(self) -> str:
        """Return the SHA-256 of shape, masks and every pixel, in their order; 64 hexadecimal digits."""
        return content_digest(f"MaskSet {self.shape}\n".encode(), self.masks, self.images)
