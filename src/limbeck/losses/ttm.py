"""TTM and WTTM: soften the teacher alone, and count the rows where it is soft for more."""

import torch
from torch import Tensor
from torch.nn import functional as F

from limbeck.losses._blocks import row_wise
from limbeck.losses._target import divergence
from limbeck.losses.modules import LossModule
from limbeck.rows import check_pair, check_temperature, full, row_mean


def _rows(student_logits: Tensor, teacher_logits: Tensor, temperature: Tensor | float) -> Tensor:
    log_teacher = F.log_softmax(full(teacher_logits) / temperature, dim=1)
    return divergence(log_teacher, F.log_softmax(full(student_logits), dim=1))


def _transformed_divergence(student_logits: Tensor, teacher_logits: Tensor, temperature: Tensor | float) -> Tensor:
    check_pair(student_logits, teacher_logits)
    check_temperature(temperature)
    return row_wise(_rows, student_logits, teacher_logits.detach(), temperature=temperature)


def ttm_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: Tensor | float = 10.0,
    weight: Tensor | None = None,
) -> Tensor:
    r"""Match the teacher's power-transformed distribution with the student's own, unsoftened one.

    .. math:: \frac{1}{N} \sum_i \mathrm{KL}\big(\sigma(z^t_i / T) \,\|\, \sigma(z^s_i)\big)

    The teacher's probabilities to the power 1 / T, normalized, are its softmax at temperature T. Without a temperature
    on the student the loss is KD's KL plus a term that rewards a high Renyi entropy of the student, and there is no
    factor T^2. At T = 1 it is :func:`kd_loss`.

    Args:
        student_logits: (N, C) float logits.
        teacher_logits: (N, C) float logits; they receive no gradient.
        temperature: Softens the teacher; greater than 0, a number or a scalar tensor. The paper writes gamma = 1 / T.
        weight: (N,) how much each row counts (a boolean mask will do), or None for all alike.

    Returns:
        A scalar, 0 where the student's logits are the teacher's over T or no row counts.

    Raises:
        UserError: On wrong shapes or types, or a temperature not above 0.

    References:
        Zheng, Yang: Knowledge Distillation Based on Transformed Teacher Matching, ICLR 2024, arXiv 2402.11148,
        section 3.

    Example:
        >>> ttm_loss(torch.tensor([[2., 1., 0.]]), torch.tensor([[3., 0., 0.]]), temperature=2.0)
        tensor(0.0386)
    """
    return row_mean(_transformed_divergence(student_logits, teacher_logits, temperature), weight)


def wttm_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: Tensor | float = 5.0,
    weight: Tensor | None = None,
) -> Tensor:
    r"""Compute :func:`ttm_loss` with each row weighted by how soft the teacher is there.

    .. math:: \frac{1}{N} \sum_i U_i \, \mathrm{KL}\big(\sigma(z^t_i / T) \,\|\, \sigma(z^s_i)\big), \qquad
        U_i = \sum_j (p^t_{ij})^{1 / T}

    With p at temperature 1, U is 1 for a certain teacher and :math:`C^{1 - 1/T}` for a uniform one (T above 1).

    Args:
        student_logits: (N, C) float logits.
        teacher_logits: (N, C) float logits; they receive no gradient.
        temperature: Softens the teacher; greater than 0, a number or a scalar tensor. The paper writes gamma = 1 / T.
        weight: (N,) how much each row counts beside U (a boolean mask will do), or None for all alike.

    Returns:
        A scalar, 0 where the student's logits are the teacher's over T or no row counts. The sum over rows is divided
        by their number, not by the sum of U.

    Raises:
        UserError: On wrong shapes or types, or a temperature not above 0.

    References:
        Zheng, Yang: Knowledge Distillation Based on Transformed Teacher Matching, ICLR 2024, arXiv 2402.11148,
        section 4.

    Example:
        >>> wttm_loss(torch.tensor([[2., 1., 0.]]), torch.tensor([[3., 0., 0.]]), temperature=2.0)
        tensor(0.0533)
    """
    rows = _transformed_divergence(student_logits, teacher_logits, temperature)
    log_teacher = F.log_softmax(full(teacher_logits.detach()), dim=1)
    return row_mean(torch.logsumexp(log_teacher / temperature, dim=1).exp() * rows, weight)


class TTMLoss(LossModule):
    """The module twin of :func:`ttm_loss`.

    Example:
        >>> TTMLoss(temperature=2.0)(torch.tensor([[2., 1., 0.]]), torch.tensor([[3., 0., 0.]]))
        tensor(0.0386)
    """

    def __init__(self, *, temperature: float = 10.0) -> None:
        check_temperature(temperature)
        super().__init__(ttm_loss, temperature=temperature)


class WTTMLoss(LossModule):
    """The module twin of :func:`wttm_loss`.

    Example:
        >>> WTTMLoss(temperature=2.0)(torch.tensor([[2., 1., 0.]]), torch.tensor([[3., 0., 0.]]))
        tensor(0.0533)
    """

    def __init__(self, *, temperature: float = 5.0) -> None:
        check_temperature(temperature)
        super().__init__(wttm_loss, temperature=temperature)
