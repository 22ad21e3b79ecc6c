"""The batches of a training with labels for a part of its samples: a share of each batch has none."""

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any, Self

import torch
from torch import Tensor

from limbeck.data.schedule import EpochPlan, Schedule
from limbeck.errors import UserError
from limbeck.randomness.hashing import random_bits

_UNLABELED_STREAM = 205


@dataclass(frozen=True)
class PartlyLabeled:
    """Which samples each batch has, where those from position ``labeled.count`` on have no labels.

    An epoch is each labeled sample once. Those without labels follow an order of their own, which runs on from epoch to
    epoch: each comes once before any comes again. An epoch is a function of (seed, epoch) alone all the same.

    Args:
        labeled: The batches of the labeled samples.
        unlabeled: How many samples have no label.
        per_batch: How many of those a whole batch has; a smaller last batch has as large a share of them.

    Raises:
        UserError: If there are none, or none a batch.

    Example:
        >>> schedule = PartlyLabeled(Schedule(4, batch_size=2), unlabeled=3, per_batch=1)
        >>> plan = schedule.plan(0)
        >>> plan.bounds, [int((part >= 4).sum()) for part in (plan.order[:3], plan.order[3:])]
        ((0, 3, 6), [1, 1])
    """

    labeled: Schedule
    unlabeled: int
    per_batch: int

    def __post_init__(self) -> None:
        if self.unlabeled < 1 or self.per_batch < 1:
            got = f"{self.unlabeled} and {self.per_batch} a batch"
            raise UserError(f"unlabeled samples: got {got}, expected at least one of each")

    @classmethod
    def of_share(cls, labeled: int, unlabeled: int, batch_size: int, share: float, **options: Any) -> Self:
        """Divide batches between samples with and without labels.

        Args:
            labeled: How many samples have labels.
            unlabeled: How many have none.
            batch_size: How many samples of both kinds a batch holds, in each process.
            share: The share of a batch that has none, in (0, 1); of each kind a batch has at least one.
            **options: Further arguments of :class:`limbeck.data.schedule.Schedule`, such as ``shuffle``.

        Raises:
            UserError: If a batch is too small for both.

        Example:
            >>> PartlyLabeled.of_share(400, 3600, 64, 0.75).labeled.batch_size
            16
        """
        if batch_size < 2:
            raise UserError(f"training.batch_size: got {batch_size} with data.unlabeled, expected at least 2")
        per_batch = min(max(int(share * batch_size + 0.5), 1), batch_size - 1)
        return cls(Schedule(labeled, batch_size - per_batch, **options), unlabeled, per_batch)

    @cached_property
    def _counts(self) -> list[int]:
        """How many samples without a label each batch has."""
        sizes = [end - start for start, end in pairwise(self.labeled.bounds)]
        return [max(1, int(size * self.per_batch / self.labeled.batch_size + 0.5)) for size in sizes]

    @property
    def bounds(self) -> tuple[int, ...]:
        """Where each batch of an epoch starts, and where the last one ends."""
        ends = accumulate(self._counts, initial=0)
        return tuple(start + more for start, more in zip(self.labeled.bounds, ends, strict=True))

    def plan(self, epoch: int, *, device: torch.device | str = "cpu") -> EpochPlan:
        """Return the samples of this process in one epoch.

        Args:
            epoch: The epoch, from 0.
            device: The device of the positions.
        """
        plan = self.labeled.plan(epoch, device=device)
        with_labels = [plan.order[start:end] for start, end in pairwise(plan.bounds)]
        without = torch.tensor_split(
            self.labeled.count + self._unlabeled(epoch, device), list(accumulate(self._counts))[:-1]
        )
        order = [part for pair in zip(with_labels, without, strict=True) for part in pair]
        return EpochPlan(torch.cat(order) if order else plan.order[:0], self.bounds, plan.seed, epoch)

    def _unlabeled(self, epoch: int, device: torch.device | str) -> Tensor:
        """Return positions among the samples without labels, int64 (sum of the counts,)."""
        count, rank, processes = sum(self._counts), self.labeled.rank, self.labeled.world_size
        places = rank + processes * (epoch * count + torch.arange(count, device=device))
        rounds = places // self.unlabeled
        drawn = torch.empty_like(places)
        for turn in sorted(set(rounds.tolist())):
            here = rounds == turn
            drawn[here] = self._order(turn, device)[places[here] % self.unlabeled]
        return drawn

    def _order(self, turn: int, device: torch.device | str) -> Tensor:
        positions = torch.arange(self.unlabeled, device=device)
        if not self.labeled.shuffle:
            return positions
        return random_bits(positions, seed=self.labeled.seed, epoch=turn, stream=_UNLABELED_STREAM).argsort(stable=True)
