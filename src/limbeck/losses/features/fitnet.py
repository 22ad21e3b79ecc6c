"""FitNets: regress the teacher's feature from the student's."""

from torch import Tensor, nn

from limbeck.errors import UserError
from limbeck.losses.features._shapes import Shapes, applied, channels, check_kinds, full_pair, pointwise, same_size
from limbeck.losses.features.base import PairLoss
from limbeck.rows import row_mean


def mimic_loss(student: Tensor, teacher: Tensor, *, weight: Tensor | None = None) -> Tensor:
    r"""Match a feature of the same shape: :math:`\frac{1}{N} \sum_i \mathrm{mean}\,(f^s_i - f^t_i)^2`.

    The squared error is averaged over a row's entries and over the rows, as ``F.mse_loss`` does.

    Args:
        student: (N, ...) features.
        teacher: (N, ...) features of the same shape; they receive no gradient.
        weight: (N,) how much each row counts.

    Returns:
        A scalar.

    Raises:
        UserError: If the shapes differ.

    References:
        Romero et al.: FitNets: Hints for Thin Deep Nets, ICLR 2015, arXiv 1412.6550, equation 3 (there summed and
        halved instead of averaged).

    Example:
        >>> import torch
        >>> mimic_loss(torch.tensor([[1., 2.]]), torch.tensor([[0., 0.]]))
        tensor(2.5000)
    """
    student, teacher = full_pair(student, teacher)
    if student.shape != teacher.shape:
        expected = tuple(student.shape)
        raise UserError(f"teacher feature: got {tuple(teacher.shape)}, expected the student's shape {expected}")
    return row_mean((student - teacher).square().flatten(1).mean(1), weight)


class FitNetLoss(PairLoss):
    """Map the student's channels to the teacher's with a trained 1x1 convolution, and match (:func:`mimic_loss`).

    Maps of different sizes are averaged to the smaller one. The pairs of layers are added up.

    The paper trains up to the hint in a first stage of its own; the benchmark's code, as here, adds the loss to the
    cross-entropy from the start. For the regressor the benchmark takes a convolution with stride or transposed where
    sizes differ, and a batch norm (and in RepDistiller a ReLU) behind it; ours is a plain 1x1 convolution.

    Args:
        student_shapes: Shapes of the student's features, without the batch.
        teacher_shapes: Shapes of the teacher's, of the same kinds.
        num_samples: Not needed.

    Raises:
        UserError: If a map is to be compared with tokens or a vector.

    References:
        Romero et al.: FitNets: Hints for Thin Deep Nets, ICLR 2015, arXiv 1412.6550, section 2.2.

    Example:
        >>> import torch
        >>> loss = FitNetLoss([(4, 8, 8)], [(6, 4, 4)])
        >>> loss([torch.zeros(2, 4, 8, 8)], [torch.zeros(2, 6, 4, 4)]).shape
        torch.Size([])
    """

    def __init__(self, student_shapes: Shapes, teacher_shapes: Shapes, *, num_samples: int | None = None) -> None:
        super().__init__(student_shapes, teacher_shapes, num_samples=num_samples)
        check_kinds(self.shape_pairs)
        layers = (pointwise(shape, channels(shape), channels(teacher)) for shape, teacher in self.shape_pairs)
        self.regressors = nn.ModuleList(layers)

    def pair(self, number: int, student: Tensor, teacher: Tensor, weight: Tensor | None) -> Tensor:
        """Regress and match one pair."""
        student, teacher = same_size(student, teacher)
        return mimic_loss(applied(self.regressors[number], student), teacher, weight=weight)
