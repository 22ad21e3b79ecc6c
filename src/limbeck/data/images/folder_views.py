"""Batches of views of images in files, decoded in this process or by the workers of a DataLoader."""

import os
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from limbeck.data.batch import Batch
from limbeck.data.images.augment import Augment
from limbeck.data.images.erasing import erase
from limbeck.data.images.file_view import view_of_file
from limbeck.data.images.normalize import Normalizer
from limbeck.data.images.splits import FolderSet
from limbeck.data.schedule import EpochPlan
from limbeck.errors import RunError, UserError, shortened
from limbeck.processes import end_with_parent

_PER_CORE, _ALWAYS_ALLOWED = 4, 16
Request = tuple[int, int, list[int]]
Decoded = Tensor | UserError


def check_workers(workers: int) -> None:
    """Refuse a number of worker processes that would only take the machine's memory.

    Raises:
        UserError: If it is negative, or more than 16 and more than 4 for each CPU core.

    Example:
        >>> check_workers(1_000_000)
        Traceback (most recent call last):
        limbeck.errors.UserError: data.workers: got 1000000, expected 0 to ... (4 for each CPU core, at least 16)
    """
    most = max(_PER_CORE * (os.cpu_count() or 1), _ALWAYS_ALLOWED)
    if not 0 <= workers <= most:
        limits = f"{_PER_CORE} for each CPU core, at least {_ALWAYS_ALLOWED}"
        raise UserError(f"data.workers: got {shortened(workers, 20)}, expected 0 to {most} ({limits})")


class FileImages:
    """A split whose images are decoded for every epoch.

    Every epoch starts its own workers, unless they are kept between :meth:`keep` and :meth:`close`. The epoch travels
    to the workers with each batch, so that a view is the same in either case.

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
        check_workers(workers)
        self._labels, self._normalize, self._workers = split.labels, normalize, workers
        self._dataset, self._erasing = _Decoder(split, augment), augment.random_erasing
        self._memory = torch.channels_last if channels_last else torch.contiguous_format
        self._requests: list[Request] = []
        self._kept: DataLoader[Decoded] | None = None
        self._current: Iterator[Decoded] | None = None
        self._keeping = False

    @property
    def order_device(self) -> torch.device:
        """Where :meth:`batches` needs the order of its plan."""
        return torch.device("cpu")

    def keep(self) -> None:
        """Keep the workers of the next epoch until :meth:`close`."""
        self._keeping = self._workers > 0

    def close(self) -> None:
        """End the workers that were kept, also those of an epoch under way."""
        # Nothing else refers to the loader's iterator, whose end is the end of its workers.
        self._keeping, self._current, self._kept = False, None, None

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
        for part, images in zip(rows, self._decoded(plan, rows), strict=True):
            if isinstance(images, UserError):
                raise images
            pixels = images.to(device, non_blocking=True).contiguous(memory_format=self._memory)
            labels, indices = (t.to(device, non_blocking=True) for t in (self._labels[part], part))
            inputs = self._normalize(pixels)
            if self._erasing:
                erase(inputs, indices, self._erasing, seed=plan.seed, epoch=plan.epoch)
            yield Batch(inputs, labels, indices)

    def _decoded(self, plan: EpochPlan, rows: Sequence[Tensor]) -> Iterator[Decoded]:
        """Yield uint8 or float32 (N, C, H, W) for each batch, or the error of an image of it."""
        requests = [(plan.seed, plan.epoch, part.tolist()) for part in rows]
        # Kept workers serve one epoch at a time.
        if self._keeping and self._current is None:
            yield from self._by_kept_workers(requests)
        else:
            yield from self._loader(requests, keep=False)

    def _by_kept_workers(self, requests: list[Request]) -> Iterator[Decoded]:
        self._requests[:] = requests
        self._kept = self._kept or self._loader(self._requests, keep=True)
        self._current = iter(self._kept)
        try:
            for _ in requests:
                if self._current is None:
                    raise RunError("the workers were ended while an epoch was under way")
                yield next(self._current)
        finally:
            self._current = None

    def _loader(self, requests: Sequence[Request], *, keep: bool) -> DataLoader[Decoded]:
        sampler: Any = requests
        return DataLoader(
            self._dataset,
            batch_size=None,
            sampler=sampler,
            num_workers=self._workers,
            persistent_workers=keep,
            pin_memory=self._normalize.scale.device.type == "cuda",
            # One of its own, since a DataLoader draws from the global generator otherwise.
            generator=torch.Generator(),
            # By itself a worker whose parent dies while it starts would wait for ever.
            worker_init_fn=partial(_end_with, os.getpid()),
        )


def _end_with(parent: int, _: int) -> None:
    end_with_parent(parent)


class _Decoder(Dataset[Decoded]):
    def __init__(self, split: FolderSet, augment: Augment) -> None:
        self._split, self._augment = split, augment

    def __getitem__(self, request: Request) -> Decoded:
        seed, epoch, indices = request
        try:
            return torch.stack([view_of_file(self._split, i, self._augment, seed=seed, epoch=epoch) for i in indices])
        except UserError as error:
            # Returned, since an error raised in a worker comes back with the worker's traceback in its text.
            return error
