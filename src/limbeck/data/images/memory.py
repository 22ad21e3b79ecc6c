"""Batches of views of images in memory, by a handful of operations on the whole batch."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from limbeck.data.batch import Batch
from limbeck.data.images.augment import Augment, Placement
from limbeck.data.images.erasing import erase
from limbeck.data.images.normalize import Normalizer
from limbeck.data.images.operations import operate_all
from limbeck.data.images.rotation import rotate
from limbeck.data.images.splits import ImageSet
from limbeck.data.schedule import EpochPlan


@dataclass(frozen=True, eq=False)
class ResidentImages:
    """A split, zero-padded once and kept on the device of the training, in the memory format of the model.

    Args:
        windows: Every window that a crop can cut out, as a view of the padded pixels that copies nothing: uint8
            (N, 2 * crop + 1, 2 * crop + 1, C, H, W), or (..., H, W, C) for channels_last.
        labels: Class numbers, int64 (N,), on the same device.
        normalize: The normalization, on the same device.
        augment: How the images are varied.
        channels_last: Whether the views are in that memory format.

    Example:
        >>> from limbeck.data.images.normalize import normalizer
        >>> split = ImageSet(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.tensor([0, 1]))
        >>> resident(split, normalizer((3, 8, 8), [0] * 3, [1] * 3), Augment(crop=1)).windows.shape
        torch.Size([2, 3, 3, 3, 8, 8])
    """

    windows: Tensor
    labels: Tensor
    normalize: Normalizer
    augment: Augment
    channels_last: bool

    @property
    def order_device(self) -> torch.device:
        """Where :meth:`batches` needs the order of its plan."""
        return self.labels.device

    def batches(self, plan: EpochPlan) -> Iterator[Batch]:
        """Yield the batches of one epoch.

        Example:
            >>> from limbeck.data.images.normalize import normalizer
            >>> from limbeck.data.schedule import Schedule
            >>> split = ImageSet(torch.zeros(3, 1, 8, 8, dtype=torch.uint8), torch.arange(3))
            >>> images = resident(split, normalizer((1, 8, 8), [0], [1]), Augment())
            >>> [batch.labels.tolist() for batch in images.batches(Schedule(3, batch_size=2).plan(0))]
            [[0, 1], [2]]
        """
        # Drawn for the epoch at once: the hash is two dozen small operations, whatever the number of samples.
        places = self.augment.placements(plan.order, seed=plan.seed, epoch=plan.epoch)
        angles = None
        if self.augment.rotation:
            angles = self.augment.angles(plan.order, seed=plan.seed, epoch=plan.epoch)
        labels = self.labels[plan.order]
        for start, end in pairwise(plan.bounds):
            rows = plan.order[start:end]
            views = self.cut(rows, Placement(*(values[start:end] for values in places)))
            if self.augment.operates:
                views = operate_all(views, rows, self.augment, seed=plan.seed, epoch=plan.epoch)
            pixels = views if angles is None else rotate(views, angles[start:end])
            inputs = self.normalize(pixels)
            if self.augment.random_erasing:
                erase(inputs, rows, self.augment.random_erasing, seed=plan.seed, epoch=plan.epoch)
            yield Batch(inputs, labels[start:end], rows)

    def cut(self, rows: Tensor, place: Placement) -> Tensor:
        """Cut one view out of each image.

        Args:
            rows: Positions of the samples, int64 (B,).
            place: Where their views lie.

        Returns:
            The views, uint8 (B, C, H, W), in the memory format of the model.

        Example:
            >>> from limbeck.data.images.normalize import normalizer
            >>> split = ImageSet(torch.arange(4, dtype=torch.uint8).view(1, 1, 2, 2), torch.tensor([0]))
            >>> images = resident(split, normalizer((1, 2, 2), [0], [1]), Augment(crop=1, flip=True))
            >>> zero = torch.tensor([0])
            >>> images.cut(zero, Placement(zero, zero, torch.tensor([True])))
            tensor([[[[0, 0], [0, 0]]]], dtype=torch.uint8)
        """
        cut = cut_on_cpu if self.windows.device.type == "cpu" else cut_on_device
        return cut(self.windows, rows, place, channels_last=self.channels_last)


def resident(
    split: ImageSet, normalize: Normalizer, augment: Augment, *, channels_last: bool = False
) -> ResidentImages:
    """Pad a split and move it to the device of its normalization.

    Args:
        split: The split.
        normalize: The normalization.
        augment: How the images are varied.
        channels_last: Whether the views are in that memory format.

    Example:
        >>> from limbeck.data.images.normalize import normalizer
        >>> split = ImageSet(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.tensor([0, 1]))
        >>> resident(split, normalizer((3, 8, 8), [0] * 3, [1] * 3), Augment(), channels_last=True).windows.shape
        torch.Size([2, 1, 1, 8, 8, 3])
    """
    device = normalize.scale.device
    images = split.images.to(device)
    images = (images.permute(0, 2, 3, 1) if channels_last else images).contiguous()
    windows = _windows(images, augment.crop, rows=1 if channels_last else 2)
    return ResidentImages(windows, split.labels.to(device), normalize, augment, channels_last)


def cut_on_device(windows: Tensor, rows: Tensor, place: Placement, *, channels_last: bool) -> Tensor:
    """Cut one view out of each image by operations of PyTorch alone, which wait for nothing on an accelerator.

    The arguments and the result are those of :meth:`ResidentImages.cut`.

    Example:
        >>> windows, zero = torch.arange(2, dtype=torch.uint8).view(1, 1, 1, 1, 1, 2), torch.tensor([0])
        >>> cut_on_device(windows, zero, Placement(zero, zero, torch.tensor([True])), channels_last=False)
        tensor([[[[1, 0]]]], dtype=torch.uint8)
    """
    cut = windows[rows, place.top, place.left]
    views = cut.permute(0, 3, 1, 2) if channels_last else cut
    return torch.where(place.flip.view(-1, 1, 1, 1), views.flip(3), views)


def cut_on_cpu(windows: Tensor, rows: Tensor, place: Placement, *, channels_last: bool) -> Tensor:
    """Cut one view out of each image by NumPy's indexing, which copies the rows of a window as blocks.

    The result is that of :func:`cut_on_device`. PyTorch's indexing and ``where`` copy single bytes, many times slower.

    Example:
        >>> windows, zero = torch.arange(2, dtype=torch.uint8).view(1, 1, 1, 1, 1, 2), torch.tensor([0])
        >>> cut_on_cpu(windows, zero, Placement(zero, zero, torch.tensor([True])), channels_last=False)
        tensor([[[[1, 0]]]], dtype=torch.uint8)
    """
    cut = windows.numpy()[rows.numpy(), place.top.numpy(), place.left.numpy()]
    flip = place.flip.numpy()
    if flip.any():
        mirrored = torch.from_numpy(cut[flip])
        # Permuted only because `flip` takes its fast way for channels_last then.
        cut[flip] = mirrored.permute(0, 3, 1, 2).flip(3).permute(0, 2, 3, 1) if channels_last else mirrored.flip(3)
    views = torch.from_numpy(cut)
    return views.permute(0, 3, 1, 2) if channels_last else views


def _windows(images: Tensor, crop: int, rows: int) -> Tensor:
    """View every window of a zero-padded copy; ``rows`` is the dimension of the rows, that of the columns follows."""
    pad = [crop] * 4 if rows == 2 else [0, 0, *[crop] * 4]
    padded = F.pad(images, pad) if crop else images
    stride, cells = padded.stride(), [2 * crop + 1] * 2
    shape = [len(images), *cells, *images.shape[1:]]
    return padded.as_strided(shape, [stride[0], *stride[rows : rows + 2], *stride[1:]])
