"""Attention transfer: at which places a layer is active, in any of its channels."""

from torch import Tensor

from limbeck.errors import UserError
from limbeck.losses.features._shapes import Shapes, full_pair, kind, same_size, unit
from limbeck.losses.features.base import PairLoss
from limbeck.rows import row_mean

# Activations below this count as if they had this size, so that no direction of next to nothing is followed [ours].
_LEAST = 0.01


def _attention(feature: Tensor, power: float) -> Tensor:
    # The map's scale cancels when it is normalized: dividing it out first keeps the powers in range.
    largest = feature.detach().abs().flatten(1).amax(1).clamp_min(1e-20)
    scaled = feature / largest.view(-1, *[1] * (feature.ndim - 1))
    attention = scaled.abs().pow(power).mean(1 if feature.ndim == 4 else 2).flatten(1)
    return unit(attention, least=(_LEAST / largest[:, None]).pow(power))


def at_loss(student: Tensor, teacher: Tensor, *, power: float = 2.0, weight: Tensor | None = None) -> Tensor:
    r"""Match attention maps, the mean over channels of :math:`|f|^p`, each scaled to length 1.

    .. math:: \frac{1}{N} \sum_i \mathrm{mean}_{xy}
        \Big(\frac{Q^s_i}{\|Q^s_i\|_2} - \frac{Q^t_i}{\|Q^t_i\|_2}\Big)^2, \quad Q_i = \sum_c |f_{ic}|^p

    This is the authors' code: squared differences averaged over places and rows. The paper's equation 2 has the
    (unsquared) norm of the difference, summed.

    Args:
        student: (N, C, H, W) maps or (N, T, C) tokens.
        teacher: The same kind, any channels; maps of another size are averaged down to the smaller one.
        power: p, at least 1.
        weight: (N,) how much each row counts.

    Returns:
        A scalar, at most 4 / (H W).

    Raises:
        UserError: If there are no places (vectors), the kinds differ, or the power is below 1.

    References:
        Zagoruyko, Komodakis: Paying More Attention to Attention, ICLR 2017, arXiv 1612.03928, section 3.1.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[[[3., 4.]]]]), torch.tensor([[[[1., 0.]]]])
        >>> at_loss(student, teacher, power=1)
        tensor(0.4000)
    """
    student, teacher = full_pair(student, teacher)
    if student.ndim not in (3, 4):
        raise UserError(f"student feature: got {tuple(student.shape)}, expected maps (N, C, H, W) or tokens (N, T, C)")
    if not 1 <= power < float("inf"):
        raise UserError(f"power: got {power}, expected a number of at least 1")
    student, teacher = same_size(student, teacher)
    return row_mean((_attention(student, power) - _attention(teacher, power)).square().mean(1), weight)


class ATLoss(PairLoss):
    """The module twin of :func:`at_loss`, added up over the pairs of layers.

    Args:
        student_shapes: Shapes of the student's features, without the batch.
        teacher_shapes: Shapes of the teacher's.
        num_samples: Not needed.
        power: p of the attention map.

    Raises:
        UserError: If a feature is a vector.

    Example:
        >>> import torch
        >>> ATLoss([(4, 8, 8)], [(6, 8, 8)])([torch.ones(2, 4, 8, 8)], [torch.ones(2, 6, 8, 8)])
        tensor(0.)
    """

    def __init__(
        self, student_shapes: Shapes, teacher_shapes: Shapes, *, num_samples: int | None = None, power: float = 2.0
    ) -> None:
        super().__init__(student_shapes, teacher_shapes, num_samples=num_samples)
        self.power = power
        for shape in (*self.student_shapes, *self.teacher_shapes):
            if len(shape) == 1:
                raise UserError(f"shapes: got {kind(shape)} {shape}, expected maps or tokens: a vector has no places")

    def pair(self, number: int, student: Tensor, teacher: Tensor, weight: Tensor | None) -> Tensor:
        """Compare one pair's attention."""
        return at_loss(student, teacher, power=self.power, weight=weight)
