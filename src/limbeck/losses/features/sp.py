"""Similarity-preserving distillation: which samples of a batch activate a layer alike."""

from torch import Tensor

from limbeck.losses.features._shapes import full_pair, row_weights, safe, unit
from limbeck.losses.features.base import PairLoss

# Activations below this count as if they had this size, so that no direction of next to nothing is followed [ours].
_LEAST = 0.05


def _similarities(feature: Tensor, weight: Tensor) -> Tensor:
    flat = feature.flatten(1)
    if not flat.numel():
        return flat @ flat.T
    # One factor for all rows cancels when the similarities' rows are normalized.
    largest = flat.detach().abs().amax().clamp_min(1e-20)
    flat = flat / largest
    return unit((flat @ flat.T) * weight.sqrt(), least=(_LEAST / largest).square())


def sp_loss(student: Tensor, teacher: Tensor, *, weight: Tensor | None = None) -> Tensor:
    r"""Match the similarities between samples, :math:`\frac{1}{N^2} \| G^s - G^t \|_F^2`.

    :math:`G` is :math:`A A^\top`, A the features as (N, everything), each row scaled to length 1.

    Args:
        student: (N, ...) features of any shape.
        teacher: (N, ...) features of any shape; they receive no gradient.
        weight: (N,) how much each row counts; a pair counts by the product of its two weights, and a row that does
            not count is in no other row's similarities.

    Returns:
        A scalar; with one row it has no gradient, as there is nothing to compare.

    Raises:
        UserError: If the numbers of rows differ.

    References:
        Tung, Mori: Similarity-Preserving Knowledge Distillation, ICCV 2019, arXiv 1907.09682, equations 1 to 4.

    Example:
        >>> import torch
        >>> sp_loss(torch.eye(2), torch.ones(2, 2))
        tensor(0.2929)
    """
    student, teacher = full_pair(student, teacher)
    weight = row_weights(weight, student)
    difference = (_similarities(student, weight) - _similarities(teacher, weight)).square()
    return (weight * difference.sum(1)).sum() / safe(weight.sum().square())


class SPLoss(PairLoss):
    """The module twin of :func:`sp_loss`, added up over the pairs of layers.

    Example:
        >>> import torch
        >>> maps = torch.rand(4, 3, 8, 8)
        >>> SPLoss([(3, 8, 8)], [(3, 8, 8)])([maps], [maps])
        tensor(0.)
    """

    def pair(self, number: int, student: Tensor, teacher: Tensor, weight: Tensor | None) -> Tensor:
        """Compare one pair's similarities."""
        return sp_loss(student, teacher, weight=weight)
