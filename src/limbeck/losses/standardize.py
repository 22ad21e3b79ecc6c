"""Logit standardization (LSKD): every row to zero mean and unit deviation, so that only the relations count."""

import torch
from torch import Tensor

from limbeck.losses.spread import MIN_SPREAD, check_min_spread
from limbeck.rows import check_logits, full

_EPS = 1e-7


def standardize_logits(logits: Tensor, *, min_spread: float = MIN_SPREAD) -> Tensor:
    r"""Bring every row of logits to zero mean and unit standard deviation.

    .. math:: z'_i = \frac{z_i - \bar z}{\max(\mathrm{std}(z), d) + 10^{-7}}, \quad
        \mathrm{std}(z)^2 = \frac{1}{C - 1} \sum_i (z_i - \bar z)^2

    A row's shift makes no difference, nor does its scale where its deviation is above the least spread d. Below, it is
    divided by d [ours]: the published formula, which has d = 0, multiplies the gradient of a nearly constant row by up
    to 10 million. With d = 0 a row that is constant to the last bit becomes zeros and gets no gradient.

    Args:
        logits: (N, C) float logits of student or teacher.
        min_spread: d, in units of logits; 0 is the published formula everywhere.

    Returns:
        (N, C) in fp32 (float64 stays), zeros where C is 1.

    Raises:
        UserError: If ``logits`` is no float tensor of shape (N, C), or ``min_spread`` is negative.

    References:
        Sun et al.: Logit Standardization in Knowledge Distillation, CVPR 2024, arXiv 2403.01427, algorithm 1; the
        unbiased deviation and the 1e-7 are the released code's.

    Example:
        >>> standardize_logits(torch.tensor([[1., 2., 3.], [10., 30., 50.]]))
        tensor([[-1.0000,  0.0000,  1.0000],
                [-1.0000,  0.0000,  1.0000]])
    """
    check_logits(logits)
    check_min_spread(min_spread)
    rows = full(logits)
    # Compared rather than taken from the variance, where the mean's rounding leaves a constant row a little spread.
    constant = rows.amax(dim=1, keepdim=True) == rows.amin(dim=1, keepdim=True)
    centered = rows - rows.mean(dim=1, keepdim=True)
    variance = centered.square().sum(dim=1, keepdim=True) / max(rows.shape[1] - 1, 1)
    bounded = constant | (variance < min_spread**2)
    # Replaced before the root as well as after it: a root's slope at 0 would make the gradient nan.
    deviation = torch.where(bounded, min_spread, torch.where(bounded, 1.0, variance).sqrt()) + _EPS
    return centered / deviation if min_spread else torch.where(constant, 0.0, centered / deviation)
