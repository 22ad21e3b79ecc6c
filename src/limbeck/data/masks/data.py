"""A data set of images with index masks."""

from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch

from limbeck.data.data import Data
from limbeck.data.images.augment import Augment
from limbeck.data.images.normalize import normalizer
from limbeck.data.masks.augment import MaskAugment
from limbeck.data.masks.splits import MaskSet
from limbeck.data.masks.views import MaskViews
from limbeck.errors import UserError

# Networks are measured on batches of about so many pixels.
_MEASURED_PIXELS = 2**20


@dataclass(frozen=True, eq=False)
class MaskData(Data):
    """Images with a class for each position; its splits are :class:`MaskSet`.

    Example:
        >>> images, masks = torch.zeros(2, 3, 4, 6, dtype=torch.uint8), torch.ones(2, 4, 6, dtype=torch.uint8)
        >>> split = MaskSet(images, masks)
        >>> data = MaskData("tiny", ("sky", "road"), split, None, split, mean=(0.5,) * 3, std=(0.5,) * 3)
        >>> print(*data.description)
        data: tiny, 2 classes (sky, road), 2 training and 2 test images with masks, 6x4 rgb
    """

    augmentation: ClassVar[type[Any]] = MaskAugment

    @property
    def form(self) -> str:
        """What a sample is, in words."""
        channels, height, width = self.shape
        return f"images with masks, {width}x{height} {'rgb' if channels == 3 else 'gray'}"

    @property
    def unit(self) -> str:
        """What a sample is called, in the plural."""
        return "images"

    @property
    def preparation(self) -> dict[str, Any]:
        """How a raw image becomes an input: it is resized to the size of all images, and normalized."""
        return {**super().preparation, "kind": "masks"}

    @property
    def measuring_batch(self) -> int:
        """How many samples a network is measured on at a time: about a million pixels."""
        return max(1, _MEASURED_PIXELS // (self.shape[1] * self.shape[2]))

    def augment(self, settings: Any) -> MaskAugment:
        """Return how training samples are varied; of the settings of images, ``flip`` alone.

        Raises:
            UserError: If they vary samples of another kind.
        """
        if isinstance(settings, Augment) and settings == Augment(flip=settings.flip):
            return MaskAugment(flip=settings.flip)
        if isinstance(settings, MaskAugment):
            window = settings.window
            if window is not None and (window[0] > self.shape[1] or window[1] > self.shape[2]) and not settings.zoom:
                got = f"data.augment.window: got {list(window)}"
                raise UserError(f"{got}, expected at most the images' {list(self.shape[1:])}, or a zoom")
            return settings
        if isinstance(settings, Augment):
            changed = next(f.name for f in fields(settings) if getattr(settings, f.name) != getattr(Augment(), f.name))
            value, takes = getattr(settings, changed), ", ".join(field.name for field in fields(MaskAugment))
            raise UserError(f"data.augment.{changed}: got {value}, but images with masks take of such settings {takes}")
        augment: MaskAugment = super().augment(settings)
        return augment

    def source(
        self,
        split: MaskSet,
        augment: Any = None,
        *,
        device: torch.device | str = "cpu",
        workers: int = 0,  # noqa: ARG002 - all of it is in memory
        channels_last: bool = False,
    ) -> MaskViews:
        """Return what makes batches of a split; see :meth:`limbeck.data.Data.source`.

        Raises:
            UserError: If the normalization does not fit the images.
        """
        augment = self.augment(augment or MaskAugment())
        channels, *size = split.shape
        height, width = augment.window or size
        normalize = normalizer((channels, height, width), self.mean, self.std, device=device)
        return MaskViews(split.images.to(device), split.masks.to(device), normalize, augment, channels_last)
