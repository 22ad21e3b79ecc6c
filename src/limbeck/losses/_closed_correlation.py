r"""DIST's two correlation distances with their gradient in closed form, block by block.

With :math:`a, b` a row or column of the student's and the teacher's probabilities less their mean and
:math:`D = |a||b| + \epsilon`,

.. math:: \frac{\partial}{\partial a} \frac{a \cdot b}{D} = \frac{b}{D} - \frac{a \cdot b}{D^2} \frac{|b|}{|a|} a

which has mean 0 itself, so that centering needs no backward of its own. Where a norm is below its bound, the bound
takes its place, and the second summand gives way to the bound's own gradient. A bound is a share of the mean, which
for a row is always 1 / C. A row or column thus needs three sums, and the gradient of both terms with respect to a
probability p of the student, whose teacher has q, is in row i and column j
:math:`p (v_i + B_j) - q (u_i + A_j) + K_j`, up to what is constant along the row and does not pass softmax. Only the
probabilities are kept between forward and backward. Small logits are a matter of how many operations there are, so
that rows and columns are treated in one, as N + C vectors.
"""

import math
from collections.abc import Iterator, Sequence
from functools import partial, reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch import distributed as dist

from limbeck.losses._blocks import block_of, block_rows, with_gradient
from limbeck.losses._correlation import EPS, correlation_distance
from limbeck.losses.spread import relative_spread
from limbeck.ranks import are_several
from limbeck.rows import full

# What is kept of each block, its columns' statistics, costs as much as a few rows.
_LEAST_ROWS = 32
# A row of fewer classes does not fill a CPU's vector units: there the rows are what lies in order in memory.
_NARROW = 32
_LOG2_E = 1 / math.log(2)
# Above this least spread a gradient enlarges what rounding leaves of a constant row or column too little to matter.
_ABOVE_ROUNDING = 0.01


class _Columns(NamedTuple):
    """Summed weight of the rows, (2, C) means of student and teacher, and (3, C) centered sums as in ``_sums``."""

    total: Tensor | int
    means: Tensor
    sums: Tensor

    @property
    def divisor(self) -> Tensor | int:
        """The total, or 1 if it is 0."""
        return self.total if isinstance(self.total, int) else self.total.where(self.total > 0, 1)


def _empty(like: Tensor, tensors: int, rows: int, classes: int) -> Tensor:
    """Return (tensors, rows, classes) memory, with the rows innermost where there are few classes."""
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    if like.is_cpu and classes < _NARROW:
        return like.new_empty((tensors, classes, rows), dtype=dtype).mT
    return like.new_empty((tensors, rows, classes), dtype=dtype)


def _soften(student: Tensor, teacher: Tensor, temperature: float, out: Tensor) -> None:
    """Write both sides' probabilities to ``out``, (2, rows, C)."""
    across = out.stride(2) != 1
    # Across memory the library's softmax is slow, and the power of two is the same function as its exponential.
    factor = (_LOG2_E if across else 1) / temperature
    of_student, of_teacher = out.unbind()
    torch.mul(full(student), factor, out=of_student)
    torch.mul(full(teacher), factor, out=of_teacher)
    if across:
        out.sub_(out.amax(2, keepdim=True)).exp2_()
        out.mul_(out.sum(2, keepdim=True).reciprocal_())
    else:
        torch.softmax(out, 2, out=out)


class _Spare(NamedTuple):
    """Memory for three tensors of a block: all of it, the first two, and each."""

    whole: Tensor
    both: Tensor
    parts: Sequence[Tensor]


def _sums(spare: _Spare, axis: int) -> Tensor:
    """Return (3, ...) sums along ``axis`` of the squares of the first two tensors in memory and of their product."""
    student, teacher, product = spare.parts
    torch.mul(student, teacher, out=product)
    spare.both.mul_(spare.both)
    return spare.whole.sum(axis)


def _columns(pair: Tensor, weight: Tensor | None, spare: _Spare) -> _Columns:
    if weight is None:
        means = pair.mean(1, keepdim=True)
        torch.sub(pair, means, out=spare.both)
        return _Columns(pair.shape[1], means.squeeze(1), _sums(spare, 1))
    total = weight.sum()
    share = weight / total.clamp_min(torch.finfo(weight.dtype).tiny)
    means = torch.mul(pair, share, out=spare.both).sum(1, keepdim=True)
    torch.sub(pair, means, out=spare.both).mul_(weight.sqrt())
    return _Columns(total, means.squeeze(1), _sums(spare, 1))


def _merge(one: _Columns, two: _Columns) -> _Columns:
    """Merge two groups of rows (Chan, Golub, LeVeque 1979).

    Sums centered in their group keep the digits that a difference of raw moments loses in a nearly constant column.
    """
    total = one.total + two.total
    share = two.total / (total.clamp_min(torch.finfo(total.dtype).tiny) if isinstance(total, Tensor) else total)
    gaps = two.means - one.means
    between = torch.cat([gaps * gaps, gaps[:1] * gaps[1:]]) * (one.total * share)
    return _Columns(total, one.means + gaps * share, one.sums + two.sums + between)


def _merge_processes(columns: _Columns) -> _Columns:
    """Merge the columns of all processes of ``torch.distributed``, in one exchange of 5 C + 1 numbers."""
    total, means, sums = columns
    local = torch.cat([means.new_ones(1) * total, means.flatten(), sums.flatten()])
    table = [torch.empty_like(local) for _ in range(dist.get_world_size())]
    dist.all_gather(table, local)
    sizes = [1, means.numel(), sums.numel()]
    groups = (row.split_with_sizes(sizes) for row in table)
    return reduce(_merge, (_Columns(one[0], two.view(2, -1), three.view(3, -1)) for one, two, three in groups))


class _Batch(NamedTuple):
    """(N, C) logits of both sides, (N,) weights, (2, N, C) memory for probabilities, and how many rows make a block."""

    student: Tensor
    teacher: Tensor
    weight: Tensor | None
    kept: Tensor | None
    step: int

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Yield where each block starts, and how many rows it has."""
        rows = self.student.shape[0]
        return ((start, min(self.step, rows - start)) for start in range(0, max(rows, 1), self.step))

    def weights(self, *block: int) -> Tensor | None:
        """Return the (rows, 1) weights of a block."""
        return None if self.weight is None else block_of(self.weight, *block).unsqueeze(1)


def _statistics(batch: _Batch, temperature: float) -> tuple[list[Tensor], _Columns]:
    """Go over the rows once, and keep their probabilities if there is memory for them.

    Returns:
        (3, rows) sums of each block's rows, and the columns.
    """
    of_rows, of_columns, classes = [], [], batch.student.shape[1]
    memory = _empty(batch.student, 5 if batch.kept is None else 3, batch.step, classes)
    for start, rows in batch.blocks():
        block = block_of(memory, 0, rows, 1)
        pair = block[3:] if batch.kept is None else block_of(batch.kept, start, rows, 1)
        whole = block[:3] if batch.kept is None else block
        spare = _Spare(whole, whole[:2], whole.unbind())
        _soften(block_of(batch.student, start, rows), block_of(batch.teacher, start, rows), temperature, pair)
        of_columns.append(_columns(pair, batch.weights(start, rows), spare))
        # A row of probabilities has the mean 1 / C.
        torch.sub(pair, 1 / classes, out=spare.both)
        of_rows.append(_sums(spare, 2))
    return of_rows, reduce(_merge, of_columns)


class _Relations(NamedTuple):
    """What the centered sums of all N rows and C columns give.

    Attributes:
        together: (N + C,) centered sums of student times teacher.
        bounded: (2, N + C), the norms of both, bounded from below.
        is_bound: (N + C,), where the student's is below its bound.
        products: (N + C,) products of the bounded norms.
        varies: (2, N + C), what varies by more than its rounding; None where that makes no difference.
    """

    together: Tensor
    bounded: Tensor
    is_bound: Tensor
    products: Tensor
    varies: Tensor | None


def _relations(of_rows: list[Tensor], columns: _Columns, least: Tensor | float) -> _Relations:
    sums, classes = torch.cat([*of_rows, columns.sums], 1), columns.means.shape[1]
    # Rounding alone gives equal numbers some spread.
    level = 4 * torch.finfo(sums.dtype).eps
    least = least.clamp_min(level) if isinstance(least, Tensor) else max(least, level)
    row, shape = least / classes**0.5, (2, sums.shape[1] - classes)
    row = row.expand(shape) if isinstance(row, Tensor) else sums.new_full(shape, row)
    limits = torch.cat([row, columns.means * (columns.divisor**0.5 * least)], 1)
    norms = sums[:2].sqrt()
    bounded = torch.maximum(norms, limits)
    products = torch.mul(*bounded.unbind()).add_(EPS)
    varies = norms > limits * (level / least) if isinstance(least, Tensor) or least < _ABOVE_ROUNDING else None
    return _Relations(sums[2], bounded, (limits >= norms)[0], products, varies)


def _pulls(found: _Relations, columns: _Columns, least: Tensor | float) -> tuple[Tensor, Tensor]:
    """Return (2, N) and (3, C): what student and teacher are multiplied by in :func:`_slope`, and what columns add."""
    together, bounded, is_bound, products, varies = found
    of_student, of_teacher = bounded.unbind()
    along, across, constant = (pulls := together.new_empty(3, together.shape[0])).unbind()
    torch.reciprocal(products, out=across)
    torch.mul(together, of_teacher, out=along).div_(of_student).div_(products).masked_fill_(is_bound, 0).mul_(across)
    if varies is not None:
        # What does not vary has no direction to pull in; its rounding would have one, enlarged up to 1 / EPS times.
        pulls[:2].mul_(varies)
    torch.mul(of_teacher.div(products.square()).mul_(together), is_bound, out=constant)
    of_rows, of_columns = _apart(pulls, columns, 1)
    # A column's bound grows with its mean, and its centering takes the mean from both sides.
    of_columns[2:].mul_(least / columns.divisor**0.5).add_((of_columns[:2] * columns.means).diff(dim=0))
    return of_rows[:2], of_columns


def _apart(values: Tensor, columns: _Columns, axis: int = 0) -> Sequence[Tensor]:
    """Return the values of rows, and those of columns."""
    classes = columns.means.shape[1]
    parts: Sequence[Tensor] = values.split_with_sizes([values.shape[axis] - classes, classes], axis)
    return parts


def _gradient(batch: _Batch, rows: Tensor, columns: Tensor) -> Tensor:
    """Return the (N, C) gradient with respect to the student's logits, from both pulls."""
    assert batch.kept is not None
    rows, of_columns, gradient = rows.unsqueeze(2), columns.unbind(), batch.kept.new_empty(batch.student.shape)
    transposed = batch.kept.stride(2) != 1
    # Where the result has a block's layout, it also serves as memory for the block.
    memory = _empty(batch.student, 2 if transposed else 1, batch.step, gradient.shape[1]).unbind()
    for start, length in batch.blocks():
        result, spare = block_of(gradient, start, length), block_of(memory[0], 0, length)
        slope = block_of(memory[1], 0, length) if transposed else result
        student, teacher = block_of(batch.kept, start, length, 1).unbind()
        of_rows = block_of(rows, start, length, 1).unbind()
        _slope(student, teacher, of_rows, of_columns, batch.weights(start, length), spare, slope)
        _through_softmax(slope, student, result)
    return gradient


def _slope(
    student: Tensor,
    teacher: Tensor,
    rows: Sequence[Tensor],
    columns: Sequence[Tensor],
    weight: Tensor | None,
    spare: Tensor,
    out: Tensor,
) -> None:
    """Write the gradient with respect to the student's probabilities in a block."""
    (along, across), (of_student, of_teacher, constant) = rows, columns
    if weight is None:
        torch.addcmul(constant, student, torch.add(along, of_student, out=spare), out=out)
        out.addcmul_(teacher, torch.add(across, of_teacher, out=spare), value=-1)
        return
    torch.mul(student, torch.addcmul(along, of_student, weight, out=spare), out=out)
    out.addcmul_(teacher, torch.addcmul(across, of_teacher, weight, out=spare), value=-1).addcmul_(constant, weight)


def _through_softmax(slope: Tensor, soft: Tensor, out: Tensor) -> None:
    """Turn the gradient with respect to probabilities to that with respect to logits; ``slope`` is overwritten."""
    if slope is out:
        torch.ops.aten._softmax_backward_data.out(slope, soft, 1, soft.dtype, grad_input=out)
        return
    # The library's backward is slow across memory.
    slope.mul_(soft)
    out.copy_(slope.addcmul_(soft, slope.sum(1, keepdim=True), value=-1))


def _terms(found: _Relations, columns: _Columns, weight: Tensor | None, gather: bool) -> tuple[Tensor, Tensor]:
    """Return the mean distance between rows, and that between columns."""
    of_rows, of_columns = _apart(1 - found.together / found.products, columns)
    if isinstance(columns.total, int):
        return of_rows.mean(), of_columns.mean()
    inter = (of_rows if weight is None else of_rows * weight).sum()
    if gather:
        dist.all_reduce(inter)
    # With no row to learn from there is no relation to match either: both terms are 0, as for every loss.
    return inter / columns.divisor, of_columns.mean() * (columns.total > 0)


def _value_and_gradient(
    student: Tensor,
    wanted: bool,
    *,
    teacher_logits: Tensor,
    temperature: float,
    gather: bool,
    weight: Tensor | None,
    scales: tuple[float, float],
    min_spread: Tensor | float,
) -> tuple[Tensor, Tensor | None]:
    rows, classes = student.shape
    if weight is not None or not rows:
        weight = full(student.new_ones(rows) if weight is None else weight.to(student.dtype))
    kept = _empty(student, 2, rows, classes) if wanted else None
    batch = _Batch(student, teacher_logits, weight, kept, block_rows(student, least_rows=_LEAST_ROWS))
    of_rows, columns = _statistics(batch, temperature)
    if gather:
        columns = _merge_processes(columns)
    least = relative_spread(min_spread, temperature)
    found = _relations(of_rows, columns, least)
    inter, intra = _terms(found, columns, weight, gather)
    value = torch.add(inter * scales[0], intra, alpha=scales[1])
    if not wanted:
        return value, None
    along_rows, along_columns = _pulls(found, columns, least)
    if weight is not None:
        along_rows.mul_(weight)
    along_rows.mul_(scales[0] / (columns.divisor * temperature))
    along_columns.mul_(scales[1] / (classes * temperature))
    return value, _gradient(batch, along_rows, along_columns)


def closed_distance(
    student_logits: Tensor, teacher_logits: Tensor, *, gather: bool, weight: Tensor | None, **settings: Any
) -> Tensor:
    """Return what :func:`correlation_distance` does, by a formula for the gradient as well.

    Differentiable in the student's logits; a gradient that is to be differentiated itself is that of the plain formula.
    With ``gather``, processes exchange the columns' sums, not rows.

    Example:
        >>> logits, settings = torch.eye(3), {"temperature": 1.0, "scales": (1.0, 1.0), "min_spread": 0.0}
        >>> bool(closed_distance(logits, 2 * logits, gather=False, weight=None, **settings).abs() < 1e-5)
        True
    """
    settings |= {"teacher_logits": teacher_logits, "gather": gather and are_several(), "weight": weight}
    formulas = partial(_value_and_gradient, **settings), partial(correlation_distance, **settings)
    return with_gradient(student_logits, *formulas, gather=settings["gather"])
