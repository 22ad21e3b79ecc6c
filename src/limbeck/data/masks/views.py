"""Batches of views of images with their masks."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from limbeck.data.batch import Batch
from limbeck.data.images.normalize import Normalizer
from limbeck.data.masks.augment import MaskAugment, Window
from limbeck.data.masks.splits import IGNORED
from limbeck.data.schedule import EpochPlan


class View(NamedTuple):
    """One view.

    Attributes:
        pixels: float32 (C, h, w) in [0, 255].
        mask: uint8 (h, w).
        inside: Which rows and columns lie within the image, bool (h,) and (w,).
    """

    pixels: Tensor
    mask: Tensor
    inside: tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class MaskViews:
    """A split on the device of the training, of which views are cut.

    Args:
        images: Pixels, uint8 (N, C, H, W).
        masks: Classes, uint8 (N, H, W).
        normalize: The normalization of views, on the same device.
        augment: How images and masks are varied.
        channels_last: Whether the inputs are in that memory format.

    Example:
        >>> from limbeck.data.images.normalize import normalizer
        >>> from limbeck.data.schedule import Schedule
        >>> images, masks = torch.zeros(3, 1, 4, 4, dtype=torch.uint8), torch.zeros(3, 4, 4, dtype=torch.uint8)
        >>> views = MaskViews(images, masks, normalizer((1, 4, 4), [0], [1]), MaskAugment(flip=True))
        >>> [tuple(batch.targets.shape) for batch in views.batches(Schedule(3, batch_size=2).plan(0))]
        [(2, 4, 4), (1, 4, 4)]
    """

    images: Tensor
    masks: Tensor
    normalize: Normalizer
    augment: MaskAugment
    channels_last: bool = False

    @property
    def order_device(self) -> torch.device:
        """Where :meth:`batches` needs the order of its plan."""
        return self.images.device

    def batches(self, plan: EpochPlan) -> Iterator[Batch]:
        """Yield the batches of one epoch: inputs, masks (int64 (N, h, w)), positions."""
        for start, end in pairwise(plan.bounds):
            indices = plan.order[start:end]
            if self.augment.countless is None:
                yield self.numbered(indices, self.augment.draw(indices, seed=plan.seed, epoch=plan.epoch))
            else:
                yield self._cut(indices, plan)

    def numbered(self, indices: Tensor, views: Tensor) -> Batch:
        """Return the views of these numbers (int64 (N,)) of samples (int64 (N,)): 1 is the mirrored one."""
        images, masks = self.images.index_select(0, indices), self.masks.index_select(0, indices)
        flip = views.view(-1, 1, 1) == 1
        if bool(flip.any()):
            images = torch.where(flip[:, None], images.flip(3), images)
            masks = torch.where(flip, masks.flip(2), masks)
        return Batch(self._laid_out(self.normalize(images)), masks.long(), indices)

    def _cut(self, indices: Tensor, plan: EpochPlan) -> Batch:
        size = (self.images.shape[2], self.images.shape[3])
        window = self.augment.window or size
        places = self.augment.windows(indices, size, seed=plan.seed, epoch=plan.epoch)
        views = [
            cut_view(self.images[index], self.masks[index], Window(*(values[n] for values in places)), window)
            for n, index in enumerate(indices.tolist())
        ]
        inputs = self.normalize(torch.stack([view.pixels for view in views]))
        for row, view in zip(inputs, views, strict=True):
            # Outside is the mean color, zero after normalization.
            row.mul_(view.inside[0][:, None] & view.inside[1])
        return Batch(self._laid_out(inputs), torch.stack([view.mask for view in views]).long(), indices)

    def _laid_out(self, inputs: Tensor) -> Tensor:
        return inputs.contiguous(memory_format=torch.channels_last) if self.channels_last else inputs


def cut_view(image: Tensor, mask: Tensor, place: Window, size: tuple[int, int]) -> View:
    """Cut a window out of an enlarged image and its mask: bilinearly of the image, by the nearest pixel of the mask.

    Args:
        image: uint8 (C, H, W).
        mask: uint8 (H, W).
        place: Where the window lies, each a scalar tensor.
        size: Height and width of the window.

    Example:
        >>> image, mask = torch.arange(4, dtype=torch.uint8).view(1, 1, 4), torch.arange(4, dtype=torch.uint8)[None]
        >>> number = lambda value: torch.tensor(value, dtype=torch.float64)
        >>> view = cut_view(image, mask, Window(number(0), number(2), number(1), torch.tensor(True)), (1, 3))
        >>> view.mask, view.pixels
        (tensor([[255,   3,   2]], dtype=torch.uint8), tensor([[[3., 3., 2.]]]))
    """
    rows = _Line.of(place.top, size[0], place.zoom, image.shape[1])
    columns = _Line.of(place.left, size[1], place.zoom, image.shape[2])
    if bool(place.flip):
        columns = _Line(*(values.flip(0) for values in columns))
    pixels = columns.mixed(rows.mixed(image.float(), 1), 2)
    classes = mask.index_select(0, rows.nearest).index_select(1, columns.nearest)
    classes = classes.masked_fill(~(rows.inside[:, None] & columns.inside), IGNORED)
    return View(pixels, classes, (rows.inside, columns.inside))


class _Line(NamedTuple):
    """For each position of one side of a window, the pixels of the image that it is mixed from."""

    lower: Tensor
    upper: Tensor
    share: Tensor
    nearest: Tensor
    inside: Tensor

    @classmethod
    def of(cls, start: Tensor, length: int, zoom: Tensor, side: int) -> "_Line":
        # The centers of positions, as coordinates in the image of which a pixel's center is at a half.
        centers = (torch.arange(length, device=start.device, dtype=torch.float64) + start + 0.5) / zoom
        floor = (centers - 0.5).floor()
        share = (centers - 0.5 - floor).float()
        lower, upper = (values.long().clamp(0, side - 1) for values in (floor, floor + 1))
        nearest = centers.floor().long()
        return cls(lower, upper, share, nearest.clamp(0, side - 1), (nearest >= 0) & (nearest < side))

    def mixed(self, image: Tensor, dim: int) -> Tensor:
        share = self.share[:, None] if dim == 1 else self.share
        lower = image.index_select(dim, self.lower)
        return lower + (image.index_select(dim, self.upper) - lower) * share
