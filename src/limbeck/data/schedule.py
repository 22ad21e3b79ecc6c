"""In which order an epoch takes the samples of a split, in which batches, and in which process."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from limbeck.errors import UserError
from limbeck.randomness.hashing import random_bits

_ORDER_STREAM = 202


@dataclass(frozen=True, eq=False)
class EpochPlan:
    """The samples of one process in one epoch.

    Attributes:
        order: Positions in the split, int64 (M,).
        bounds: Where in ``order`` each batch starts, and where the last one ends.
        seed: The seed of the views.
        epoch: The epoch, from 0.

    Example:
        >>> plan = Schedule(5, batch_size=2).plan(0)
        >>> plan.order, plan.bounds
        (tensor([0, 1, 2, 3, 4]), (0, 2, 4, 5))
    """

    order: Tensor
    bounds: tuple[int, ...]
    seed: int
    epoch: int


class Plans(Protocol):
    """Which samples each batch of an epoch has: :class:`Schedule`, or one with samples of several kinds."""

    @property
    def bounds(self) -> tuple[int, ...]:
        """Where each batch of an epoch starts, and where the last one ends."""

    def plan(self, epoch: int, *, device: torch.device | str = "cpu") -> EpochPlan:
        """Return the samples of this process in one epoch."""


@dataclass(frozen=True)
class Schedule:
    """How epochs take the samples of a split; see :class:`limbeck.data.Views` for the settings.

    Args:
        count: The number of samples in the split.
        batch_size: How many of them a batch holds.
        shuffle: Whether every epoch has its own order.
        seed: The run's seed, of the order.
        drop_last: Whether a last batch of fewer samples is left out.
        rank: Which of the data-parallel processes this is.
        world_size: How many there are.
        view_seed: The seed of the views; None for that of the order.

    Raises:
        UserError: If a setting is out of range.

    Example:
        >>> [Schedule(5, batch_size=1, rank=rank, world_size=2).plan(0).order.tolist() for rank in (0, 1)]
        [[0, 2, 4], [1, 3]]
    """

    count: int
    batch_size: int
    shuffle: bool = False
    seed: int = 0
    drop_last: bool = False
    rank: int = 0
    world_size: int = 1
    view_seed: int | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UserError(f"batch_size: got {self.batch_size}, expected a whole number of at least 1")
        if not 0 <= self.rank < self.world_size:
            raise UserError(f"rank: got {self.rank} of {self.world_size} processes, expected 0 to world_size - 1")
        if self.drop_last and self.batch_size > self.part:
            expected = f"expected at most the {self.part} images there are"
            raise UserError(f"batch_size: got {self.batch_size} with drop_last, {expected}")

    @property
    def part(self) -> int:
        """The number of samples of an epoch that are this process's own."""
        own = len(range(self.rank, self.count, self.world_size))
        if not self.shuffle:
            return own
        # Processes that train take the same number of steps: none may be without a sample in the last one.
        fewer_than_processes = 0 < self.count % (self.batch_size * self.world_size) < self.world_size
        every = -(-self.count // self.world_size) if fewer_than_processes else own
        return self.count // self.world_size if self.drop_last else every

    @property
    def bounds(self) -> tuple[int, ...]:
        """Where each batch of an epoch starts, and where the last one ends."""
        whole = self.part // self.batch_size * self.batch_size
        last = [] if self.drop_last or whole == self.part else [self.part]
        return (*range(0, whole + 1, self.batch_size), *last)

    def plan(self, epoch: int, *, device: torch.device | str = "cpu") -> EpochPlan:
        """Return the samples of this process in one epoch.

        Args:
            epoch: The epoch, from 0.
            device: The device of the positions.

        Example:
            >>> Schedule(5, batch_size=2, shuffle=True).plan(3).order.sort().values
            tensor([0, 1, 2, 3, 4])
        """
        order = torch.arange(self.count, device=device)
        if self.shuffle:
            order = random_bits(order, seed=self.seed, epoch=epoch, stream=_ORDER_STREAM).argsort(stable=True)
        seed = self.seed if self.view_seed is None else self.view_seed
        return EpochPlan(self._part_of(order), self.bounds, seed, epoch)

    def _part_of(self, order: Tensor) -> Tensor:
        if self.world_size == 1 or not self.part:
            return order[: self.part]
        # After the last sample come the first ones.
        places = self.rank + self.world_size * torch.arange(self.part, device=order.device)
        return order[places % self.count]
