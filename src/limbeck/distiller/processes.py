"""Losses that are means over the rows of all processes, whatever each of them has."""

from collections.abc import Mapping

import torch
from torch import Tensor

from limbeck.losses.gather import gather_rows
from limbeck.ranks import are_several, rank, summed, world_size
from limbeck.rows import Rows, full, ground_truth


def over_all_processes(parts: Mapping[str, Tensor], counts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weigh the means of this process, so that their averages over the processes are means over all rows.

    Args:
        parts: Losses by name.
        counts: What those that are means over rows are divided by; the others stay as they are. All processes have the
            same names.

    Returns:
        The losses by name. Averaged over the processes, as gradients are in data-parallel training, each is what one
        process with all rows has.

    Example:
        >>> over_all_processes({"ce": torch.tensor(2.0)}, {"ce": torch.tensor(8.0)})
        {'ce': tensor(2.)}
    """
    names = [name for name in parts if name in counts]
    if not names or not are_several():
        return dict(parts)
    own = torch.stack([counts[name].detach().to(parts[name].dtype) for name in names])
    total = summed(own)
    factors = world_size() * own / torch.where(total > 0, total, 1)
    return {**parts, **{name: parts[name] * factor for name, factor in zip(names, factors, strict=True)}}


def labeled_count(rows: Rows) -> Tensor:
    """Return what the cross-entropy of rows is divided by, a scalar: how many have labels, or their weights' sum.

    Example:
        >>> labeled_count(Rows(torch.zeros(3, 2), torch.tensor([0, -100, 1])))
        tensor(2.)
    """
    labeled = ground_truth(rows.labels, rows.logits).labeled
    counted = full(rows.logits).new_ones(len(rows.logits)) if labeled is None else labeled.to(full(rows.logits).dtype)
    return (counted if rows.weight is None else counted * rows.weight).sum()


class Gathered:
    """Rows of all processes, and which of them are this one's.

    Args:
        rows: (N, ...) any column of this process's rows.

    Example:
        >>> gathered = Gathered(torch.arange(3))
        >>> gathered.all(torch.arange(3)), gathered.own(torch.tensor([5, 6, 7]))
        (tensor([0, 1, 2]), tensor([5, 6, 7]))
    """

    def __init__(self, rows: Tensor) -> None:
        own = torch.tensor([len(rows)], device=rows.device)
        counts = gather_rows(own).tolist()
        start = sum(counts[: rank()]) if are_several() else 0
        self._own = slice(start, start + len(rows))

    def all(self, rows: Tensor) -> Tensor:
        """Return (sum of N, ...) the rows of all processes, without a gradient."""
        return gather_rows(rows.detach())

    def own(self, rows: Tensor) -> Tensor:
        """Return this process's part of the rows of all."""
        return rows[self._own]
