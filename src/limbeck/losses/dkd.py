"""DKD: the KL divergence taken apart into its part of the true class and its part of the others."""

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from limbeck.losses._blocks import row_wise
from limbeck.losses._target import binary_log_probabilities, check_others, divergence, split
from limbeck.losses.modules import LabeledLossModule
from limbeck.rows import check_labels, check_pair, check_temperature, full, row_mean


def _rows(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, temperature: float, alpha: float, beta: float
) -> Tensor:
    student = split(full(student_logits) / temperature, labels)
    teacher = split(full(teacher_logits) / temperature, labels)
    target = divergence(binary_log_probabilities(teacher), binary_log_probabilities(student))
    others = divergence(F.log_softmax(teacher.others, dim=1), F.log_softmax(student.others, dim=1))
    return alpha * target + beta * others


def dkd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float = 4.0,
    alpha: float = 1.0,
    beta: float = 8.0,
    weight: Tensor | None = None,
) -> Tensor:
    r"""Match the true class against the rest (TCKD), and the other classes among themselves (NCKD), each by a weight.

    .. math:: T^2 \, \frac{1}{N} \sum_i \alpha \, \mathrm{KL}(b^t_i \,\|\, b^s_i)
        + \beta \, \mathrm{KL}(\hat p^t_i \,\|\, \hat p^s_i)

    With p the softmax of z / T and y the label, b is the pair :math:`(p_y, 1 - p_y)` and :math:`\hat p` the softmax
    over the classes other than y. With alpha = 1 and beta = :math:`1 - p^t_y` a row would be Hinton's KD; a constant
    beta frees the others from the teacher's confidence. Everything stays in log space, so that no logarithm of a
    vanished probability is taken.

    Args:
        student_logits: (N, C) float logits, C at least 2; with 2 classes the second term is 0.
        teacher_logits: (N, C) float logits; they receive no gradient.
        labels: (N,) true classes.
        temperature: Softens both sides; greater than 0.
        alpha: Weight of the first term.
        beta: Weight of the second term; the paper uses 1 to 8, by pair of networks.
        weight: (N,) how much each row counts (a boolean mask will do), or None for all alike.

    Returns:
        A scalar, 0 where both sides agree or no row counts.

    Raises:
        UserError: On wrong shapes or types, labels out of range, fewer than 2 classes, or a temperature not above 0.

    References:
        Zhao et al.: Decoupled Knowledge Distillation, CVPR 2022, arXiv 2203.08679, section 3.

    Example:
        >>> import torch
        >>> labels = torch.tensor([0])
        >>> dkd_loss(torch.tensor([[2., 1., 0.]]), torch.tensor([[3., 0., 1.]]), labels, temperature=1.0)
        tensor(3.7785)
    """
    check_pair(student_logits, teacher_logits)
    labels = check_labels(labels, student_logits)
    check_others(student_logits)
    check_temperature(temperature)
    settings: dict[str, Any] = {"temperature": temperature, "alpha": alpha, "beta": beta}
    rows = row_wise(_rows, student_logits, teacher_logits.detach(), labels, **settings)
    return temperature**2 * row_mean(rows, weight)


class DKDLoss(LabeledLossModule):
    """The module twin of :func:`dkd_loss`.

    Example:
        >>> import torch
        >>> loss = DKDLoss(temperature=1.0)
        >>> loss(torch.tensor([[2., 1., 0.]]), torch.tensor([[3., 0., 1.]]), torch.tensor([0]))
        tensor(3.7785)
    """

    def __init__(self, *, temperature: float = 4.0, alpha: float = 1.0, beta: float = 8.0) -> None:
        check_temperature(temperature)
        super().__init__(dkd_loss, temperature=temperature, alpha=alpha, beta=beta)
