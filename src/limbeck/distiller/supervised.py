"""Which rows of a batch the teacher supervises, how much each counts, and what their losses are divided by."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from limbeck.rows import GroundTruth, Rows, full
from limbeck.selection import Selection


@dataclass(frozen=True, eq=False)
class SupervisedRows:
    """The rows of a head, as its losses against the teacher count them.

    Attributes:
        truth: Their labels.
        selected: (R,) bool, which of them the teacher supervises; None for all.
        weight: (R,) how much each row counts in every loss; None for all alike.
        by_all: Whether losses of the selected rows are divided by all rows, not by the selected ones.
        total: What sums over rows are divided by, instead of their number.
        dtype: Of the losses.

    Example:
        >>> from limbeck.rows import ground_truth
        >>> rows = Rows(torch.zeros(4, 3), torch.tensor([0, 1, 2, -100]))
        >>> truth = ground_truth(rows.labels, rows.logits)
        >>> supervised = SupervisedRows.of(rows, truth, torch.tensor([True, False, False, True]), None, None)
        >>> supervised.weight_for(nn.Identity())
        tensor([ True, False, False,  True])
    """

    truth: GroundTruth
    selected: Tensor | None
    weight: Tensor | None
    by_all: bool
    total: Tensor | float | None
    dtype: torch.dtype

    @classmethod
    def of(
        cls,
        rows: Rows,
        truth: GroundTruth,
        selected: Tensor | None,
        selection: Selection | None,
        total: Tensor | float | None,
    ) -> "SupervisedRows":
        """Collect what is known of a head's rows.

        Args:
            rows: The rows.
            truth: Their labels.
            selected: (R,) bool, the selected ones; None for all.
            selection: The method's selection, which holds what losses are divided by.
            total: What sums over rows are divided by, instead of their number.
        """
        by_all = selected is not None and selection is not None and selection.divide_by == "all"
        return cls(truth, selected, rows.weight, by_all, total, full(rows.logits[:0]).dtype)

    def weight_for(self, loss: nn.Module, *, needs_labels: bool = False) -> Tensor | None:
        """Return (R,) how much each row counts in a loss; None for all alike.

        Args:
            loss: Its ``needs_labels`` leaves out the rows without a label.
            needs_labels: Whether the teacher's logits need the labels.
        """
        weight = self.selected if self.weight is None else self.weight
        if self.weight is not None and self.selected is not None:
            weight = self.selected.to(self.dtype) * self.weight
        labeled = self.truth.labeled
        if labeled is None or not (needs_labels or getattr(loss, "needs_labels", False)):
            return weight
        return labeled if weight is None else weight * labeled

    def share(self, weight: Tensor | None) -> Tensor | float:
        """Return what a loss that divides by the weights of its rows is multiplied by, to be divided as asked for.

        Args:
            weight: What the loss was given, from :meth:`weight_for`.
        """
        if self.total is None and not self.by_all:
            return 1.0
        rows = len(self.truth.classes)
        everything: Tensor | float = max(rows, 1) if self.weight is None else self.weight.to(self.dtype).sum()
        divisor = everything if self.total is None else self.total
        if self.selected is not None and not self.by_all:
            # The selected rows take the weight of all.
            return everything / divisor
        return (rows if weight is None else weight.to(self.dtype).sum()) / divisor
