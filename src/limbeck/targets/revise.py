"""Label revision (LR): where the teacher is wrong, mix just enough of the true label into what it says."""

import torch
from torch import Tensor
from torch.nn import functional as F

from limbeck.errors import UserError


def _check(teacher_logits: Tensor, labels: Tensor, eta: float) -> None:
    if teacher_logits.ndim != 2 or labels.shape != teacher_logits.shape[:1]:
        got = f"{tuple(teacher_logits.shape)} and {tuple(labels.shape)}"
        raise UserError(f"teacher_logits and labels: got {got}, expected (N, C) and (N,)")
    if not 0 < eta < 1:
        raise UserError(f"eta: got {eta}, expected a number between 0 and 1, both excluded")


def revise_logits(teacher_logits: Tensor, labels: Tensor, *, eta: float = 0.8) -> Tensor:
    r"""Revise the teacher's probabilities at T = 1 and return their logarithms, ready to stand before any loss.

    Rows that the teacher gets right (a tie with the true class counts as right) keep their logits. In the others

    .. math:: p' = b\,p^t + (1 - b)\,\mathrm{onehot}(y), \quad b = \eta / (p^t_\max - p^t_y + 1),

    so that the true class leads the teacher's former choice by exactly :math:`1 - \eta`, the rows still sum to 1, and
    the ratios among the other classes are kept. Computed in log space: no probability underflows to :math:`-\infty`.

    Args:
        teacher_logits: (N, C) float logits; not written to.
        labels: (N,) true classes.
        eta: How much of the teacher is kept, in (0, 1).

    Returns:
        (N, C) logits in fp32 (float64 if that came in).

    Raises:
        UserError: If the shapes do not fit together or eta is outside (0, 1).

    References:
        Lan et al.: Improve Knowledge Distillation via Label Revision and Data Selection, arXiv 2404.03693, section 3.

    Example:
        >>> logits = revise_logits(torch.tensor([[1., -1., 0., 2.]]), torch.tensor([2]))
        >>> logits.softmax(1)
        tensor([[0.1217, 0.0165, 0.5309, 0.3309]])
    """
    _check(teacher_logits, labels, eta)
    logits = teacher_logits if teacher_logits.dtype == torch.float64 else teacher_logits.float()
    log_p, true = F.log_softmax(logits, dim=1), labels.long()[:, None]
    p_true, p_max = log_p.gather(1, true).exp(), log_p.max(dim=1, keepdim=True).values.exp()
    kept = eta / (p_max - p_true + 1)
    revised = (log_p + kept.log()).scatter(1, true, (kept * p_true + 1 - kept).log())
    right = logits.gather(1, true) == logits.max(dim=1, keepdim=True).values
    return torch.where(right, logits, revised)


def revise_labels(teacher_logits: Tensor, labels: Tensor, *, eta: float = 0.8) -> Tensor:
    """Return the revised labels as probabilities; see :func:`revise_logits`.

    Args:
        teacher_logits: (N, C) float logits; not written to.
        labels: (N,) true classes.
        eta: How much of the teacher is kept, in (0, 1).

    Returns:
        (N, C) probabilities, rows summing to 1.

    Raises:
        UserError: If the shapes do not fit together or eta is outside (0, 1).

    Example:
        >>> revise_labels(torch.tensor([[0., 1., 4., 2.]]), torch.tensor([1]))
        tensor([[0.0068, 0.5715, 0.3715, 0.0503]])
    """
    return revise_logits(teacher_logits, labels, eta=eta).softmax(dim=1)
