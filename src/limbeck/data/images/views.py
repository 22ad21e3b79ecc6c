"""Replayable views of a split, batch by batch."""

from collections.abc import Sequence
from typing import ClassVar

import torch

from limbeck.data.images.augment import Augment
from limbeck.data.images.folder_views import FileImages
from limbeck.data.images.memory import ResidentImages, resident
from limbeck.data.images.normalize import normalizer
from limbeck.data.images.splits import FolderSet, Split
from limbeck.data.images.stored import StoredImages, StoredSet
from limbeck.data.schedule import Schedule
from limbeck.data.source import Batches
from limbeck.data.workers import check_workers
from limbeck.errors import UserError


class Views(Batches):
    """Batches of normalized, augmented images; the view of sample i at epoch e depends on (seed, e, i) alone.

    So the batch size, the order, the number of workers and that of processes change nothing about a view, and an epoch
    can be repeated. Images in memory stay on ``device`` (zero-padded once) and are cut and normalized there,
    a whole batch at a time; images in files are decoded by a DataLoader, whose workers start anew with every epoch, or
    live on between the epochs within ``with views:``.

    Args:
        split: The images.
        batch_size: How many views a batch holds, in each process.
        mean: The mean of each channel, of pixels in [0, 1].
        std: The standard deviation of each channel, of pixels in [0, 1].
        augment: How the images are varied; None for not at all.
        shuffle: Whether every epoch has its own order, drawn from (seed, epoch).
        seed: The run's seed.
        drop_last: Whether a last batch of fewer views is left out.
        device: Where the batches are.
        workers: How many processes decode the images of a folder; 0 for this one. Images in memory need none.
        channels_last: Whether the inputs are in that memory format.
        rank: Which of the data-parallel processes this is.
        world_size: How many there are. Each takes every ``world_size``-th sample of the order. With ``shuffle`` all
            have equally many batches: where a last one has fewer samples than there are processes, the order is
            continued from its start.
        view_seed: The seed of the views; None for ``seed``, which is that of the order.

    Raises:
        UserError: If a setting is out of range or does not fit the split.

    Example:
        >>> from limbeck.data import load
        >>> data = load("fashion_mnist_sample", train_limit=100)
        >>> views = Views(data.train, batch_size=64, mean=data.mean, std=data.std, augment=Augment(crop=2))
        >>> [tuple(batch.inputs.shape) for batch in views.epoch(0)]
        [(64, 1, 28, 28), (36, 1, 28, 28)]
    """

    unit: ClassVar[str] = "images"

    def __init__(
        self,
        split: Split,
        *,
        batch_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        augment: Augment | None = None,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
        device: torch.device | str = "cpu",
        workers: int = 0,
        channels_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
        view_seed: int | None = None,
    ) -> None:
        source = image_source(
            split, mean=mean, std=std, augment=augment, device=device, workers=workers, channels_last=channels_last
        )
        schedule = Schedule(len(split), batch_size, shuffle, seed, drop_last, rank, world_size, view_seed)
        super().__init__(source, schedule)


def image_source(
    split: Split,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    augment: Augment | None = None,
    device: torch.device | str = "cpu",
    workers: int = 0,
    channels_last: bool = False,
) -> ResidentImages | FileImages | StoredImages:
    """Return what makes the batches of :class:`Views`; the arguments are those.

    Raises:
        UserError: If a setting is out of range or does not fit the split.

    Example:
        >>> from limbeck.data import load
        >>> data = load("fashion_mnist_sample", train_limit=100)
        >>> image_source(data.train, mean=data.mean, std=data.std).order_device
        device(type='cpu')
    """
    check_workers(workers)
    augment = augment or Augment()
    normalize = normalizer(split.shape, mean, std, device=device, channels_last=channels_last)
    if isinstance(split, StoredSet):
        return StoredImages(split, normalize, augment, channels_last)
    if isinstance(split, FolderSet):
        return FileImages(split, normalize, augment, workers, channels_last)
    if augment.scale is not None:
        raise UserError(f"augment.scale: got {augment.scale}, but only image folders take it; expected crop and flip")
    return resident(split, normalize, augment, channels_last=channels_last)
