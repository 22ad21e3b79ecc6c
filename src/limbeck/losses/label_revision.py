"""The loss of the label-revision port: mean squared errors, split by whether the teacher is right."""

import torch
from torch import Tensor
from torch.nn import functional as F

from limbeck.losses._reach import row_errors, within_reach
from limbeck.losses.modules import LabeledLossModule
from limbeck.rows import check_labels, check_pair, full, row_mean
from limbeck.targets.revise import revise_labels

# Beyond this root mean squared distance of logits a row's error grows linearly [ours]; trained networks are nearer.
_FURTHEST = 6.0


def label_revision_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    lambda1: float = 4.0,
    lambda2: float = 1.0,
    eta: float = 0.8,
    weight: Tensor | None = None,
) -> Tensor:
    r"""Cross-entropy and logit matching where the teacher is right, revised probabilities where it is wrong.

    .. math:: \mathrm{CE}_R + \lambda_1 \mathrm{MSE}_R(z^s, z^t) + \lambda_2 \mathrm{MSE}_W(\sigma(z^s), p')

    R are the rows that the teacher gets right, W the others, p' its revised labels. Each mean runs over its own
    subset (times the classes); an empty subset gives 0. Wrong rows get no cross-entropy. The logits' error of a row
    whose root r is above 6 is :math:`12 r - 36`, so that certain teachers cannot enlarge a gradient without end [ours].

    Args:
        student_logits: (N, C) float logits.
        teacher_logits: (N, C) float logits; they receive no gradient.
        labels: (N,) true classes.
        lambda1: Weight of the logit error on right rows.
        lambda2: Weight of the probability error on wrong rows.
        eta: How much of the teacher a revised label keeps, in (0, 1).
        weight: (N,) how much each row counts.

    Returns:
        A scalar that contains its own cross-entropy.

    Raises:
        UserError: On wrong shapes or types, labels out of range, or eta outside (0, 1).

    References:
        A public port of Label Revision and Data Selection (arXiv 2404.03693); the paper's own full loss is not
        available.

    Example:
        >>> student = torch.tensor([[2., 1., 0., -1.], [.5, 0., 1.5, -.5], [0., 3., 1., 2.]])
        >>> teacher = torch.tensor([[3., .5, .2, -2.], [1., -1., 0., 2.], [0., 1., 4., 2.]])
        >>> print(f"{label_revision_loss(student, teacher, torch.tensor([0, 2, 1])):.5f}")
        2.75628
    """
    check_pair(student_logits, teacher_logits)
    labels = check_labels(labels, student_logits)
    student, teacher = full(student_logits), full(teacher_logits.detach())
    counted = torch.ones_like(student[:, 0]) if weight is None else weight.to(student.dtype)
    right = (teacher.argmax(dim=1) == labels) * counted
    wrong = counted - right
    cross_entropy = F.cross_entropy(student, labels, reduction="none")
    logit_error = row_errors(student, within_reach(teacher), _FURTHEST)
    revised_error = (student.softmax(dim=1) - revise_labels(teacher, labels, eta=eta)).square().mean(dim=1)
    return row_mean(cross_entropy + lambda1 * logit_error, right) + lambda2 * row_mean(revised_error, wrong)


class LabelRevisionLoss(LabeledLossModule):
    """The module twin of :func:`label_revision_loss`.

    Example:
        >>> logits = torch.eye(3)
        >>> LabelRevisionLoss()(logits, logits, torch.tensor([0, 1, 2]))
        tensor(0.5514)
    """

    def __init__(self, *, lambda1: float = 4.0, lambda2: float = 1.0, eta: float = 0.8) -> None:
        super().__init__(label_revision_loss, lambda1=lambda1, lambda2=lambda2, eta=eta)
