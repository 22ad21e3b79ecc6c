"""CMKD: match the teacher's values by Pearson's correlation and its ranking by Spearman's, row by row."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from limbeck.losses._blocks import row_wise
from limbeck.losses.modules import LossModule
from limbeck.losses.spread import MIN_SPREAD, check_min_spread
from limbeck.rows import check_pair, check_temperature, full, row_mean

# Added to each row's variance, so that a row without any spread has no infinite gradient at ``min_spread=0`` either.
_LEAST_VARIANCE = 1e-3
# Standardized rows have norms above these, as they are scaled: of softened values at any temperature, and of soft
# ranks. Only rows whose standardized spread is below 1, those bounded by ``min_spread``, fall below them.
_LEAST_VALUES_NORM, _LEAST_RANKS_NORM = 1.0, 0.25


class CMKDParts(NamedTuple):
    """(N,) correlation distances of [0, 2], and (N,) the difficulty of each row, in [0, 1]."""

    pearson: Tensor
    spearman: Tensor
    difficulty: Tensor


def soft_rank(values: Tensor, *, temperature: float = 0.1) -> Tensor:
    r"""Rank the values of each row smoothly: :math:`r_j = \frac{1}{2} + \sum_k \sigma((x_j - x_k) / \tau)`.

    For a small tau these are the ranks from 1 for the least value to C for the greatest, ties sharing the mean of their
    ranks; for a large one they become an affine map of the values. Time and memory are N C^2 numbers, all at once.

    Args:
        values: (N, C) float values.
        temperature: tau, in units of the values; pairs much further apart than it give no gradient.

    Returns:
        (N, C) ranks in (0.5, C + 0.5); each row sums to C (C + 1) / 2.

    Raises:
        UserError: If the temperature is not above 0.

    Example:
        >>> soft_rank(torch.tensor([[3., 1., 2., 2.]]), temperature=0.01)
        tensor([[4.0000, 1.0000, 2.5000, 2.5000]])
    """
    check_temperature(temperature)
    return 0.5 + torch.sigmoid((values[:, :, None] - values[:, None, :]) / temperature).sum(dim=2)


def _variance(logits: Tensor) -> Tensor:
    return (logits - logits.mean(dim=1, keepdim=True)).square().mean(dim=1, keepdim=True)


def _standardized(logits: Tensor, min_spread: Tensor | float) -> Tensor:
    """Bring each row of (N, C) logits to mean 0 and variance 1, but for what the bounds add."""
    variance = _variance(logits).clamp_min(min_spread**2)
    return (logits - logits.mean(dim=1, keepdim=True)) * torch.rsqrt(variance + _LEAST_VARIANCE)


def _distance(student: Tensor, teacher: Tensor, least_norm: float) -> Tensor:
    """Return (N,) one minus the correlation of each row of two (N, C) tensors, their norms bounded from below."""
    student, teacher = (side - side.mean(dim=1, keepdim=True) for side in (student, teacher))
    norms = [torch.linalg.vector_norm(side, dim=1).clamp_min(least_norm) for side in (student, teacher)]
    correlation: Tensor = (student * teacher).sum(dim=1) / (norms[0] * norms[1])
    return 1 - correlation


def _ranks(logits: Tensor, temperature: float, min_spread: Tensor | float) -> Tensor:
    """Return (N, C) soft ranks of standardized rows, of the same size for any C and temperature.

    A step from rank to rank is as steep as its temperature is low. In a row that varies by less than the least spread
    the temperature rises, up to 1 where there is no spread at all.
    """
    softest, sides = max(1.0, temperature), _standardized(logits, min_spread)
    if isinstance(min_spread, Tensor) or min_spread:
        share = (_variance(logits) / min_spread**2).clamp_max(1)
        sides = sides * (temperature / (softest - (softest - temperature) * share))
    return softest / logits.shape[1] * soft_rank(sides, temperature=temperature)


def _difficulty(teacher_logits: Tensor) -> Tensor:
    log_teacher = F.log_softmax(teacher_logits, dim=1)
    return -(log_teacher.exp() * log_teacher).sum(dim=1) / math.log(max(2, teacher_logits.shape[1]))


def _parts(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float,
    rank_temperature: float,
    min_spread: Tensor | float,
) -> CMKDParts:
    sides = full(student_logits), full(teacher_logits)
    # Probabilities shrink with C and T; no correlation sees it.
    scale = student_logits.shape[1] * max(1.0, temperature)
    values = [scale * F.softmax(_standardized(side, min_spread) / temperature, dim=1) for side in sides]
    ranks = [_ranks(side, rank_temperature, min_spread) for side in sides]
    pearson = _distance(values[0], values[1], _LEAST_VALUES_NORM)
    spearman = _distance(ranks[0], ranks[1], _LEAST_RANKS_NORM)
    return CMKDParts(pearson, spearman, _difficulty(sides[1]))


def _rows(student_logits: Tensor, teacher_logits: Tensor, alpha: float, beta: float, **settings: Any) -> Tensor:
    pearson, spearman, difficulty = _parts(student_logits, teacher_logits, **settings)
    return alpha * (1 - difficulty) * pearson + beta * difficulty * spearman


def _check(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float,
    rank_temperature: float,
    min_spread: Tensor | float,
) -> None:
    check_pair(student_logits, teacher_logits)
    check_temperature(temperature)
    check_temperature(rank_temperature, "rank_temperature")
    check_min_spread(min_spread)


def cmkd_parts(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 4.0,
    rank_temperature: float = 0.1,
    min_spread: Tensor | float = MIN_SPREAD,
) -> CMKDParts:
    """Compute what :func:`cmkd_loss` adds up, for each row.

    Args:
        student_logits: (N, C) float logits.
        teacher_logits: (N, C) float logits; they receive no gradient.
        temperature: Softens the standardized logits of both sides before Pearson's correlation; greater than 0.
        rank_temperature: How far apart standardized logits must be to have different ranks; greater than 0.
        min_spread: The least deviation that a row of logits is divided by; below it the ranks are softer too, so that
            the gradient is bounded. 0 for none.

    Returns:
        Pearson's and Spearman's distances and the difficulty. A row of a side whose logits are all alike is at distance
        1. With two classes the correlations of rows that vary enough are 1 or -1, without gradient.

    Raises:
        UserError: On wrong shapes or types, a temperature not above 0, or a negative ``min_spread``.

    References:
        Niu et al.: Efficient and Robust Knowledge Distillation from A Stronger Teacher Based on Correlation Matching,
        arXiv 2410.06561; see :func:`cmkd_loss` for what is ours.

    Example:
        >>> student, teacher = torch.tensor([[2., 1., 0., -1.]]), torch.tensor([[3., .5, .2, -2.]])
        >>> [round(part.item(), 4) for part in cmkd_parts(student, teacher)]
        [0.0348, 0.0046, 0.3573]
    """
    _check(student_logits, teacher_logits, temperature, rank_temperature, min_spread)
    return _parts(student_logits, teacher_logits.detach(), temperature, rank_temperature, min_spread)


def cmkd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 4.0,
    rank_temperature: float = 0.1,
    alpha: float = 1.0,
    beta: float = 1.0,
    min_spread: Tensor | float = MIN_SPREAD,
    weight: Tensor | None = None,
) -> Tensor:
    r"""Match values where the teacher is certain, and the ranking of classes where it is not.

    .. math:: \frac{1}{N} \sum_i \alpha \, (1 - h_i) \, d_P(p^s_i, p^t_i) + \beta \, h_i \, d_S(\tilde z^s_i,
        \tilde z^t_i)

    :math:`\tilde z` are the logits standardized to zero mean and unit variance in each row, p the softmax of
    :math:`\tilde z / T`, :math:`d_P` Pearson's correlation distance, :math:`d_S` Pearson's between soft ranks, which is
    Spearman's, and h the teacher's entropy at temperature 1 over log C. Standardized logits and correlations make the
    loss blind to the scale of the logits; there is no factor T^2 because a correlation's gradient does not shrink with
    T. The ranks take a time of N C^2, and that much memory for a block of rows at a time: meant for up to about a
    thousand classes.

    Args:
        student_logits: (N, C) float logits.
        teacher_logits: (N, C) float logits; they receive no gradient.
        temperature: Softens the standardized logits of both sides before Pearson's correlation; greater than 0.
        rank_temperature: How far apart standardized logits must be to have different ranks; greater than 0.
        min_spread: The least deviation that a row of logits is divided by; below it the ranks are softer too, so that
            the gradient is bounded. 0 for none.
        alpha: Weight of Pearson's distance.
        beta: Weight of Spearman's distance.
        weight: (N,) how much each row counts (a boolean mask will do), or None for all alike.

    Returns:
        A scalar, 0 where each row of the student is a positive affine map of its teacher's, or no row counts.

    Raises:
        UserError: On wrong shapes or types, a temperature not above 0, or a negative ``min_spread``.

    References:
        Niu et al.: Efficient and Robust Knowledge Distillation from A Stronger Teacher Based on Correlation Matching,
        arXiv 2410.06561. The paper's are the standardized logits, the two correlations and weights that follow a
        sample's difficulty; ours are the teacher's entropy as difficulty, its direction, the pairwise sigmoids as soft
        ranks, the 1e-3 added to each row's variance, what ``min_spread`` does, and all values.

    Example:
        >>> cmkd_loss(torch.tensor([[2., 1., 0., -1.]]), torch.tensor([[3., .5, .2, -2.]]))
        tensor(0.0240)
    """
    _check(student_logits, teacher_logits, temperature, rank_temperature, min_spread)
    settings = {"temperature": temperature, "rank_temperature": rank_temperature, "min_spread": min_spread}
    factors, width = {"alpha": alpha, "beta": beta}, student_logits.shape[1]
    rows = row_wise(_rows, student_logits, teacher_logits.detach(), width=width, **factors, **settings)
    return row_mean(rows, weight)


class CMKDLoss(LossModule):
    """The module twin of :func:`cmkd_loss`.

    Example:
        >>> CMKDLoss()(torch.tensor([[2., 1., 0., -1.]]), torch.tensor([[3., .5, .2, -2.]]))
        tensor(0.0240)
    """

    def __init__(
        self,
        *,
        temperature: float = 4.0,
        rank_temperature: float = 0.1,
        alpha: float = 1.0,
        beta: float = 1.0,
        min_spread: Tensor | float = MIN_SPREAD,
    ) -> None:
        check_temperature(temperature)
        check_temperature(rank_temperature, "rank_temperature")
        check_min_spread(min_spread)
        temperatures = {"temperature": temperature, "rank_temperature": rank_temperature}
        super().__init__(cmkd_loss, **temperatures, alpha=alpha, beta=beta, min_spread=min_spread)
