"""Padded batches of token ids."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from limbeck.data.batch import Batch
from limbeck.data.schedule import EpochPlan
from limbeck.data.text.augment import TokenAugment
from limbeck.data.text.token_set import TextSet

Padding = Literal["longest", "fixed"]


@dataclass(frozen=True)
class TextBatches:
    """A split whose texts lie on the device of the training and are padded there, a batch at a time.

    Attributes:
        split: The texts, on that device.
        padding_index: The token id that fills a row up.
        padding: Whether a batch is as wide as its ``longest`` text (before tokens are dropped), or ``fixed``: as wide
            as the longest text may be.
        augment: How the texts are varied.

    Example:
        >>> from limbeck.data.schedule import Schedule
        >>> split = TextSet.of([[2, 7, 3], [2, 8, 9, 3]], [[True, False, True], [True, False, False, True]], [0, 1], 8)
        >>> batch = next(TextBatches(split, 0).batches(Schedule(2, batch_size=2).plan(0)))
        >>> batch.inputs["input_ids"]
        tensor([[2, 7, 3, 0],
                [2, 8, 9, 3]])
    """

    split: TextSet
    padding_index: int
    padding: Padding = "longest"
    augment: TokenAugment = field(default_factory=TokenAugment)

    @property
    def order_device(self) -> torch.device:
        """Where :meth:`batches` needs the order of its plan."""
        return self.split.labels.device

    def batches(self, plan: EpochPlan) -> Iterator[Batch]:
        """Yield the batches of one epoch; inputs are ``input_ids`` and ``attention_mask``, both int64 (B, L)."""
        widths = self._widths(plan)
        for (start, end), width in zip(pairwise(plan.bounds), widths, strict=True):
            rows = plan.order[start:end]
            yield Batch(self._padded(rows, width, plan), self.split.labels[rows], rows)

    def _widths(self, plan: EpochPlan) -> list[int]:
        spans = [*pairwise(plan.bounds)]
        if self.padding == "fixed":
            return [self.split.max_length] * len(spans)
        lengths = self.split.lengths[plan.order]
        # Read once an epoch, so that an accelerator is not waited for at every batch.
        longest: list[int] = torch.stack([lengths[start:end].amax() for start, end in spans]).tolist() if spans else []
        return longest

    def _padded(self, rows: Tensor, width: int, plan: EpochPlan) -> dict[str, Tensor]:
        starts, lengths = self.split.offsets[rows], self.split.lengths[rows]
        steps = torch.arange(width, device=rows.device)
        filled = steps < lengths.view(-1, 1)
        places = (starts.view(-1, 1) + steps).where(filled, 0)
        if self.augment.drop:
            added = self.split.added[places] & filled
            kept = self.augment.kept(rows, filled & ~added, seed=plan.seed, epoch=plan.epoch) | added
            # What stays moves to the left, in its order.
            places = places.gather(1, (~kept).to(torch.int8).argsort(dim=1, stable=True))
            filled = steps < kept.sum(dim=1, keepdim=True)
        tokens = self.split.tokens[places].where(filled, self.padding_index)
        return {"input_ids": tokens, "attention_mask": filled.long()}


def on_device(split: TextSet, device: torch.device | str) -> TextSet:
    """Return a split whose tensors are on a device.

    Example:
        >>> on_device(TextSet.of([[2, 3]], [[True, False]], [0], 8), "cpu").labels
        tensor([0])
    """
    parts = ("tokens", "added", "offsets", "labels")
    return replace(split, **{name: getattr(split, name).to(device) for name in parts})
