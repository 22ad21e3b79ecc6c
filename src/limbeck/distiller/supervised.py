"""Which rows of a batch the teacher supervises, how much each counts, and what their losses are divided by."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from limbeck.rows import GroundTruth, Rows, full


@dataclass(frozen=True, eq=False)
class SupervisedRows:
    """The rows of a head, as its losses against the teacher count them.

    Attributes:
        rows: The student's rows.
        truth: Their labels.
        selected: (R,) which of them the teacher supervises, bool, or how much it counts for each; None for all alike.
        by_all: Whether losses of the selected rows are divided by all rows, not by the selected ones.
        total: What sums over rows are divided by, instead of their number.
        factor: What every loss against the teacher is multiplied by.

    Example:
        >>> from limbeck.rows import ground_truth
        >>> rows = Rows(torch.zeros(4, 3), torch.tensor([0, 1, 2, -100]))
        >>> truth = ground_truth(rows.labels, rows.logits)
        >>> supervised = SupervisedRows(rows, truth, torch.tensor([True, False, False, True]))
        >>> supervised.weight_for(nn.Identity())
        tensor([ True, False, False,  True])
    """

    rows: Rows
    truth: GroundTruth
    selected: Tensor | None = None
    by_all: bool = False
    total: Tensor | float | None = None
    factor: Tensor | float = 1.0

    @property
    def _dtype(self) -> torch.dtype:
        return full(self.rows.logits[:0]).dtype

    def weight_for(self, loss: nn.Module, *, needs_labels: bool = False) -> Tensor | None:
        """Return (R,) how much each row counts in a loss; None for all alike.

        Args:
            loss: Its ``needs_labels`` leaves out the rows without a label.
            needs_labels: Whether the teacher's logits need the labels.
        """
        weight = self.selected if self.rows.weight is None else self.rows.weight
        if self.rows.weight is not None and self.selected is not None:
            weight = self.selected.to(self._dtype) * self.rows.weight
        labeled = self.truth.labeled
        if labeled is None or not (needs_labels or getattr(loss, "needs_labels", False)):
            return weight
        return labeled if weight is None else weight * labeled

    def share(self, weight: Tensor | None) -> Tensor | float:
        """Return the factor of a loss that divides by the weights of its rows, so that it is divided by the right sum.

        Args:
            weight: The weights in the loss, from :meth:`weight_for`.
        """
        if self.total is None and not self.by_all:
            return 1.0
        count, row_weight = len(self.truth.classes), self.rows.weight
        whole: Tensor | float = max(count, 1) if row_weight is None else row_weight.to(self._dtype).sum()
        divisor = whole if self.total is None else self.total
        if self.selected is not None and not self.by_all:
            # The selected rows take the weight of all.
            return whole / divisor
        return (count if weight is None else weight.to(self._dtype).sum()) / divisor

    def count(self, weight: Tensor | None, *, of_mean: bool = False) -> Tensor:
        """Return what a loss times its share is divided by, a scalar: the number of its rows, or their weights' sum.

        Args:
            weight: The weights in the loss, from :meth:`weight_for`.
            of_mean: Of the loss as it is, without its share.
        """
        row_weight = weight if of_mean or not self.by_all else self.rows.weight
        if row_weight is None:
            return torch.tensor(float(len(self.truth.classes)), device=self.rows.logits.device)
        return row_weight.to(self._dtype).sum()
