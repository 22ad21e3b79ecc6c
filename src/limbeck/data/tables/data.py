"""Tables and series in memory: their splits, and the batches of these."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from limbeck.data.batch import Batch
from limbeck.data.data import Data
from limbeck.data.schedule import EpochPlan
from limbeck.data.source import Source
from limbeck.data.tables.augment import TableAugment
from limbeck.data.tables.noise import gaussian_noise
from limbeck.errors import UserError, shortened
from limbeck.files import content_digest


@dataclass(frozen=True, eq=False)
class TableSet:
    """Rows or series in memory, as networks take them.

    Attributes:
        inputs: float32 (N, F) for rows, (N, C, L) for series of L steps.
        labels: Class numbers, int64 (N,).

    Raises:
        UserError: If the shapes or types are others.

    Example:
        >>> split = TableSet(torch.zeros(3, 4), torch.tensor([0, 1, 1]))
        >>> split.shape, split.select(torch.tensor([2])).labels
        ((4,), tensor([1]))
    """

    inputs: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.inputs.dtype != torch.float32 or self.inputs.ndim not in (2, 3):
            got = f"{self.inputs.dtype} of shape {tuple(self.inputs.shape)}"
            raise UserError(f"inputs: got {got}, expected torch.float32 (N, F) or (N, C, L)")
        if self.labels.dtype != torch.int64 or self.labels.shape != self.inputs.shape[:1]:
            got = f"{self.labels.dtype} of shape {tuple(self.labels.shape)}"
            raise UserError(f"labels: got {got}, expected torch.int64 ({len(self.inputs)},)")

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """(F,) or (C, L)."""
        return tuple(self.inputs.shape[1:])

    def select(self, indices: Tensor) -> Self:
        """Return the samples at ``indices`` (int64 (M,)), in that order."""
        return type(self)(self.inputs[indices], self.labels[indices])

    def fingerprint(self) -> str:
        """Return the SHA-256 of shape, inputs and labels."""
        return content_digest(repr(tuple(self.inputs.shape)).encode(), self.inputs, self.labels)


@dataclass(frozen=True, eq=False)
class TableRows:
    """Makes batches of a split that is kept on a device.

    Attributes:
        split: The samples, on the device.
        augment: How they are varied.

    Example:
        >>> from limbeck.data.schedule import Schedule
        >>> rows = TableRows(TableSet(torch.zeros(3, 4), torch.arange(3)), TableAugment(noise=0.1))
        >>> [tuple(batch.inputs.shape) for batch in rows.batches(Schedule(3, batch_size=2).plan(0))]
        [(2, 4), (1, 4)]
    """

    split: TableSet
    augment: TableAugment

    @property
    def order_device(self) -> torch.device:
        """Where :meth:`batches` needs the order of its plan."""
        return self.split.labels.device

    def batches(self, plan: EpochPlan) -> Iterator[Batch]:
        """Yield the batches of one epoch."""
        for start, end in pairwise(plan.bounds):
            rows = plan.order[start:end]
            yield Batch(self._inputs(rows, plan), self.split.labels[rows], rows)

    def _inputs(self, rows: Tensor, plan: EpochPlan) -> Tensor:
        inputs = self.split.inputs[rows]
        if not self.augment.noise:
            return inputs
        noise = gaussian_noise(rows, inputs[0].numel(), seed=plan.seed, epoch=plan.epoch)
        return inputs + self.augment.noise * noise.view(inputs.shape)


@dataclass(frozen=True, eq=False)
class TableData(Data):
    """A table, or series of fixed length.

    Attributes:
        prepared: How raw rows became inputs, see :func:`limbeck.data.tables.prepare`; empty where they were inputs.

    Example:
        >>> from limbeck.data import load
        >>> data = load("iris")
        >>> data.facts, data.form, len(data.train), len(data.test)
        ({'in_features': 4}, 'rows of 4 numbers', 120, 30)
    """

    augmentation: ClassVar[type[Any]] = TableAugment

    prepared: dict[str, Any] = field(default_factory=dict)

    @property
    def unit(self) -> str:
        """``"rows"`` or ``"series"``."""
        return "series" if len(self.shape) == 2 else "rows"

    @property
    def form(self) -> str:
        """What a sample is, in words."""
        if len(self.shape) == 2:
            return f"series, {self.shape[0]} channels of {self.shape[1]} steps"
        return f"rows of {self.shape[0]} numbers"

    @property
    def facts(self) -> dict[str, Any]:
        """``in_features``, and for series also ``in_channels`` and ``length``."""
        facts: dict[str, Any] = {"in_features": int(torch.Size(self.shape).numel())}
        return facts | ({"in_channels": self.shape[0], "length": self.shape[1]} if len(self.shape) == 2 else {})

    @property
    def preparation(self) -> dict[str, Any]:
        """How a raw row becomes an input, as JSON takes it; it is stored with a student."""
        kind = {"kind": "table"} if self.prepared else {}
        return {"input_shape": list(self.shape), **self.prepared, **kind}

    def source(
        self,
        split: Any,
        augment: Any = None,
        *,
        device: torch.device | str = "cpu",
        workers: int = 0,  # noqa: ARG002 - rows in memory need none
        channels_last: bool = False,  # noqa: ARG002 - that is a format of images
    ) -> Source:
        """Return what makes batches of a split; see :meth:`limbeck.data.Data.source`.

        Raises:
            UserError: If it is a split of another kind of data.
        """
        if not isinstance(split, TableSet):
            raise UserError(f"split: got a {shortened(type(split).__name__)}, expected a limbeck.data.tables.TableSet")
        moved = TableSet(split.inputs.to(device), split.labels.to(device))
        return TableRows(moved, augment or TableAugment())
