"""From scores to the rows that the teacher supervises."""

from fractions import Fraction

import torch
from torch import Tensor

from limbeck.errors import UserError
from limbeck.rows import whole_numbers


def choose(scores: Tensor, ratio: float, *, labels: Tensor | None = None) -> Tensor:
    """Keep the share of rows with the highest scores.

    The kept number is ``ratio`` of the rows, rounded half up and at least one; with ``labels`` that holds in each class
    on its own, so that every class keeps a row. Equal scores go to the earlier row, and NaN ranks below every number.
    Nothing is read back from an accelerator, with or without labels.

    Args:
        scores: (N,) floats, higher is better.
        ratio: The share to keep, in ``(0, 1]``.
        labels: (N,) whole numbers, the class of each row; ``None`` ranks all rows together.

    Returns:
        (N,) bool mask, true for the kept rows (all false only when N is 0).

    Raises:
        UserError: A wrong shape or type, or a ratio outside ``(0, 1]``.

    Example:
        >>> choose(torch.tensor([0.1, 0.9, 0.5, 0.9]), 0.5)
        tensor([False,  True, False,  True])
        >>> choose(torch.tensor([0.1, 0.9, 0.5, 0.9]), 0.5, labels=torch.tensor([0, 1, 0, 1]))
        tensor([False,  True,  True, False])
    """
    above, below = _share(ratio)
    _check(scores, labels)
    if labels is None:
        return _first(_by_score(scores), _kept(len(scores), above, below))
    rank, count = _rank_within_class(scores, labels)
    return torch.lt(rank, ((2 * above * count + below) // (2 * below)).clamp(min=1))


def choose_stratified(scores: Tensor, ratio: float, labels: Tensor) -> Tensor:
    """Keep an exact share of a few rows, drawn from every class as evenly as that allows.

    For batches: with hardly more rows than classes, :func:`choose` would keep almost all of them, since every class
    there keeps at least one. Here the total is exact, and a row's place in its class, ``(rank + 1/2) / class size``,
    decides; equal places go to the higher score, then to the earlier row. Many rows of each class give what
    :func:`choose` gives, and one row of each class a plain ranking.

    Args:
        scores: (N,) floats, higher is better; NaN ranks below every number.
        ratio: The share to keep, in ``(0, 1]``; the number is rounded half up and at least one.
        labels: (N,) whole numbers, the class of each row.

    Returns:
        (N,) bool mask, true for the kept rows.

    Raises:
        UserError: A wrong shape or type, or a ratio outside ``(0, 1]``.

    Example:
        >>> choose_stratified(torch.tensor([0.9, 0.8, 0.2, 0.1]), 0.5, torch.tensor([0, 0, 1, 1]))
        tensor([ True, False,  True, False])
        >>> choose_stratified(torch.tensor([0.9, 0.8, 0.2, 0.1]), 0.5, torch.tensor([0, 1, 2, 3]))
        tensor([ True,  True, False, False])
    """
    above, below = _share(ratio)
    _check(scores, labels)
    rank, count = _rank_within_class(scores, labels)
    order = _by_score(scores)
    # One division of small whole numbers is correctly rounded, so equal places compare equal.
    place = ((2 * rank + 1) / (2 * count))[order]
    return _first(order[place.argsort(stable=True)], _kept(len(scores), above, below))


def _check(scores: Tensor, labels: Tensor | None) -> None:
    if scores.ndim != 1 or not scores.is_floating_point():
        raise UserError(f"scores: got {tuple(scores.shape)} {scores.dtype}, expected floats of shape (N,)")
    if labels is not None:
        whole_numbers(labels, "labels", len(scores))


# A compiler cannot follow fractions.
@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _share(ratio: float) -> tuple[int, int]:
    if not 0 < ratio <= 1:
        raise UserError(f"ratio: got {ratio}, expected a number above 0 and at most 1")
    # As the decimal fraction that was written: 0.145 of 100 rows is 14.5, which the binary number falls short of.
    return Fraction(str(float(ratio))).limit_denominator(10**6).as_integer_ratio()


def _kept(rows: int, above: int, below: int) -> int:
    return min(rows, max(1, (2 * above * rows + below) // (2 * below)))


def _by_score(scores: Tensor) -> Tensor:
    # torch sorts NaN above everything, and topk does not keep the order of equal scores.
    return torch.where(scores.isnan(), -torch.inf, scores).argsort(descending=True, stable=True)


def _first(order: Tensor, number: int) -> Tensor:
    return torch.zeros_like(order, dtype=torch.bool).index_fill_(0, order[:number], True)


def _rank_within_class(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Each row's place among its class by falling score, from 0, and the size of its class, both (N,)."""
    order = _by_score(scores)
    order = order[labels[order].argsort(stable=True)]
    grouped = labels[order].contiguous()
    start = torch.searchsorted(grouped, grouped)
    end = torch.searchsorted(grouped, grouped, right=True)
    position = torch.arange(len(order), device=order.device)
    rank, count = torch.empty_like(order), torch.empty_like(order)
    return rank.scatter_(0, order, position - start), count.scatter_(0, order, end - start)
