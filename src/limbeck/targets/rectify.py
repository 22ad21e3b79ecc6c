"""DR-KD's rectification: where the predicted class is wrong, it exchanges its logit with the true class."""

import torch
from torch import Tensor

from limbeck.rows import check_labels, check_logits


def rectify_logits(teacher_logits: Tensor, labels: Tensor) -> Tensor:
    """Exchange the logits of the predicted and the true class in every row whose prediction is wrong.

    Everything else stays: a row keeps its multiset of logits (hence its entropy), a right row is untouched, and so is
    a row whose true class shares the maximum. The input is not written to.

    Args:
        teacher_logits: (N, C) float logits.
        labels: (N,) true classes.

    Returns:
        (N, C) logits whose argmax is the true class wherever the maximum is unique.

    Raises:
        UserError: On wrong shapes or types, or labels out of range.

    References:
        Amik et al.: Dynamic Rectification Knowledge Distillation, arXiv 2201.11319, section 3.

    Example:
        >>> rectify_logits(torch.tensor([[3., .5, -2.], [1., 0., 2.]]), torch.tensor([0, 1]))
        tensor([[ 3.0000,  0.5000, -2.0000],
                [ 1.0000,  2.0000,  0.0000]])
    """
    check_logits(teacher_logits, "teacher_logits")
    true = check_labels(labels, teacher_logits)[:, None]
    top, best = teacher_logits.max(dim=1, keepdim=True)
    true_logit = teacher_logits.gather(1, true)
    # Where the true class ties for the maximum, writing it back to itself makes the exchange a no-op.
    best = torch.where(true_logit == top, true, best)
    return teacher_logits.scatter(1, best, true_logit).scatter(1, true, top)
