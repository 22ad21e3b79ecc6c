"""Knowledge review: each teacher layer is matched by a fusion of the student's layer with all deeper ones."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limbeck.errors import UserError
from limbeck.losses.features._shapes import Shapes, full_pair, kind, pooled
from limbeck.losses.features.base import FeatureLoss, RowInfo
from limbeck.rows import full, row_mean

_WIDEST = 512
_POOLED_TO = (4, 2, 1)


def hierarchical_context_loss(student: Tensor, teacher: Tensor, *, weight: Tensor | None = None) -> Tensor:
    r"""Match a map and its averages over 4x4, 2x2 and 1x1 fields, with weights 1, 1/2, 1/4 and 1/8.

    Each level is a mean squared error over a row's entries; the levels' weighted mean is averaged over the rows.
    Levels that are not smaller than the map's height are left out, as in the authors' code.

    Args:
        student: (N, C, H, W) map.
        teacher: (N, C, H, W) map; it receives no gradient.
        weight: (N,) how much each row counts.

    Returns:
        A scalar.

    Raises:
        UserError: If the shapes differ or are no maps.

    References:
        Chen et al.: Distilling Knowledge via Knowledge Review, CVPR 2021, arXiv 2104.09044, section 3.4.

    Example:
        >>> hierarchical_context_loss(torch.ones(1, 2, 8, 8), torch.zeros(1, 2, 8, 8))
        tensor(1.)
    """
    student, teacher = full_pair(student, teacher)
    if student.shape != teacher.shape or student.ndim != 4:
        expected = f"the student's {tuple(student.shape)}, a map (N, C, H, W)"
        raise UserError(f"teacher feature: got {tuple(teacher.shape)}, expected {expected}")
    rows, factor, total = _errors(student, teacher), 1.0, 1.0
    for size in _POOLED_TO:
        if size < student.shape[2]:
            factor, total = factor / 2, total + factor / 2
            pair = F.adaptive_avg_pool2d(student, size), F.adaptive_avg_pool2d(teacher, size)
            rows = rows + factor * _errors(*pair)
    return row_mean(rows / total, weight)


def _errors(student: Tensor, teacher: Tensor) -> Tensor:
    return (student - teacher).square().flatten(1).mean(1)


class _BatchNorm(nn.BatchNorm2d):
    """Batch norm that uses its running statistics where a batch has one value a channel and so none of its own."""

    def forward(self, x: Tensor) -> Tensor:
        if x.numel() > x.shape[1]:
            return super().forward(x)
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)


def _convolution(inputs: int, outputs: int, size: int) -> nn.Sequential:
    layer = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False)
    nn.init.kaiming_uniform_(layer.weight, a=1)
    return nn.Sequential(layer, _BatchNorm(outputs))


class _Fusion(nn.Module):
    """Attention-based fusion: the student's layer and what came up from the deeper ones, weighted at each place."""

    def __init__(self, inputs: int, middle: int, outputs: int, *, deepest: bool) -> None:
        super().__init__()
        self.reduce, self.expand = _convolution(inputs, middle, 1), _convolution(middle, outputs, 3)
        self.attention = None if deepest else nn.Conv2d(2 * middle, 2, 1)

    def forward(self, feature: Tensor, deeper: Tensor | None, size: torch.Size) -> tuple[Tensor, Tensor]:
        """Return what is compared with the teacher's map of ``size``, and what goes up to the next layer."""
        fused = self.reduce(feature)
        if self.attention is not None and deeper is not None:
            deeper = F.interpolate(deeper, fused.shape[2:], mode="nearest")
            shares = torch.sigmoid(self.attention(torch.cat([fused, deeper], dim=1)))
            fused = fused * shares[:, :1] + deeper * shares[:, 1:]
        if fused.shape[2:] != size:
            fused = F.interpolate(fused, size, mode="nearest")
        return self.expand(fused), fused


class ReviewKDLoss(FeatureLoss):
    """Match every teacher map by a fusion of the student's map there and all deeper ones, from the deepest up.

    The fusion brings the student's channels to a common width (those of its deepest map, at most 512), mixes them
    with the deeper layers' by a learned attention at each place, and expands them to the teacher's channels. The maps
    are compared by :func:`hierarchical_context_loss`, added up over the layers.

    The released code raises the weight over 20 epochs, which the method's ``warmup`` does, and compares maps in front
    of their last ReLU, which is up to the layers' names (such as ``layer1.0.add``).

    Args:
        student_shapes: Shapes of the student's maps, shallow to deep.
        teacher_shapes: Shapes of the teacher's maps, shallow to deep.
        num_samples: Not needed.
        embedding: Whether the average of the deepest map after its ReLU, the vector that a classifier sees, is one more
            layer, the deepest, as in the released code. Of a map in front of its ReLU the negative values are left out.

    Raises:
        UserError: If a feature is no map.

    References:
        Chen et al.: Distilling Knowledge via Knowledge Review, CVPR 2021, arXiv 2104.09044, figure 3.

    Example:
        >>> loss = ReviewKDLoss([(4, 8, 8), (8, 4, 4)], [(6, 8, 8), (12, 4, 4)])
        >>> student = [torch.rand(2, 4, 8, 8), torch.rand(2, 8, 4, 4)]
        >>> bool(loss(student, [torch.rand(2, 6, 8, 8), torch.rand(2, 12, 4, 4)]) > 0)
        True
    """

    def __init__(
        self, student_shapes: Shapes, teacher_shapes: Shapes, *, num_samples: int | None = None, embedding: bool = True
    ) -> None:
        super().__init__(student_shapes, teacher_shapes, num_samples=num_samples)
        for shape in (*self.student_shapes, *self.teacher_shapes):
            if len(shape) != 3:
                raise UserError(f"shapes: got {kind(shape)} {shape}, expected maps (C, H, W)")
        self.embedding = embedding
        pairs = [(student[0], teacher[0]) for student, teacher in self.shape_pairs]
        pairs += pairs[-1:] if embedding else []
        middle, last = min(_WIDEST, pairs[-1][0]), len(pairs) - 1
        fusions = (_Fusion(inputs, middle, outputs, deepest=n == last) for n, (inputs, outputs) in enumerate(pairs))
        self.fusions = nn.ModuleList(fusions)

    def compare(self, students: list[Tensor], teachers: list[Tensor], rows: RowInfo) -> Tensor:
        """Fuse from the deepest layer up, and add the layers' losses up."""
        students, teachers = self._levels(students), self._levels(teachers)
        losses: list[Tensor] = []
        deeper: Tensor | None = None
        for fusion, student, teacher in reversed(list(zip(self.fusions, students, teachers, strict=True))):
            fused, deeper = fusion(student.to(next(fusion.parameters()).dtype), deeper, teacher.shape[2:])
            losses.append(hierarchical_context_loss(full(fused), teacher, weight=rows.weight))
        return torch.stack(losses).sum()

    def _levels(self, maps: list[Tensor]) -> list[Tensor]:
        return [*maps, pooled(F.relu(maps[-1]))[..., None, None]] if self.embedding else maps
