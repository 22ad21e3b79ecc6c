"""A data set of images with boxes."""

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import torch

from limbeck.data.boxes.augment import BoxAugment
from limbeck.data.boxes.splits import BoxSet
from limbeck.data.boxes.views import BoxViews
from limbeck.data.data import Data
from limbeck.data.images.augment import Augment
from limbeck.data.masks.augment import MaskAugment
from limbeck.errors import UserError

# Networks are measured on batches of about so many pixels, and of so many images: detectors enlarge small ones.
_MEASURED_PIXELS, _MEASURED_IMAGES = 2**21, 16


@dataclass(frozen=True, eq=False)
class BoxData(Data):
    """Images with boxes; its splits are :class:`BoxSet`, and its classes are those of labels from 1.

    Attributes:
        resizing: How images in files were resized, the arguments ``size`` and ``shape`` of
            :class:`limbeck.data.boxes.reading.Form`; empty where they were not.

    Example:
        >>> target = {"boxes": torch.tensor([[1.0, 1.0, 3.0, 2.0]]), "labels": torch.tensor([2])}
        >>> split = BoxSet([torch.zeros(3, 4, 6, dtype=torch.uint8)], [target])
        >>> data = BoxData("tiny", ("cat", "dog"), split, None, split)
        >>> print(*data.description)
        data: tiny, 2 classes (cat, dog), 1 training and 1 test images with 2 boxes, 6x4 rgb
    """

    augmentation: ClassVar[type[Any]] = BoxAugment

    resizing: dict[str, Any] = field(default_factory=dict)

    @property
    def preparation(self) -> dict[str, Any]:
        """How a raw image becomes an input."""
        return {**super().preparation, "kind": "boxes", "resizing": self.resizing}

    @property
    def form(self) -> str:
        """What a sample is, in words."""
        splits = [split for split in (self.train, self.validation, self.test) if isinstance(split, BoxSet)]
        boxes = sum(len(target["labels"]) for split in splits for target in split.targets)
        _, height, width = self.shape
        same = {split.size(number) for split in splits for number in range(len(split))} == {(height, width)}
        return f"images with {boxes:,} boxes, {'' if same else 'at most '}{width}x{height} rgb"

    @property
    def unit(self) -> str:
        """What a sample is called, in the plural."""
        return "images"

    @property
    def measuring_batch(self) -> int:
        """How many samples a network is measured on at a time: about two million pixels, and at most 16 images."""
        return max(1, min(_MEASURED_IMAGES, _MEASURED_PIXELS // (self.shape[1] * self.shape[2])))

    def example(self, count: int) -> dict[str, list[torch.Tensor]]:
        """Return blank inputs of ``count`` images, as networks take them: ``{"images": [...]}``."""
        return {"images": [torch.zeros(*self.shape) for _ in range(count)]}

    def augment(self, settings: Any) -> BoxAugment:
        """Return how training samples are varied; of the settings of images, ``flip`` alone, and those of masks.

        Raises:
            UserError: If they vary samples of another kind.
        """
        if isinstance(settings, MaskAugment):
            return BoxAugment(settings.flip, settings.zoom, settings.window)
        if isinstance(settings, Augment) and settings == Augment(flip=settings.flip):
            return BoxAugment(flip=settings.flip)
        if isinstance(settings, Augment):
            changed = next(f.name for f in fields(settings) if getattr(settings, f.name) != getattr(Augment(), f.name))
            value, takes = getattr(settings, changed), ", ".join(field.name for field in fields(BoxAugment))
            raise UserError(f"data.augment.{changed}: got {value}, but images with boxes take of such settings {takes}")
        augment: BoxAugment = super().augment(settings)
        return augment

    def source(
        self,
        split: BoxSet,
        augment: Any = None,
        *,
        device: torch.device | str = "cpu",
        workers: int = 0,
        channels_last: bool = False,  # noqa: ARG002 - a detector makes the batch of images itself
    ) -> BoxViews:
        """Return what makes batches of a split; see :meth:`limbeck.data.Data.source`.

        Raises:
            UserError: If the number of workers is out of range.
        """
        return BoxViews(split, self.augment(augment or BoxAugment()), device=device, workers=workers)
