"""Relational knowledge distillation: distances between two samples, and angles between three."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from limbeck.losses.features._shapes import Shapes, full_pair, pooled, row_weights, safe, unit
from limbeck.losses.features.base import PairLoss

# Samples nearer to each other than this count as if they were this far apart, so that rows which are all but identical
# have a moderate gradient [ours].
_NEAREST = 1.0


class _Offsets(NamedTuple):
    """(N, N, D): from each sample to each other, by one common factor so that no square overflows.

    ``nearest`` is the least distance, by the same factor.
    """

    values: Tensor
    nearest: Tensor


def _offsets(feature: Tensor) -> _Offsets:
    flat = feature.flatten(1)
    values = flat[None] - flat[:, None]
    largest = values.detach().abs().amax().clamp_min(1e-20) if values.numel() else values.new_ones(())
    return _Offsets(values / largest, _NEAREST / largest)


def _distances(offsets: _Offsets, pairs: Tensor) -> Tensor:
    squares = offsets.values.square().sum(2)
    apart = squares > 0
    distances = torch.where(apart, torch.where(apart, squares, 1).sqrt(), 0)
    others = pairs * (1 - torch.eye(len(pairs), dtype=pairs.dtype, device=pairs.device))
    mean = (others * distances).sum() / safe(others.sum())
    return distances / torch.maximum(mean, offsets.nearest)


def _by_distance(student: _Offsets, teacher: _Offsets, weight: Tensor) -> Tensor:
    pairs = weight[:, None] * weight
    errors = F.smooth_l1_loss(_distances(student, pairs), _distances(teacher, pairs), reduction="none")
    return (pairs * errors).sum() / safe(weight.sum() ** 2)


def _by_angle(student: _Offsets, teacher: _Offsets, weight: Tensor) -> Tensor:
    directions = (unit(offsets.values, least=offsets.nearest) for offsets in (student, teacher))
    student_angles, teacher_angles = (rows @ rows.mT for rows in directions)
    errors = F.smooth_l1_loss(student_angles, teacher_angles, reduction="none")
    return torch.einsum("i,j,k,ijk->", weight, weight, weight, errors) / safe(weight.sum() ** 3)


def rkd_distance_loss(student: Tensor, teacher: Tensor, *, weight: Tensor | None = None) -> Tensor:
    r"""Match distances: Huber's loss of :math:`\|x_i - x_j\|_2 / \mu`, :math:`\mu` their mean over pairs of two.

    The loss is averaged over all :math:`N^2` pairs, the N of a sample with itself (which are 0) included, as in the
    authors' code; the mean distance is taken over the others.

    Args:
        student: (N, ...) features, flattened.
        teacher: (N, ...) features of any shape; they receive no gradient.
        weight: (N,) how much each row counts; a pair counts by the product of its weights.

    Returns:
        A scalar; 0 with one row.

    Raises:
        UserError: If the numbers of rows differ.

    References:
        Park et al.: Relational Knowledge Distillation, CVPR 2019, arXiv 1904.05068, equations 5 to 7.

    Example:
        >>> rkd_distance_loss(torch.tensor([[0.], [1.], [3.]]), torch.tensor([[0.], [1.], [2.]]))
        tensor(0.0139)
    """
    student, teacher = full_pair(student, teacher)
    return _by_distance(_offsets(student), _offsets(teacher), row_weights(weight, student))


def rkd_angle_loss(student: Tensor, teacher: Tensor, *, weight: Tensor | None = None) -> Tensor:
    r"""Match angles: Huber's loss of the cosines at :math:`x_i` between :math:`x_j` and :math:`x_k`.

    The loss is averaged over all :math:`N^3` triples, those with a repeated sample included, as in the authors' code.
    It takes N N D and N N N numbers of memory.

    Args:
        student: (N, ...) features, flattened.
        teacher: (N, ...) features of any shape; they receive no gradient.
        weight: (N,) how much each row counts; a triple counts by the product of its weights.

    Returns:
        A scalar; 0 with one row.

    Raises:
        UserError: If the numbers of rows differ.

    References:
        Park et al.: Relational Knowledge Distillation, CVPR 2019, arXiv 1904.05068, equations 8 and 9.

    Example:
        >>> rkd_angle_loss(torch.tensor([[0., 0.], [1., 0.], [0., 1.]]), torch.tensor([[0., 0.], [1., 0.], [2., 0.]]))
        tensor(0.1296)
    """
    student, teacher = full_pair(student, teacher)
    return _by_angle(_offsets(student), _offsets(teacher), row_weights(weight, student))


def rkd_loss(
    student: Tensor, teacher: Tensor, *, distance: float = 25.0, angle: float = 50.0, weight: Tensor | None = None
) -> Tensor:
    """Match distances and angles: ``distance`` times :func:`rkd_distance_loss` plus ``angle`` times the other.

    Args:
        student: (N, ...) features, flattened.
        teacher: (N, ...) features of any shape; they receive no gradient.
        distance: Weight of the distances.
        angle: Weight of the angles.
        weight: (N,) how much each row counts.

    Returns:
        A scalar.

    Raises:
        UserError: If the numbers of rows differ.

    References:
        Park et al.: Relational Knowledge Distillation, CVPR 2019, arXiv 1904.05068. The weights are the benchmark's;
        the paper's for classification keep their proportion, 1 to 2.

    Example:
        >>> rkd_loss(torch.eye(3), 2 * torch.eye(3)).abs() < 1e-5
        tensor(True)
    """
    student, teacher = full_pair(student, teacher)
    sides = _offsets(student), _offsets(teacher), row_weights(weight, student)
    loss = distance * _by_distance(*sides)
    # The angles' memory grows with the cube of the batch: they are not computed for nothing.
    return loss + angle * _by_angle(*sides) if angle else loss


class RKDLoss(PairLoss):
    """The module twin of :func:`rkd_loss` on features averaged to one vector a row, added up over pairs of layers.

    Args:
        student_shapes: Shapes of the student's features, without the batch.
        teacher_shapes: Shapes of the teacher's.
        num_samples: Not needed.
        distance: Weight of the distances.
        angle: Weight of the angles.

    Example:
        >>> loss = RKDLoss([(3, 8, 8)], [(5, 4, 4)])
        >>> bool(loss([torch.rand(4, 3, 8, 8)], [torch.rand(4, 5, 4, 4)]) > 0)
        True
    """

    def __init__(
        self,
        student_shapes: Shapes,
        teacher_shapes: Shapes,
        *,
        num_samples: int | None = None,
        distance: float = 25.0,
        angle: float = 50.0,
    ) -> None:
        super().__init__(student_shapes, teacher_shapes, num_samples=num_samples)
        self.distance, self.angle = distance, angle

    def pair(self, number: int, student: Tensor, teacher: Tensor, weight: Tensor | None) -> Tensor:
        """Compare one pair's relations."""
        return rkd_loss(pooled(student), pooled(teacher), distance=self.distance, angle=self.angle, weight=weight)
