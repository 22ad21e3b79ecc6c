"""CMKD: match the teacher's values by Pearson's correlation and its ranking by Spearman's, row by row."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from limbeck.losses._module import LossModule
from limbeck.losses._row_correlation import Bounds, distance, row_distances
from limbeck.losses._rows import check_pair, check_temperature, full, row_mean

# Rows all but constant, such as an untrained head's, have no correlation: a floor of the variance of logits and one of
# the norm of centred rows give them distance 1 and a moderate gradient. Trained logits are far above the first, and
# both kinds of rows that are correlated are scaled to be above the second.
_LEAST_VARIANCE = 1e-3
_LEAST_NORM = 0.1


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


def _difficulty(teacher_logits: Tensor) -> Tensor:
    log_teacher = F.log_softmax(teacher_logits, dim=1)
    return -(log_teacher.exp() * log_teacher).sum(dim=1) / math.log(max(2, teacher_logits.shape[1]))


def cmkd_parts(
    student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 4.0, rank_temperature: float = 0.1
) -> CMKDParts:
    """Compute what :func:`cmkd_loss` adds up, for each row.

    Args:
        student_logits: (N, C) float logits.
        teacher_logits: (N, C) float logits; they receive no gradient.
        temperature: Softens the standardised logits of both sides before Pearson's correlation; greater than 0.
        rank_temperature: How far apart standardised logits must be to have different ranks; greater than 0.

    Returns:
        Pearson's and Spearman's distances and the difficulty. A row of a side whose logits are all alike is at distance
        1. With two classes the correlations are always 1 or -1, so the gradients vanish.

    Raises:
        UserError: On wrong shapes or types, a temperature not above 0, or a backward with ``create_graph=True``:
            Pearson's distance has its gradient in closed form, which cannot be differentiated again.

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
    classes = student_logits.shape[1]
    student, teacher = full(student_logits), full(teacher_logits.detach())
    # Probabilities shrink with C and T, ranks grow with C and shrink with their temperature; no correlation sees it.
    scale, rank_scale = classes * max(1.0, temperature), max(1.0, rank_temperature) / classes
    pearson = row_distances(student, teacher, temperature, Bounds(scale, _LEAST_VARIANCE, _LEAST_NORM))
    sides = [F.layer_norm(side, (classes,), eps=_LEAST_VARIANCE) for side in (student, teacher)]
    one, other = (rank_scale * soft_rank(side, temperature=rank_temperature) for side in sides)
    spearman = distance(one, other, _LEAST_NORM)
    return CMKDParts(pearson, spearman, _difficulty(teacher))


def cmkd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 4.0,
    rank_temperature: float = 0.1,
    alpha: float = 1.0,
    beta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    r"""Match values where the teacher is certain, and the ranking of classes where it is not.

    .. math:: \frac{1}{N} \sum_i \alpha \, (1 - h_i) \, d_P(p^s_i, p^t_i) + \beta \, h_i \, d_S(\tilde z^s_i,
        \tilde z^t_i)

    :math:`\tilde z` are the logits standardised to zero mean and unit variance in each row, p the softmax of
    :math:`\tilde z / T`, :math:`d_P` Pearson's correlation distance, :math:`d_S` Pearson's between soft ranks, which is
    Spearman's, and h the teacher's entropy at temperature 1 over log C. Standardised logits and correlations make the
    loss blind to the scale of the logits; there is no factor T^2 because a correlation's gradient does not shrink with
    T. Time and memory are N C^2 numbers for the ranks: meant for up to about a thousand classes (256 rows of 1000
    classes take 1 GB a tensor).

    Args:
        student_logits: (N, C) float logits.
        teacher_logits: (N, C) float logits; they receive no gradient.
        temperature: Softens the standardised logits of both sides before Pearson's correlation; greater than 0.
        rank_temperature: How far apart standardised logits must be to have different ranks; greater than 0.
        alpha: Weight of Pearson's distance.
        beta: Weight of Spearman's distance.
        weight: (N,) how much each row counts (a boolean mask will do), or None for all alike.

    Returns:
        A scalar, 0 where each row of the student is a positive affine map of its teacher's, or no row counts.

    Raises:
        UserError: On wrong shapes or types, a temperature not above 0, or a backward with ``create_graph=True``.

    References:
        Niu et al.: Efficient and Robust Knowledge Distillation from A Stronger Teacher Based on Correlation Matching,
        arXiv 2410.06561. The paper's are the standardised logits, the two correlations and weights that follow a
        sample's difficulty; ours are the teacher's entropy as difficulty, its direction, the pairwise sigmoids as soft
        ranks, the 1e-3 added to each row's variance, and all values.

    Example:
        >>> cmkd_loss(torch.tensor([[2., 1., 0., -1.]]), torch.tensor([[3., .5, .2, -2.]]))
        tensor(0.0240)
    """
    parts = cmkd_parts(student_logits, teacher_logits, temperature=temperature, rank_temperature=rank_temperature)
    rows = alpha * (1 - parts.difficulty) * parts.pearson + beta * parts.difficulty * parts.spearman
    return row_mean(rows, weight)


class CMKDLoss(LossModule):
    """The module twin of :func:`cmkd_loss`.

    Example:
        >>> CMKDLoss()(torch.tensor([[2., 1., 0., -1.]]), torch.tensor([[3., .5, .2, -2.]]))
        tensor(0.0240)
    """

    def __init__(
        self, *, temperature: float = 4.0, rank_temperature: float = 0.1, alpha: float = 1.0, beta: float = 1.0
    ) -> None:
        check_temperature(temperature)
        check_temperature(rank_temperature, "rank_temperature")
        super().__init__(cmkd_loss, temperature=temperature, rank_temperature=rank_temperature, alpha=alpha, beta=beta)
