"""Batches of a split of any kind: what makes them, and in which order."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from limbeck.data.batch import Batch
from limbeck.data.schedule import EpochPlan, Plans


class Source(Protocol):
    """Makes the batches of a split; the view of sample i at epoch e depends on (seed, e, i) alone.

    One that has methods ``keep`` and ``close`` keeps its worker processes between epochs in between.

    Example:
        >>> class Numbers:
        ...     order_device = torch.device("cpu")
        ...     def batches(self, plan):
        ...         for start, end in zip(plan.bounds, plan.bounds[1:]):
        ...             yield Batch(plan.order[start:end].float(), None, plan.order[start:end])
        >>> from limbeck.data.schedule import Schedule
        >>> source: Source = Numbers()
        >>> [batch.inputs.tolist() for batch in source.batches(Schedule(3, batch_size=2).plan(0))]
        [[0.0, 1.0], [2.0]]
    """

    @property
    def order_device(self) -> torch.device:
        """Where :meth:`batches` needs the order of its plan."""

    def batches(self, plan: EpochPlan) -> Iterator[Batch]:
        """Yield the batches of one epoch.

        Raises:
            UserError: If a sample cannot be read.
        """


@runtime_checkable
class NumberedSource(Source, Protocol):
    """A source whose samples have several views that are numbered; see :attr:`limbeck.cache.CacheSpec.per_sample`.

    Example:
        >>> from limbeck.data import load
        >>> data = load("shapes")
        >>> isinstance(data.source(data.train), NumberedSource)
        True
    """

    def numbered(self, indices: Tensor, views: Tensor) -> Batch:
        """Return the batch of these views (int64 (N,)) of the samples at these positions (int64 (N,))."""


class Batches:
    """The batches of a training on one split; an epoch can be repeated.

    Args:
        source: Makes the batches.
        schedule: Which samples each batch of an epoch has.

    Example:
        >>> from limbeck.data import load
        >>> data = load("fashion_mnist_sample", train_limit=100)
        >>> batches = data.batches(data.train, batch_size=64, shuffle=True)
        >>> len(batches), next(batches.epoch(3)).inputs.shape
        (2, torch.Size([64, 1, 28, 28]))
    """

    def __init__(self, source: Source, schedule: Plans) -> None:
        self._source, self._schedule = source, schedule

    def __enter__(self) -> Self:
        """Keep the worker processes between epochs from now on."""
        _call(self._source, "keep")
        return self

    def __exit__(self, *_: object) -> None:
        """End the worker processes."""
        _call(self._source, "close")

    def __len__(self) -> int:
        """Return the number of batches of an epoch, in this process."""
        return len(self._schedule.bounds) - 1

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Return the batches of an epoch, from 0; all of their tensors are on the source's device.

        Raises:
            UserError: While iterating, if a sample cannot be read.
        """
        return self.epoch_from(epoch, 0)

    def epoch_from(self, epoch: int, start: int) -> Iterator[Batch]:
        """Return the batches of an epoch, from 0, but the first ``start``, which are not made.

        Raises:
            UserError: While iterating, if a sample cannot be read.
        """
        plan = self._schedule.plan(epoch, device=self._source.order_device)
        return self._source.batches(replace(plan, bounds=plan.bounds[start:]))


def _call(source: Source, method: str) -> None:
    if hasattr(source, method):
        getattr(source, method)()
