"""Probabilistic knowledge transfer: for each sample, how likely each other one is its neighbor."""

from torch import Tensor

from limbeck.losses.features._shapes import full_pair, pooled, row_weights, safe, unit
from limbeck.losses.features.base import PairLoss

_EPS = 1e-7
# Vectors shorter than this count as if they had this length, so that no direction of nothing is followed [ours].
_LEAST = 0.05


def _neighbors(feature: Tensor, weight: Tensor) -> Tensor:
    vectors = unit(feature.flatten(1), least=_LEAST)
    kernel = ((vectors @ vectors.T + 1) / 2).clamp_min(0)
    return kernel / safe((kernel * weight).sum(1, keepdim=True))


def pkt_loss(student: Tensor, teacher: Tensor, *, weight: Tensor | None = None) -> Tensor:
    r"""Match the probabilities that samples are neighbors, from cosine similarities.

    .. math:: \frac{1}{N^2} \sum_{ij} p^t_{ij} \log \frac{p^t_{ij} + \epsilon}{p^s_{ij} + \epsilon}, \quad
        p_{ij} = \frac{(\cos(x_i, x_j) + 1) / 2}{\sum_k (\cos(x_i, x_k) + 1) / 2}

    This is the authors' code: the divergence is averaged over all :math:`N^2` pairs, a sample is its own neighbor
    too, and :math:`\epsilon` is 1e-7. The paper's equation 8 sums, and leaves j = i out.

    Args:
        student: (N, ...) features, flattened.
        teacher: (N, ...) features of any shape; they receive no gradient.
        weight: (N,) how much each row counts; a pair counts by the product of its weights.

    Returns:
        A scalar.

    Raises:
        UserError: If the numbers of rows differ.

    References:
        Passalis, Tefas: Learning Deep Representations with Probabilistic Knowledge Transfer, ECCV 2018,
        arXiv 1803.10837, section 3.

    Example:
        >>> import torch
        >>> pkt_loss(torch.eye(2), torch.ones(2, 2))
        tensor(0.0294)
    """
    student, teacher = full_pair(student, teacher)
    weight = row_weights(weight, student)
    student, teacher = _neighbors(student, weight), _neighbors(teacher, weight)
    divergence = teacher * ((teacher + _EPS) / (student + _EPS)).log()
    return (weight[:, None] * weight * divergence).sum() / safe(weight.sum().square())


class PKTLoss(PairLoss):
    """The module twin of :func:`pkt_loss` on features averaged to one vector a row, added up over pairs of layers.

    Example:
        >>> import torch
        >>> maps = torch.rand(4, 3, 8, 8)
        >>> PKTLoss([(3, 8, 8)], [(3, 8, 8)])([maps], [maps])
        tensor(0.)
    """

    def pair(self, number: int, student: Tensor, teacher: Tensor, weight: Tensor | None) -> Tensor:
        """Compare one pair's neighborhoods."""
        return pkt_loss(pooled(student), pooled(teacher), weight=weight)
