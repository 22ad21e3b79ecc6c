"""Batches of views of images in files, decoded by the workers of a DataLoader."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch

from limbeck.data.batch import Batch
from limbeck.data.images.augment import Augment
from limbeck.data.images.file_loader import FileLoader, check_workers
from limbeck.data.images.normalize import Normalizer
from limbeck.data.images.splits import FolderSet
from limbeck.data.schedule import EpochPlan
from limbeck.errors import UserError


@dataclass(frozen=True, eq=False)
class FileImages:
    """A split whose images are decoded whenever they are looked at.

    Args:
        split: The split.
        normalize: The normalization, on the device of the training.
        augment: How the images are varied.
        workers: How many processes decode; 0 for this one.
        channels_last: Whether the views are in that memory format.

    Raises:
        UserError: If the number of workers is out of range.

    Example:
        >>> from pathlib import Path
        >>> from limbeck.data.images.normalize import normalizer
        >>> split = FolderSet(Path("."), (Path("cat.png"),), torch.tensor([0]), "gray", 8)
        >>> FileImages(split, normalizer((1, 8, 8), [0], [1]), Augment()).order_device
        device(type='cpu')
    """

    split: FolderSet
    normalize: Normalizer
    augment: Augment
    workers: int = 0
    channels_last: bool = False

    def __post_init__(self) -> None:
        check_workers(self.workers)

    @cached_property
    def loader(self) -> FileLoader:
        """What decodes the files; its workers can be kept between epochs."""
        pin_memory = self.normalize.scale.device.type == "cuda"
        return FileLoader(self.split, self.augment, workers=self.workers, pin_memory=pin_memory)

    @property
    def order_device(self) -> torch.device:
        """Where :meth:`batches` wants the order of its plan."""
        return torch.device("cpu")

    def batches(self, plan: EpochPlan) -> Iterator[Batch]:
        """Yield the batches of one epoch.

        Raises:
            UserError: If an image cannot be read.

        Example:
            >>> from pathlib import Path
            >>> from limbeck.data.images.normalize import normalizer
            >>> from limbeck.data.schedule import Schedule
            >>> split = FolderSet(Path("."), (Path("lost.png"),), torch.tensor([0]), "gray", 8)
            >>> images = FileImages(split, normalizer((1, 8, 8), [0], [1]), Augment())
            >>> next(images.batches(Schedule(1, batch_size=1).plan(0)))
            Traceback (most recent call last):
            limbeck.errors.UserError: data.root: lost.png cannot be read as an image: ...
        """
        device = self.normalize.scale.device
        rows = [plan.order[start:end] for start, end in pairwise(plan.bounds)]
        memory = torch.channels_last if self.channels_last else torch.contiguous_format
        for part, images in zip(rows, self.loader.epoch(plan), strict=True):
            if isinstance(images, UserError):
                raise images
            pixels = images.to(device, non_blocking=True).contiguous(memory_format=memory)
            labels, indices = (t.to(device, non_blocking=True) for t in (self.split.labels[part], part))
            yield Batch(self.normalize(pixels), labels, indices)
