"""Other distances than Hinton's: the reverse KL, the generalized Jensen-Shannon divergence, and the logits' error."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from limbeck.errors import UserError
from limbeck.losses._blocks import row_wise
from limbeck.losses._reach import row_errors, within_reach
from limbeck.losses._target import divergence
from limbeck.losses.modules import LossModule
from limbeck.rows import check_pair, check_temperature, full, row_mean

# Beyond this root mean squared distance of logits a row's error grows linearly [ours]; trained networks are nearer.
_FURTHEST = 24.0


def _softened(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    log_student = F.log_softmax(full(student_logits) / temperature, dim=1)
    return log_student, F.log_softmax(full(teacher_logits) / temperature, dim=1)


def _reverse(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    return divergence(*_softened(student_logits, within_reach(full(teacher_logits)), temperature))


def _from_mixture(student_logits: Tensor, teacher_logits: Tensor, temperature: float, beta: float) -> Tensor:
    log_student, log_teacher = _softened(student_logits, teacher_logits, temperature)
    mixture = torch.logaddexp(log_teacher + math.log(beta), log_student + math.log1p(-beta))
    return beta * divergence(log_teacher, mixture) + (1 - beta) * divergence(log_student, mixture)


def _check_share(beta: float) -> None:
    if not 0 < beta < 1:
        raise UserError(f"beta: got {beta}, expected a number between 0 and 1")


def reverse_kl_loss(
    student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 4.0, weight: Tensor | None = None
) -> Tensor:
    r"""Match the teacher where the student itself puts its probability (mode-seeking).

    .. math:: T^2 \, \frac{1}{N} \sum_i \mathrm{KL}\big(\sigma(z^s_i / T) \,\|\, \sigma(z^t_i / T)\big)

    Args:
        student_logits: (N, C) float logits.
        teacher_logits: (N, C) float logits; they receive no gradient.
        temperature: Softens both sides; greater than 0.
        weight: (N,) how much each row counts (a boolean mask will do), or None for all alike.

    Returns:
        A scalar, 0 where both sides agree or no row counts. The factor T^2 is ours, as in :func:`kd_loss`; language
        models use T = 1, where it makes no difference. The teacher's logits count as at most 90 below the largest of
        their row [ours], so that a class which a target has dropped does not outweigh all else.

    Raises:
        UserError: On wrong shapes or types, or a temperature not above 0.

    References:
        Gu et al.: MiniLLM: Knowledge Distillation of Large Language Models, ICLR 2024, arXiv 2306.08543, section 2;
        Agarwal et al.: On-Policy Distillation of Language Models, ICLR 2024, arXiv 2306.13649, section 2.

    Example:
        >>> reverse_kl_loss(torch.tensor([[2., 1., 0.]]), torch.tensor([[3., 0., 0.]]), temperature=1.0)
        tensor(0.2668)
    """
    check_pair(student_logits, teacher_logits)
    check_temperature(temperature)
    rows = row_wise(_reverse, student_logits, teacher_logits.detach(), temperature=temperature)
    return temperature**2 * row_mean(rows, weight)


def jsd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    beta: float = 0.5,
    temperature: float = 4.0,
    weight: Tensor | None = None,
) -> Tensor:
    r"""Match the teacher by the generalized Jensen-Shannon divergence.

    .. math:: T^2 \, \frac{1}{N} \sum_i \beta \, \mathrm{KL}(p^t_i \,\|\, m_i)
        + (1 - \beta) \, \mathrm{KL}(p^s_i \,\|\, m_i), \qquad m_i = \beta \, p^t_i + (1 - \beta) \, p^s_i

    It lies between the two KL divergences. The limits, for divisors that make them finite: for beta towards 0 the loss
    over beta tends to the forward KL (:func:`kd_loss`), for beta towards 1 the loss over 1 - beta tends to the reverse
    KL (:func:`reverse_kl_loss`); undivided, both limits are 0. At beta = .5 it is symmetric, and never above
    :math:`T^2 \log 2`.

    Args:
        student_logits: (N, C) float logits.
        teacher_logits: (N, C) float logits; they receive no gradient.
        beta: The teacher's share of the mixture, in (0, 1).
        temperature: Softens both sides; greater than 0.
        weight: (N,) how much each row counts.

    Returns:
        A scalar, 0 where both sides agree or no row counts. The factor T^2 is ours, as in :func:`kd_loss`.

    Raises:
        UserError: On wrong shapes or types, a temperature not above 0, or beta outside (0, 1).

    References:
        Agarwal et al.: On-Policy Distillation of Language Models: Learning from Self-Generated Mistakes (GKD),
        ICLR 2024, arXiv 2306.13649, section 2.

    Example:
        >>> jsd_loss(torch.tensor([[2., 1., 0.]]), torch.tensor([[3., 0., 0.]]), temperature=1.0)
        tensor(0.0510)
    """
    check_pair(student_logits, teacher_logits)
    _check_share(beta)
    check_temperature(temperature)
    rows = row_wise(_from_mixture, student_logits, teacher_logits.detach(), temperature=temperature, beta=beta)
    return temperature**2 * row_mean(rows, weight)


def logit_mse_loss(student_logits: Tensor, teacher_logits: Tensor, *, weight: Tensor | None = None) -> Tensor:
    r"""Match the logits themselves: :math:`\frac{1}{N C} \sum_{i, j} (z^s_{ij} - z^t_{ij})^2`.

    Where every row of both sides has mean 0, it is twice the limit of :func:`kd_loss` for an infinite temperature.
    A row whose root mean squared error r is above 24 has the loss :math:`48 r - 576`, Huber's, and the teacher's logits
    count as at most 90 below the largest of their row: both bound the gradient, and are ours.

    Args:
        student_logits: (N, C) float logits.
        teacher_logits: (N, C) float logits; they receive no gradient.
        weight: (N,) how much each row counts.

    Returns:
        A scalar, 0 where both sides agree or no row counts.

    Raises:
        UserError: On wrong shapes or types.

    References:
        Ba, Caruana: Do Deep Nets Really Need to be Deep?, NeurIPS 2014, arXiv 1312.6184, section 2.2; Kim et al.:
        Comparing Kullback-Leibler Divergence and Mean Squared Error Loss in Knowledge Distillation, IJCAI 2021, arXiv
        2105.08919.

    Example:
        >>> logit_mse_loss(torch.tensor([[2., 1., 0.]]), torch.tensor([[3., 0., 0.]]))
        tensor(0.6667)
    """
    check_pair(student_logits, teacher_logits)
    teacher = within_reach(full(teacher_logits.detach()))
    return row_mean(row_errors(full(student_logits), teacher, _FURTHEST), weight)


class ReverseKLLoss(LossModule):
    """The module twin of :func:`reverse_kl_loss`.

    Example:
        >>> ReverseKLLoss(temperature=1.0)(torch.tensor([[2., 1., 0.]]), torch.tensor([[3., 0., 0.]]))
        tensor(0.2668)
    """

    def __init__(self, *, temperature: float = 4.0) -> None:
        check_temperature(temperature)
        super().__init__(reverse_kl_loss, temperature=temperature)


class JSDLoss(LossModule):
    """The module twin of :func:`jsd_loss`.

    Example:
        >>> JSDLoss(temperature=1.0)(torch.tensor([[2., 1., 0.]]), torch.tensor([[3., 0., 0.]]))
        tensor(0.0510)
    """

    def __init__(self, *, beta: float = 0.5, temperature: float = 4.0) -> None:
        _check_share(beta)
        check_temperature(temperature)
        super().__init__(jsd_loss, beta=beta, temperature=temperature)


class LogitMSELoss(LossModule):
    """The module twin of :func:`logit_mse_loss`.

    Example:
        >>> LogitMSELoss()(torch.tensor([[2., 1., 0.]]), torch.tensor([[3., 0., 0.]]))
        tensor(0.6667)
    """

    def __init__(self) -> None:
        super().__init__(logit_mse_loss)
