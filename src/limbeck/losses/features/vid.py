"""Variational information distillation: how well the student's feature predicts the teacher's."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limbeck.errors import UserError
from limbeck.losses.features._shapes import Shape, Shapes, applied, channels, check_kinds, pointwise, same_size
from limbeck.losses.features.base import PairLoss
from limbeck.rows import full, row_mean

_EPS = 1e-5


def _inverse_softplus(value: float) -> float:
    return value + math.log(-math.expm1(-value))


class _Gaussian(nn.Module):
    """The teacher's feature given the student's: a mean by three pointwise layers, a variance a channel."""

    def __init__(self, student: Shape, teacher: Shape, variance: float) -> None:
        super().__init__()
        width = channels(teacher)
        layers = [pointwise(student, inputs, width, bias=False) for inputs in (channels(student), width, width)]
        self.mean = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
        self.scale = nn.Parameter(torch.full((width,), _inverse_softplus(variance - _EPS)))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return (N,) negative log likelihoods, averaged over a row's entries, without the constant."""
        variance = F.softplus(full(self.scale)) + _EPS
        variance = variance.view(-1, 1, 1) if teacher.ndim == 4 else variance
        errors = (applied(self.mean, student) - teacher).square() / variance + variance.log()
        return errors.flatten(1).mean(1) / 2


class VIDLoss(PairLoss):
    r"""Maximize a bound of the information that the student's feature has of the teacher's.

    .. math:: \frac{1}{N} \sum_i \mathrm{mean}_{cxy} \, \frac12 \Big(
        \frac{(f^t_{icxy} - \mu_{cxy}(f^s_i))^2}{\sigma_c^2} + \log \sigma_c^2 \Big)

    :math:`\mu` is a perceptron of three pointwise layers as wide as the teacher's feature, without biases,
    :math:`\sigma_c^2 = \mathrm{softplus}(\alpha_c) + 10^{-5}`; both are trained. Averaged over a row's entries and
    over the rows, where the paper's equation 5 sums; maps of different sizes are averaged to the smaller one, as in
    the benchmark's code, which this follows. The pairs of layers are added up. It can be negative.

    Args:
        student_shapes: Shapes of the student's features, without the batch.
        teacher_shapes: Shapes of the teacher's, of the same kinds.
        num_samples: Not needed.
        variance: The variance that training begins with.

    Raises:
        UserError: If a map is to be compared with tokens or a vector, or the variance is not above 1e-5.

    References:
        Ahn et al.: Variational Information Distillation for Knowledge Transfer, CVPR 2019, arXiv 1904.05835.

    Example:
        >>> loss = VIDLoss([(4, 8, 8)], [(6, 8, 8)], variance=1.0)
        >>> print(f"{loss([torch.zeros(2, 4, 8, 8)], [torch.ones(2, 6, 8, 8)]):.4f}")
        0.5000
    """

    def __init__(
        self, student_shapes: Shapes, teacher_shapes: Shapes, *, num_samples: int | None = None, variance: float = 5.0
    ) -> None:
        super().__init__(student_shapes, teacher_shapes, num_samples=num_samples)
        if not _EPS < variance < float("inf"):
            raise UserError(f"variance: got {variance}, expected a number above {_EPS}")
        check_kinds(self.shape_pairs)
        self.gaussians = nn.ModuleList(_Gaussian(*pair, variance) for pair in self.shape_pairs)

    def pair(self, number: int, student: Tensor, teacher: Tensor, weight: Tensor | None) -> Tensor:
        """Compute one pair's likelihood."""
        return row_mean(self.gaussians[number](*same_size(student, teacher)), weight)
