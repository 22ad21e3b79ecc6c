"""NKD: the teacher's confidence weighs the true class, and the others are matched as a distribution of their own."""

from torch import Tensor
from torch.nn import functional as F

from limbeck.losses._blocks import row_wise
from limbeck.losses._target import check_others, split
from limbeck.losses.modules import LabeledLossModule
from limbeck.rows import check_labels, check_pair, check_temperature, full, row_mean


def _rows(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, temperature: Tensor | float, gamma: float
) -> Tensor:
    student, teacher = full(student_logits), full(teacher_logits)
    column = labels.long()[:, None]
    target = (teacher.softmax(dim=1) * F.log_softmax(student, dim=1)).gather(1, column).squeeze(1)
    others = F.softmax(split(teacher, labels).others / temperature, dim=1)
    log_others = F.log_softmax(split(student, labels).others / temperature, dim=1)
    return target + gamma * temperature**2 * (others * log_others).sum(dim=1)


def nkd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: Tensor | float = 1.0,
    gamma: float = 1.5,
    weight: Tensor | None = None,
) -> Tensor:
    r"""Match the true class and the normalized others by cross-entropies.

    .. math:: -\frac{1}{N} \sum_i p^t_{iy} \log p^s_{iy}
        + \gamma \, T^2 \sum_{j \neq y} \hat p^t_{ij} \log \hat p^s_{ij}

    The probabilities p of the true class y are at temperature 1; :math:`\hat p` is the softmax of z / T over the other
    classes alone, so that both sides sum to 1 there.

    Args:
        student_logits: (N, C) float logits, C at least 2; with 2 classes the second term is 0.
        teacher_logits: (N, C) float logits; they receive no gradient.
        labels: (N,) true classes.
        temperature: Softens the other classes of both sides; greater than 0, a number or a scalar tensor.
        gamma: Weight of the other classes.
        weight: (N,) how much each row counts (a boolean mask will do), or None for all alike.

    Returns:
        A scalar. Cross-entropies have no zero: a student that equals its teacher still has its teacher's entropy. The
        cross-entropy with the labels that the paper adds is not in it.

    Raises:
        UserError: On wrong shapes or types, labels out of range, fewer than 2 classes, or a temperature not above 0.

    References:
        Yang et al.: From Knowledge Distillation to Self-Knowledge Distillation: A Unified Approach with Normalized Loss
        and Customized Soft Labels, ICCV 2023, arXiv 2303.13005, section 3; temperatures as in the released code.

    Example:
        >>> import torch
        >>> nkd_loss(torch.tensor([[2., 1., 0.]]), torch.tensor([[3., 0., 1.]]), torch.tensor([0]))
        tensor(1.9104)
    """
    check_pair(student_logits, teacher_logits)
    labels = check_labels(labels, student_logits)
    check_others(student_logits)
    check_temperature(temperature)
    rows = row_wise(_rows, student_logits, teacher_logits.detach(), labels, temperature=temperature, gamma=gamma)
    return -row_mean(rows, weight)


class NKDLoss(LabeledLossModule):
    """The module twin of :func:`nkd_loss`.

    Example:
        >>> import torch
        >>> NKDLoss()(torch.tensor([[2., 1., 0.]]), torch.tensor([[3., 0., 1.]]), torch.tensor([0]))
        tensor(1.9104)
    """

    def __init__(self, *, temperature: float = 1.0, gamma: float = 1.5) -> None:
        check_temperature(temperature)
        super().__init__(nkd_loss, temperature=temperature, gamma=gamma)
