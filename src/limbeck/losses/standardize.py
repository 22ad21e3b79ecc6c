"""Logit standardisation (LSKD): every row to zero mean and unit deviation, so that only the relations count."""

import torch
from torch import Tensor

from limbeck.losses._rows import check_logits, full

_EPS = 1e-7


def standardize_logits(logits: Tensor) -> Tensor:
    r"""Bring every row of logits to zero mean and unit standard deviation.

    .. math:: z'_i = \frac{z_i - \bar z}{\mathrm{std}(z) + 10^{-7}}, \quad
        \mathrm{std}(z)^2 = \frac{1}{C - 1} \sum_i (z_i - \bar z)^2

    A row's shift and its scale (greater than 0) make no difference. A constant row has no relations to keep: it becomes
    zeros and gets no gradient [ours], where the formula's gradient would be 10 million times the one that comes in.

    Args:
        logits: (N, C) float logits of student or teacher.

    Returns:
        (N, C) in fp32 (float64 stays), zeros where C is 1.

    Raises:
        UserError: If ``logits`` is no float tensor of shape (N, C).

    References:
        Sun et al.: Logit Standardization in Knowledge Distillation, CVPR 2024, arXiv 2403.01427, algorithm 1; the
        unbiased deviation and the 1e-7 are the released code's.

    Example:
        >>> standardize_logits(torch.tensor([[1., 2., 3.], [10., 30., 50.]]))
        tensor([[-1.0000,  0.0000,  1.0000],
                [-1.0000,  0.0000,  1.0000]])
    """
    check_logits(logits)
    rows = full(logits)
    # Compared rather than taken from the variance, where the mean's rounding leaves a constant row a little spread.
    constant = rows.amax(dim=1, keepdim=True) == rows.amin(dim=1, keepdim=True)
    centred = rows - rows.mean(dim=1, keepdim=True)
    variance = centred.square().sum(dim=1, keepdim=True) / max(rows.shape[1] - 1, 1)
    # Replaced before the root as well as after the division: a root's slope at 0 would make the gradient nan.
    deviation = torch.where(constant, 1.0, variance).sqrt()
    return torch.where(constant, 0.0, centred / (deviation + _EPS))
