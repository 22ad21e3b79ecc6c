"""RLD: match only the part of the teacher's distribution that does not contradict the label."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from limbeck.losses._blocks import row_wise
from limbeck.losses._target import binary_log_probabilities, check_others, divergence, split
from limbeck.losses.modules import LabeledLossModule
from limbeck.rows import check_labels, check_pair, check_temperature, full, row_mean


def _confidence(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    log_teacher = binary_log_probabilities(split(teacher, teacher.argmax(dim=1)))
    return divergence(log_teacher, binary_log_probabilities(split(student, labels)))


def _masked_correlation(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    above = teacher >= teacher.gather(1, labels.long()[:, None])
    # Finite, so that a row without any class left gives 0 and no NaN; far below any logit, so that it has no weight.
    bottom = torch.finfo(torch.float32).min / 4
    student, teacher = student.masked_fill(above, bottom), teacher.masked_fill(above, bottom)
    return divergence(F.log_softmax(teacher, dim=1), F.log_softmax(student, dim=1))


def _rows(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    temperature: float,
    second: float,
    alpha: float,
    beta: float,
) -> Tensor:
    student, teacher = full(student_logits), full(teacher_logits)
    confidence = second**2 * _confidence(student / second, teacher / second, labels)
    correlation = temperature**2 * _masked_correlation(student / temperature, teacher / temperature, labels)
    return alpha * confidence + beta * correlation


def rld_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float = 4.0,
    confidence_temperature: float | None = None,
    alpha: float = 1.0,
    beta: float = 8.0,
    weight: Tensor | None = None,
) -> Tensor:
    r"""Match the teacher's confidence, whatever its choice, and its probabilities of the classes below the true one.

    .. math:: \frac{1}{N} \sum_i \alpha \, T_c^2 \, \mathrm{KL}(c^t_i \,\|\, b^s_i) + \beta \, T^2 \,
        \mathrm{KL}(\tilde p^t_i \,\|\, \tilde p^s_i)

    Sample confidence: :math:`c^t = (\max_j p^t_j, 1 - \max_j p^t_j)` and :math:`b^s = (p^s_y, 1 - p^s_y)`, at
    :math:`T_c`. Masked correlation: :math:`\tilde p` is the softmax of z / T over the classes whose teacher logit is
    below that of the true class y; a row without such a class adds nothing. Where the teacher is right both are
    :func:`dkd_loss`'s terms.

    Args:
        student_logits: (N, C) float logits, C at least 2.
        teacher_logits: (N, C) float logits; they receive no gradient.
        labels: (N,) true classes.
        temperature: T; greater than 0.
        confidence_temperature: T_c; greater than 0, or None for T.
        alpha: Weight of the sample confidence.
        beta: Weight of the masked correlation.
        weight: (N,) how much each row counts (a boolean mask will do), or None for all alike.

    Returns:
        A scalar; 0 where both sides agree and the teacher is right, or no row counts.

    Raises:
        UserError: On wrong shapes or types, labels out of range, fewer than 2 classes, or a temperature not above 0.

    References:
        Sun et al.: Knowledge Distillation with Refined Logits, ICCV 2025, arXiv 2408.07703, and its released code.

    Example:
        >>> student, teacher = torch.tensor([[2., 1., 0.]]), torch.tensor([[3., 2., 1.]])
        >>> rld_loss(student, teacher, torch.tensor([1]), temperature=1.0)
        tensor(0.3929)
    """
    check_pair(student_logits, teacher_logits)
    labels = check_labels(labels, student_logits)
    check_others(student_logits)
    check_temperature(temperature)
    second = temperature if confidence_temperature is None else confidence_temperature
    check_temperature(second, "confidence_temperature")
    settings: dict[str, Any] = {"temperature": temperature, "second": second, "alpha": alpha, "beta": beta}
    return row_mean(row_wise(_rows, student_logits, teacher_logits.detach(), labels, **settings), weight)


class RLDLoss(LabeledLossModule):
    """The module twin of :func:`rld_loss`.

    Example:
        >>> loss = RLDLoss(temperature=1.0)
        >>> loss(torch.tensor([[2., 1., 0.]]), torch.tensor([[3., 2., 1.]]), torch.tensor([1]))
        tensor(0.3929)
    """

    def __init__(
        self,
        *,
        temperature: float = 4.0,
        confidence_temperature: float | None = None,
        alpha: float = 1.0,
        beta: float = 8.0,
    ) -> None:
        check_temperature(temperature)
        super().__init__(
            rld_loss, temperature=temperature, confidence_temperature=confidence_temperature, alpha=alpha, beta=beta
        )
