"""The inputs that belong to the slots of a cache, made again by the source of a training's batches."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from limbeck.cache.inputs import Replayed
from limbeck.cache.spec import CacheSpec
from limbeck.data import Source
from limbeck.data.schedule import EpochPlan
from limbeck.data.source import NumberedSource
from limbeck.errors import UserError


@dataclass(frozen=True, eq=False)
class SourceReplay:
    """Makes the inputs of any slots of a cache, bit for bit those of a training, for data of any kind.

    Args:
        source: Makes the batches of the training split, varied as ``spec`` has it.
        spec: What the cache holds: one view a sample, or ``"epochs"``.

    Raises:
        UserError: If a sample has several views that are numbered, and the source cannot make one by its number (by a
            method ``numbered`` of positions and views).

    Example:
        >>> from limbeck.cache import RowFormat
        >>> from limbeck.data import load
        >>> data = load("fashion_mnist_sample", train_limit=10)
        >>> replay = SourceReplay(data.source(data.train), CacheSpec("views", 10, RowFormat(10)))
        >>> batch, epoch, slots = next(replay.batches(torch.tensor([7, 2]), batch_size=4))
        >>> batch.indices, epoch, slots
        (tensor([2, 7]), 0, tensor([2, 7]))
    """

    source: Source
    spec: CacheSpec

    def __post_init__(self) -> None:
        if self._is_numbered and not isinstance(self.source, NumberedSource):
            raise UserError(f"replay: got {self.spec.per_sample} views a sample, expected one, or an epoch each")

    @property
    def _is_numbered(self) -> bool:
        return self.spec.mode == "views" and self.spec.per_sample != 1

    def batches(self, slots: Tensor, *, batch_size: int) -> Iterator[Replayed]:
        """Yield the inputs of ``slots``, int64 (N,) on the CPU, epoch by epoch.

        Raises:
            UserError: If a sample cannot be read.
        """
        slots = slots.sort().values
        if self._is_numbered:
            yield from self._views(slots, batch_size)
            return
        indices, epochs = self.spec.split(slots)
        # The number of a single view is 0, and without augmentation all epochs are the same.
        for epoch in torch.unique(epochs).tolist():
            order = indices[epochs == epoch].to(self.source.order_device)
            bounds = (*range(0, len(order), batch_size), len(order))
            for batch in self.source.batches(EpochPlan(order, bounds, self.spec.seed, epoch)):
                assert batch.indices is not None
                yield Replayed(batch, epoch, batch.indices.cpu() + epoch * self.spec.samples)

    def _views(self, slots: Tensor, batch_size: int) -> Iterator[Replayed]:
        assert isinstance(self.source, NumberedSource)
        for part in torch.split(slots, batch_size):
            indices, views = (values.to(self.source.order_device) for values in self.spec.split(part))
            yield Replayed(self.source.numbered(indices, views), 0, part)
