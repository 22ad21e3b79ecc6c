"""CMKD: match the teacher's values by Pearson's correlation and its ranking by Spearman's, row by row."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from limbeck.losses._module import LossModule
from limbeck.losses._row_correlation import Bounds, distance, row_distances, row_variance, standardized
from limbeck.losses._spread import MIN_SPREAD, check_min_spread
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


def _ranks(logits: Tensor, temperature: float, bounds: Bounds) -> Tensor:
    """Return (N, C) soft ranks of standardized rows, of the same size for any C and temperature.

    A step from rank to rank is as steep as its temperature is low. In a row that varies by less than the least spread
    the temperature rises, up to 1 where there is no spread at all.
    """
    softest, sides = max(1.0, temperature), standardized(logits, bounds)
    if isinstance(bounds.spread, Tensor) or bounds.spread:
        share = (row_variance(logits) / bounds.spread**2).clamp_max(1)
        sides = sides * (temperature / (softest - (softest - temperature) * share))
    return softest / logits.shape[1] * soft_rank(sides, temperature=temperature)


def _difficulty(teacher_logits: Tensor) -> Tensor:
    log_teacher = F.log_softmax(teacher_logits, dim=1)
    return -(log_teacher.exp() * log_teacher).sum(dim=1) / math.log(max(2, teacher_logits.shape[1]))


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
        UserError: On wrong shapes or types, a temperature not above 0, a negative ``min_spread``, or a backward with
            ``create_graph=True``: Pearson's distance has its gradient in closed form, which cannot be differentiated
            again.

    References:
        Niu et al.: Efficient and Robust Knowledge Distillation from A Stronger Teacher Based on Correlation Matching,
        arXiv 2410.06561; see :func:`cmkd_loss` for what is ours.

    Example:
        >>> student, teacher = torch.tensor([[2., 1., 0., -1.]]), torch.tensor([[3., .5, .2, -2.]])
        >>> [round(part.item(), 4) for part in cmkd_parts(student, teacher)]
        [0.0348, 0.0046, 0.3573]
    """
    check_pair(student_logits, teacher_logits)
    check_temperature(temperature)
    check_temperature(rank_temperature, "rank_temperature")
    check_min_spread(min_spread)
    student, teacher = full(student_logits), full(teacher_logits.detach())
    # Probabilities shrink with C and T; no correlation sees it.
    scale = student_logits.shape[1] * max(1.0, temperature)
    bounds = Bounds(scale, _LEAST_VARIANCE, _LEAST_VALUES_NORM, min_spread)
    pearson = row_distances(student, teacher, temperature, bounds)
    ranks = [_ranks(side, rank_temperature, bounds) for side in (student, teacher)]
    spearman = distance(ranks[0], ranks[1], _LEAST_RANKS_NORM)
    return CMKDParts(pearson, spearman, _difficulty(teacher))


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
    T. Time and memory are N C^2 numbers for the ranks: meant for up to about a thousand classes (256 rows of 1000
    classes take 1 GB a tensor).

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
        UserError: On wrong shapes or types, a temperature not above 0, a negative ``min_spread``, or a backward with
            ``create_graph=True``.

    References:
        Niu et al.: Efficient and Robust Knowledge Distillation from A Stronger Teacher Based on Correlation Matching,
        arXiv 2410.06561. The paper's are the standardized logits, the two correlations and weights that follow a
        sample's difficulty; ours are the teacher's entropy as difficulty, its direction, the pairwise sigmoids as soft
        ranks, the 1e-3 added to each row's variance, what ``min_spread`` does, and all values.

    Example:
        >>> cmkd_loss(torch.tensor([[2., 1., 0., -1.]]), torch.tensor([[3., .5, .2, -2.]]))
        tensor(0.0240)
    """
    temperatures = {"temperature": temperature, "rank_temperature": rank_temperature}
    parts = cmkd_parts(student_logits, teacher_logits, **temperatures, min_spread=min_spread)
    rows = alpha * (1 - parts.difficulty) * parts.pearson + beta * parts.difficulty * parts.spearman
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
