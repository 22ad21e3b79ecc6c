"""Batches of views of images with their boxes."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.utils.data import Dataset

from limbeck.data.batch import Batch
from limbeck.data.boxes.augment import BoxAugment, mirrored
from limbeck.data.boxes.packed import Packed
from limbeck.data.boxes.splits import BoxSet
from limbeck.data.schedule import EpochPlan
from limbeck.data.workers import Request, Workers
from limbeck.errors import UserError

Made = Packed | UserError


class BoxViews:
    """The batches of a split: ``{"images": [...]}``, a list of targets as torchvision's detectors take them, positions.

    Images are float32 (3, H, W) in [0, 1], each in its own size and not normalized: torchvision's detectors normalize
    by themselves.

    Args:
        split: The split.
        augment: How its samples are varied.
        device: Where the batches are.
        workers: How many processes decode and vary samples; 0 for this one.

    Raises:
        UserError: If the number of workers is out of range.

    Example:
        >>> from limbeck.data.schedule import Schedule
        >>> target = {"boxes": torch.tensor([[1.0, 1.0, 3.0, 2.0]]), "labels": torch.tensor([2])}
        >>> split = BoxSet([torch.zeros(3, 4, 6, dtype=torch.uint8)] * 3, [target] * 3)
        >>> batches = BoxViews(split, BoxAugment(flip=True)).batches(Schedule(3, batch_size=2).plan(0))
        >>> [len(batch.inputs["images"]) for batch in batches]
        [2, 1]
    """

    def __init__(
        self, split: BoxSet, augment: BoxAugment, *, device: torch.device | str = "cpu", workers: int = 0
    ) -> None:
        self._split, self._device = split, torch.device(device)
        self._workers = Workers(_Viewer(split, augment), workers, pin=self._device.type == "cuda")

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
        """
        rows = [plan.order[start:end] for start, end in pairwise(plan.bounds)]
        requests = [(plan.seed, plan.epoch, part.tolist()) for part in rows]
        for indices, made in zip(rows, self._workers.made(requests), strict=True):
            if isinstance(made, UserError):
                raise made
            yield self._batch(made, indices)

    def numbered(self, indices: Tensor, views: Tensor) -> Batch:
        """Return the views of these numbers (int64 (N,)) of samples (int64 (N,)): 1 is the mirrored one.

        Raises:
            UserError: If an image cannot be read.
        """
        samples = [(self._split.image(n), self._split.targets[n]) for n in indices.tolist()]
        mirror = (views == 1).tolist()
        return self._batch(
            Packed.of([mirrored(*sample) if flip else sample for sample, flip in zip(samples, mirror, strict=True)]),
            indices,
        )

    def _batch(self, made: Packed, indices: Tensor) -> Batch:
        images, targets = made.unpacked(self._device)
        return Batch({"images": images}, targets, indices.to(self._device, non_blocking=True))


class _Viewer(Dataset[Made]):
    def __init__(self, split: BoxSet, augment: BoxAugment) -> None:
        self._split, self._augment = split, augment

    def __getitem__(self, request: Request) -> Made:
        try:
            return Packed.of(self._samples(*request))
        except UserError as error:
            return error

    def _samples(self, seed: int, epoch: int, indices: Sequence[int]) -> list[tuple[Tensor, dict[str, Tensor]]]:
        return [
            self._augment.view(self._split.image(n), self._split.targets[n], n, seed=seed, epoch=epoch) for n in indices
        ]
