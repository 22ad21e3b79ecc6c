"""An image folder whose images were decoded and resized once, and its batches."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

import PIL
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as tvf

from limbeck.data.batch import Batch
from limbeck.data.images.augment import Augment, Placement
from limbeck.data.images.boxes import random_boxes
from limbeck.data.images.decode import decode
from limbeck.data.images.erasing import erase
from limbeck.data.images.file_view import centered, shorter_side
from limbeck.data.images.folder_files import SKIP_HINT
from limbeck.data.images.memory import resident
from limbeck.data.images.normalize import Normalizer
from limbeck.data.images.operations import operate_all
from limbeck.data.images.pixels import JoinedPixels, Pixels
from limbeck.data.images.rotation import rotate
from limbeck.data.images.splits import FolderSet, ImageSet
from limbeck.data.schedule import EpochPlan
from limbeck.errors import UserError
from limbeck.files import content_digest

# How much larger than the inputs the shorter side of a stored image is that crops of any scale are cut from: as 256 to
# 224 pixels, the custom of ImageNet.
_MARGIN = 8 / 7
# Raised whenever the same files would be stored as other pixels than before.
_FORMAT = 1


@dataclass(frozen=True, eq=False, kw_only=True)
class StoredSet(FolderSet):
    """A split of image files whose decoded pixels are stored.

    Args:
        pixels: Those of each image of the whole split.
        rows: Which of these the samples are, int64 (N,).
        whole: Whether they are whole images, a little larger than the inputs, instead of centers of the inputs' size.
    """

    pixels: Pixels | JoinedPixels
    rows: Tensor
    whole: bool

    def select(self, indices: Tensor) -> Self:
        """Return the samples at ``indices`` (int64 (M,)), in that order."""
        paths = tuple(self.paths[i] for i in indices.tolist())
        return replace(self, paths=paths, labels=self.labels[indices], rows=self.rows[indices])

    def fingerprint(self) -> str:
        """Return that of the files; another one for whole images, whose crops are cut from fewer pixels.

        Raises:
            UserError: If a file cannot be read.
        """
        of_files = super().fingerprint()
        return content_digest(f"whole {_FORMAT} {of_files}".encode()) if self.whole else of_files

    def image(self, index: int) -> Tensor:
        """Return the stored pixels of a sample, uint8 (C, H, W)."""
        return self.pixels.image(int(self.rows[index]))


def stored_form(split: FolderSet, augment: Augment) -> str:
    """Return what is stored of a split's images, as a digest: views of equal forms are made from the same pixels.

    Args:
        split: The split.
        augment: How its views are varied: with ``scale`` whole images are needed, else their centers.
    """
    # Another decoder gives other pixels.
    about = f"{_FORMAT} {PIL.__version__} {augment.scale is not None} {split.size} {split.fingerprint()}"
    return content_digest(about.encode())


def stored_image(split: FolderSet, number: int, augment: Augment) -> Tensor:
    """Decode an image, and resize it to what is stored.

    Args:
        split: The split.
        number: The sample's position.
        augment: As for :func:`stored_form`.

    Returns:
        uint8 (C, H, W): the center of the split's size, or the whole image with a shorter side of 8/7 of that size
        at most.

    Raises:
        UserError: If the image cannot be read.
    """
    side = split.size if augment.scale is None else round(split.size * _MARGIN)
    try:
        image = decode(split.paths[number], split.color, shorter_side(split, side))
    except UserError as error:
        raise UserError(f"{error}; {SKIP_HINT}") from None
    if augment.scale is None:
        return centered(image, split.size)
    if min(image.shape[1:]) <= side:
        return image
    resized: Tensor = tvf.resize(image, [side], antialias=True)
    return resized


@dataclass(frozen=True, eq=False)
class StoredImages:
    """The batches of a stored split.

    Args:
        split: The split.
        normalize: The normalization, on the device of the batches.
        augment: How the images are varied.
        channels_last: Whether the views are in that memory format.
    """

    split: StoredSet
    normalize: Normalizer
    augment: Augment
    channels_last: bool = False

    @property
    def order_device(self) -> torch.device:
        """Where :meth:`batches` needs the order of its plan."""
        return torch.device("cpu")

    def batches(self, plan: EpochPlan) -> Iterator[Batch]:
        """Yield the batches of one epoch.

        Raises:
            RunError: If a stored image is damaged.
        """
        device = self.normalize.scale.device
        memory = torch.channels_last if self.channels_last else torch.contiguous_format
        for start, end in pairwise(plan.bounds):
            rows = plan.order[start:end]
            views = self._views(rows, plan).to(device, non_blocking=True).contiguous(memory_format=memory)
            inputs, indices = self.normalize(views), rows.to(device)
            if self.augment.random_erasing:
                erase(inputs, indices, self.augment.random_erasing, seed=plan.seed, epoch=plan.epoch)
            yield Batch(inputs, self.split.labels[rows].to(device), indices)

    def _views(self, rows: Tensor, plan: EpochPlan) -> Tensor:
        images = [self.split.image(index) for index in rows.tolist()]
        if self.augment.scale is not None:
            views = self._boxed(images, rows, plan)
        elif self.split.whole:
            views = self._cut([centered(image, self.split.size) for image in images], rows, plan)
        else:
            views = self._cut(images, rows, plan)
        if self.augment.operates:
            views = operate_all(views, rows, self.augment, seed=plan.seed, epoch=plan.epoch)
        if not self.augment.rotation:
            return views
        return rotate(views, self.augment.angles(rows, seed=plan.seed, epoch=plan.epoch))

    def _boxed(self, images: list[Tensor], rows: Tensor, plan: EpochPlan) -> Tensor:
        assert self.augment.scale is not None
        heights, widths = torch.tensor([image.shape[1:] for image in images]).unbind(1)
        boxes = random_boxes(rows, heights, widths, self.augment.scale, seed=plan.seed, epoch=plan.epoch)
        size = (self.split.size, self.split.size)
        places = torch.stack(boxes[:4], dim=1).tolist()
        views = [_resized(image, place, size) for image, place in zip(images, places, strict=True)]
        if self.augment.flip:
            # One by one: torch mirrors a single view of this memory format ten times faster than an indexed batch.
            views = [
                view.flip(3) if mirrored else view for view, mirrored in zip(views, boxes.flip.tolist(), strict=True)
            ]
        return torch.cat(views)

    def _cut(self, images: list[Tensor], rows: Tensor, plan: EpochPlan) -> Tensor:
        # Rows of pixels are copied as they lie in memory.
        pixels = torch.stack([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)
        centers = ImageSet(pixels, self.split.labels[rows])
        place: Placement = self.augment.placements(rows, seed=plan.seed, epoch=plan.epoch)
        source = resident(centers, _unnormalized(centers), self.augment, channels_last=True)
        return source.cut(torch.arange(len(rows)), place)


def _resized(image: Tensor, place: list[int], size: tuple[int, int]) -> Tensor:
    top, left, height, width = place
    # In the order of the pixels in memory, for which it takes half as long.
    box = image[None, :, top : top + height, left : left + width].contiguous(memory_format=torch.channels_last)
    return F.interpolate(box, size=size, mode="bilinear", align_corners=False, antialias=True)


def _unnormalized(images: ImageSet) -> Normalizer:
    """Return a normalization that is not used: the views are normalized once they are on the device."""
    blank = torch.zeros(1, *images.shape)
    return Normalizer(blank, blank)
