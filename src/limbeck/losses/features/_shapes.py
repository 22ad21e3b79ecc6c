"""What feature losses share: shapes and sizes, vectors of length one, and weights of rows."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limbeck.errors import UserError
from limbeck.rows import full

Shape = tuple[int, ...]
Shapes = Sequence[Sequence[int]]
_KINDS = {1: "a vector", 2: "tokens", 3: "a map"}
# Below this a row counts as zero: its direction is noise, and the gradient of its length would overflow.
_NOTHING = 1e-20


def check_shapes(shapes: Shapes, name: str) -> tuple[Shape, ...]:
    """Return shapes as tuples, or raise ``UserError``: (channels,), (tokens, channels) or (channels, height, width).

    Example:
        >>> check_shapes([[16, 8, 8]], "student_shapes")
        ((16, 8, 8),)
    """
    checked = tuple(tuple(int(size) for size in shape) for shape in shapes)
    if not checked or any(len(shape) not in _KINDS or min(shape) < 1 for shape in checked):
        raise UserError(f"{name}: got {list(checked)}, expected at least one (C,), (T, C) or (C, H, W), without batch")
    return checked


def channels(shape: Shape) -> int:
    """Return a feature's channels: the first size of a map, the last one of tokens or of a vector.

    Example:
        >>> channels((16, 8, 8)), channels((197, 192))
        (16, 192)
    """
    return shape[0] if len(shape) == 3 else shape[-1]


def kind(shape: Shape) -> str:
    """Name the kind of a feature of this shape.

    Example:
        >>> kind((16, 8, 8))
        'a map'
    """
    return _KINDS[len(shape)]


def check_kinds(pairs: Sequence[tuple[Shape, Shape]]) -> None:
    """Raise ``UserError`` unless both shapes of every pair are of one kind.

    Example:
        >>> check_kinds([((16, 8, 8), (5, 3))])
        Traceback (most recent call last):
        limbeck.errors.UserError: teacher_shapes: got tokens (5, 3), expected a map as of the student
    """
    for student, teacher in pairs:
        if len(student) != len(teacher):
            raise UserError(
                f"teacher_shapes: got {kind(teacher)} {teacher}, expected {kind(student)} as of the student"
            )


def full_pair(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Return two features in full precision, the teacher's without a graph.

    Raises:
        UserError: If one is no batch of floats, or the numbers of rows differ.

    Example:
        >>> full_pair(torch.zeros(2, 3), torch.zeros(4, 3))
        Traceback (most recent call last):
        limbeck.errors.UserError: teacher feature: got (4, 3), expected 2 rows like the student's
    """
    for name, feature in (("student", student), ("teacher", teacher)):
        if not isinstance(feature, Tensor) or feature.ndim < 2 or not feature.is_floating_point():
            got = f"{tuple(feature.shape)} {feature.dtype}" if isinstance(feature, Tensor) else type(feature).__name__
            raise UserError(f"{name} feature: got {got}, expected a batch of floats such as (N, channels, H, W)")
    if student.shape[0] != teacher.shape[0]:
        expected = f"{student.shape[0]} rows like the student's"
        raise UserError(f"teacher feature: got {tuple(teacher.shape)}, expected {expected}")
    return full(student), full(teacher.detach())


def pooled(feature: Tensor) -> Tensor:
    """Average a feature to one vector a row.

    Args:
        feature: (N, C, H, W), (N, T, C) or (N, C).

    Returns:
        (N, C).

    Example:
        >>> pooled(torch.ones(2, 3, 4, 4)).shape, pooled(torch.ones(2, 5, 3)).shape
        (torch.Size([2, 3]), torch.Size([2, 3]))
    """
    if feature.ndim == 4:
        return feature.mean((2, 3))
    return feature.mean(1) if feature.ndim == 3 else feature


def same_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Bring two maps to one height and width: each is averaged down (adaptive pooling) to the smaller of both.

    Args:
        student: (N, C, H, W), (N, T, C) or (N, C).
        teacher: The same kind, with channels of its own.

    Returns:
        Both; tokens and vectors unchanged.

    Raises:
        UserError: If they are of different kinds, or have different numbers of tokens.

    Example:
        >>> student, teacher = same_size(torch.zeros(2, 8, 4, 4), torch.zeros(2, 16, 7, 7))
        >>> student.shape, teacher.shape
        (torch.Size([2, 8, 4, 4]), torch.Size([2, 16, 4, 4]))
    """
    if student.ndim != teacher.ndim or (student.ndim == 3 and student.shape[1] != teacher.shape[1]):
        expected = f"the student's kind and number of tokens, {tuple(student.shape)}"
        raise UserError(f"teacher feature: got {tuple(teacher.shape)}, expected {expected}")
    if student.ndim != 4 or student.shape[2:] == teacher.shape[2:]:
        return student, teacher
    size = (min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3]))
    return F.adaptive_avg_pool2d(student, size), F.adaptive_avg_pool2d(teacher, size)


def pointwise(kind_of: Shape, inputs: int, outputs: int, *, bias: bool = True) -> nn.Module:
    """Make a layer that maps channels at every place alike: a 1x1 convolution for maps, else a linear layer.

    Example:
        >>> pointwise((8, 4, 4), 8, 16)
        Conv2d(8, 16, kernel_size=(1, 1), stride=(1, 1))
    """
    return nn.Conv2d(inputs, outputs, 1, bias=bias) if len(kind_of) == 3 else nn.Linear(inputs, outputs, bias=bias)


def applied(layers: nn.Module, feature: Tensor) -> Tensor:
    """Run trained layers in the type of their own parameters; the result is in full precision again.

    Example:
        >>> applied(nn.Linear(2, 3).bfloat16(), torch.zeros(1, 2)).dtype
        torch.float32
    """
    return full(layers(feature.to(next(layers.parameters()).dtype)))


def row_weights(weight: Tensor | None, rows: Tensor) -> Tensor:
    """Return (N,) weights in the rows' type: ones if none were given.

    Raises:
        UserError: If the weight's shape is not (N,).

    Example:
        >>> row_weights(torch.tensor([True, False]), torch.zeros(2, 3))
        tensor([1., 0.])
    """
    if weight is None:
        return rows.new_ones(rows.shape[0])
    if weight.shape != rows.shape[:1]:
        raise UserError(f"weight: got {tuple(weight.shape)}, expected one a row, {tuple(rows.shape[:1])}")
    return weight.detach().to(rows.dtype)


def safe(total: Tensor) -> Tensor:
    """Return a divisor that is 1 where it would have been 0.

    Example:
        >>> safe(torch.tensor([0., 2.]))
        tensor([1., 2.])
    """
    return torch.where(total > 0, total, 1)


def unit(values: Tensor, dim: int = -1, *, least: Tensor | float = 0.0) -> Tensor:
    """Scale to Euclidean length 1 along ``dim``; what is zero stays zero, and has no gradient.

    The largest entry is divided out first, so that no square over- or underflows; the result does not depend on it.

    Args:
        values: Vectors along ``dim``.
        dim: Where they lie.
        least: What is shorter is divided by this instead of its length, so that its gradient is bounded; a number, or
            a tensor that broadcasts with ``dim`` kept.

    Example:
        >>> unit(torch.tensor([[3., 4.], [0., 0.]]))
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])
        >>> unit(torch.tensor([[.3, .4]]), least=1.0)
        tensor([[0.3000, 0.4000]])
    """
    if not values.numel():
        return values
    largest = values.detach().abs().amax(dim, keepdim=True)
    counts = largest > _NOTHING
    largest = torch.where(counts, largest, 1)
    values = torch.where(counts, values / largest, 0)
    lengths = torch.where(counts, values.square().sum(dim, keepdim=True), 1).sqrt()
    return values / torch.maximum(lengths, (least / largest).expand_as(lengths))
