"""Label revision (LR): where the teacher is wrong, mix just enough of the true label into its probabilities."""

import torch
from torch import Tensor
from torch.nn import functional as F

from limbeck.errors import UserError
from limbeck.rows import check_labels, check_logits, full


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
        UserError: On wrong shapes or types, labels out of range, or eta outside (0, 1).

    References:
        Lan et al.: Improve Knowledge Distillation via Label Revision and Data Selection, arXiv 2404.03693, section 3.

    Example:
        >>> logits = revise_logits(torch.tensor([[1., -1., 0., 2.]]), torch.tensor([2]))
        >>> logits.softmax(1)
        tensor([[0.1217, 0.0165, 0.5309, 0.3309]])
    """
    check_logits(teacher_logits, "teacher_logits")
    true = check_labels(labels, teacher_logits)[:, None]
    if not 0 < eta < 1:
        raise UserError(f"eta: got {eta}, expected a number between 0 and 1, both excluded")
    logits = full(teacher_logits)
    log_p = F.log_softmax(logits, dim=1)
    p_true, p_max = log_p.gather(1, true).exp(), log_p.max(dim=1, keepdim=True).values.exp()
    share = eta / (p_max - p_true + 1)
    revised = (log_p + share.log()).scatter(1, true, (share * p_true + 1 - share).log())
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
        UserError: On wrong shapes or types, labels out of range, or eta outside (0, 1).

    Example:
        >>> revise_labels(torch.tensor([[0., 1., 4., 2.]]), torch.tensor([1]))
        tensor([[0.0068, 0.5715, 0.3715, 0.0503]])
    """
    return revise_logits(teacher_logits, labels, eta=eta).softmax(dim=1)
