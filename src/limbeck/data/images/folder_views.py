"""Batches of views of images in files, decoded in this process or by the workers of a DataLoader."""

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor
from torch.utils.data import Dataset

from limbeck.data.batch import Batch
from limbeck.data.images.augment import Augment
from limbeck.data.images.erasing import erase
from limbeck.data.images.file_view import view_of_file
from limbeck.data.images.folder_files import SKIP_HINT
from limbeck.data.images.normalize import Normalizer
from limbeck.data.images.splits import FolderSet
from limbeck.data.schedule import EpochPlan
from limbeck.data.workers import Request, Workers
from limbeck.errors import UserError

Decoded = Tensor | UserError


class FileImages:
    """A split whose images are decoded for every epoch.

    Workers are kept between :meth:`keep` and :meth:`close`, see :class:`limbeck.data.workers.Workers`.

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

    def __init__(
        self,
        split: FolderSet,
        normalize: Normalizer,
        augment: Augment,
        workers: int = 0,
        channels_last: bool = False,
    ) -> None:
        self._labels, self._normalize, self._erasing = split.labels, normalize, augment.random_erasing
        pin = normalize.scale.device.type == "cuda"
        self._workers = Workers(_Decoder(split, augment), workers, pin=pin)
        self._memory = torch.channels_last if channels_last else torch.contiguous_format

    @property
    def order_device(self) -> torch.device:
        """Where :meth:`batches` needs the order of its plan."""
        return torch.device("cpu")

    def keep(self) -> None:
        """Keep the workers of the next epoch until :meth:`close`."""
        self._workers.keep()

    def close(self) -> None:
        """End the workers that were kept, also those of an epoch under way."""
        self._workers.close()

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
        device = self._normalize.scale.device
        rows = [plan.order[start:end] for start, end in pairwise(plan.bounds)]
        requests = [(plan.seed, plan.epoch, part.tolist()) for part in rows]
        for part, images in zip(rows, self._workers.made(requests), strict=True):
            if isinstance(images, UserError):
                raise UserError(f"{images}; {SKIP_HINT}")
            pixels = images.to(device, non_blocking=True).contiguous(memory_format=self._memory)
            labels, indices = (t.to(device, non_blocking=True) for t in (self._labels[part], part))
            inputs = self._normalize(pixels)
            if self._erasing:
                erase(inputs, indices, self._erasing, seed=plan.seed, epoch=plan.epoch)
            yield Batch(inputs, labels, indices)


class _Decoder(Dataset[Decoded]):
    def __init__(self, split: FolderSet, augment: Augment) -> None:
        self._split, self._augment = split, augment

    def __getitem__(self, request: Request) -> Decoded:
        seed, epoch, indices = request
        try:
            return torch.stack([view_of_file(self._split, i, self._augment, seed=seed, epoch=epoch) for i in indices])
        except UserError as error:
            return error
