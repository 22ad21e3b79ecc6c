"""Hinton's knowledge distillation: the KL divergence between softened distributions."""

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from limbeck.errors import UserError
from limbeck.losses._blocks import row_wise
from limbeck.losses.modules import LossModule
from limbeck.rows import check_pair, check_temperature, full, row_mean

Reduction = Literal["batchmean", "mean"]


def _divergences(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    log_student = F.log_softmax(full(student) / temperature, dim=1)
    log_teacher = F.log_softmax(full(teacher) / temperature, dim=1)
    probabilities = log_teacher.exp()
    # In place, since F.kl_div with a logarithmic target would hold three more tensors of the logits' size.
    return log_teacher.sub_(log_student).mul_(probabilities).sum(dim=1)


def kd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 4.0,
    reduction: Reduction = "batchmean",
    weight: Tensor | None = None,
) -> Tensor:
    r"""Match the teacher's softened distribution.

    .. math:: T^2 \, \frac{1}{N} \sum_i \mathrm{KL}\big(\sigma(z^t_i / T) \,\|\, \sigma(z^s_i / T)\big)

    The divergence is summed over classes and averaged over rows (``batchmean``); ``mean`` divides by the number of
    classes as well, which some released code does. Computed in fp32 whatever comes in.

    Args:
        student_logits: (N, C) float logits.
        teacher_logits: (N, C) float logits; they receive no gradient.
        temperature: Softens both sides; greater than 0.
        reduction: ``"batchmean"`` or ``"mean"``.
        weight: (N,) how much each row counts (a boolean mask will do), or None for all alike.

    Returns:
        A scalar, 0 where both sides agree or no row counts.

    Raises:
        UserError: On wrong shapes or types, a temperature not above 0, or an unknown reduction.

    References:
        Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network, arXiv 1503.02531, section 2.

    Example:
        >>> import torch
        >>> kd_loss(torch.tensor([[2., 1., 0.]]), torch.tensor([[3., 0., 0.]]), temperature=1.0)
        tensor(0.1768)
    """
    check_pair(student_logits, teacher_logits)
    check_temperature(temperature)
    if reduction not in ("batchmean", "mean"):
        raise UserError(f"reduction: got {reduction!r}, expected 'batchmean' or 'mean'")
    rows = row_wise(_divergences, student_logits, teacher_logits.detach(), temperature=temperature)
    scale = temperature**2 / (student_logits.shape[1] if reduction == "mean" else 1)
    return scale * row_mean(rows, weight)


class KDLoss(LossModule):
    """The module twin of :func:`kd_loss`.

    Example:
        >>> import torch
        >>> KDLoss(temperature=1.0)(torch.tensor([[2., 1., 0.]]), torch.tensor([[3., 0., 0.]]))
        tensor(0.1768)
    """

    def __init__(self, *, temperature: float = 4.0, reduction: Reduction = "batchmean") -> None:
        check_temperature(temperature)
        super().__init__(kd_loss, temperature=temperature, reduction=reduction)
