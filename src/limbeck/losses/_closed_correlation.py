r"""The two correlation distances with their gradient in closed form, for less memory and time than autograd's.

With :math:`a, b` a row or column of the student's and the teacher's probabilities less their mean and
:math:`D = |a||b| + \epsilon`,

.. math:: \frac{\partial}{\partial a} \frac{a \cdot b}{D} = \frac{b}{D} - \frac{a \cdot b}{D^2} \frac{|b|}{|a|} a

which has mean 0 itself, so that centering needs no backward of its own. Where a norm is below its bound, the bound
takes its place, and the second summand gives way to the bound's own gradient. A bound is a share of the mean, which
for a row is always 1 / C. A row or column thus needs three sums, and the
gradient of both terms with respect to a probability p of the student, whose teacher says q, is in row i and column j
:math:`p (v_i + B_j) + q (u_i + A_j) - K_j`, up to what is constant along the row and does not pass softmax. Only the
probabilities are kept between forward and backward.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch import distributed as dist

from limbeck.errors import UserError
from limbeck.losses._block_softmax import through_softmax
from limbeck.losses._correlation import EPS
from limbeck.losses._correlation_statistics import Columns, merge_processes, statistics
from limbeck.losses._row_blocks import RowBlocks, cut
from limbeck.losses._spread import relative_spread
from limbeck.rows import full


def _varies(sums: Tensor, means: Tensor, total: Tensor) -> Tensor:
    """Return (2, N + C), which side's rows and columns vary by more than the rounding of their mean."""
    level, classes = (4 * torch.finfo(sums.dtype).eps) ** 2, means.shape[1]
    rows_vary = sums[:2, :-classes] > level / classes
    return torch.cat([rows_vary, sums[:2, -classes:] > means.square().mul_(total * level)], dim=1)


class _Norms(NamedTuple):
    """(2, N + C) norms of student and teacher, the same bounded from below, and (N + C) their bounded products."""

    free: Tensor
    bounded: Tensor
    products: Tensor


def _norms(sums: Tensor, least: Tensor) -> _Norms:
    free = sums[:2].sqrt()
    bounded = torch.maximum(free, least)
    return _Norms(free, bounded, torch.mul(bounded[0], bounded[1]).add_(EPS))


def _least_norms(rows: Tensor, columns: Columns, least: Tensor | float) -> Tensor:
    """Return (2, N + C) bounds of the rows' and the columns' norms, by their relative spread."""
    of_rows = rows.new_ones(2, rows.shape[1]) * (least / columns.numbers.shape[1] ** 0.5)
    return torch.cat([of_rows, columns.numbers[:2] * (columns.total.sqrt() * least)], dim=1)


def _factors(sums: Tensor, norms: _Norms, varies: Tensor) -> Tensor:
    """Return (2, N + C), what the centered student and teacher are multiplied by in the distances' gradient."""
    # What does not vary has no direction to pull in; its rounding would have one, enlarged up to 1 / EPS times.
    factors = varies / norms.products
    own = norms.free[0]
    along = sums[2] * norms.bounded[1] / own.clamp_min(torch.finfo(own.dtype).tiny)
    factors[0].mul_(along.div_(norms.products).mul_(own >= norms.bounded[0]))
    factors[1].neg_()
    return factors


def _slope(
    pair: tuple[Tensor, ...],
    rows: tuple[Tensor, ...],
    columns: tuple[Tensor, ...],
    weight: Tensor | None,
    spare: Tensor,
    out: Tensor,
) -> Tensor:
    """Return the gradient with respect to the student's probabilities in a block, in ``out``."""
    own, other = pair
    if weight is None:
        torch.addcmul(columns[2], own, torch.add(rows[0], columns[0], out=spare), out=out)
        return out.addcmul_(other, torch.add(rows[1], columns[1], out=spare))
    torch.mul(own, torch.addcmul(rows[0], columns[0], weight, out=spare), out=out)
    out.addcmul_(other, torch.addcmul(rows[1], columns[1], weight, out=spare))
    return out.addcmul_(columns[2], weight)


def _gradient(
    kept: Tensor, rows: Tensor, columns: Tensor, weight: Tensor | None, blocks: RowBlocks, dtype: torch.dtype
) -> Tensor:
    """Return the (N, C) gradient; ``rows`` is (2, N) and ``columns`` (3, C)."""
    grad = kept.new_empty(blocks.rows, blocks.classes, dtype=dtype)
    # Where the result has a block's layout and type, it also serves as memory for the block.
    direct = blocks.class_axis == 2 and dtype == kept.dtype
    memory = blocks.spare(kept, 1 if direct else 2)
    per_class = blocks.per_class(columns).unbind()
    for part in blocks.parts():
        out, spare = blocks.turn(grad[part]), blocks.fit(memory, part)
        own, other = blocks.view(kept, part).unbind()
        result = out if direct else spare[1]
        share = None if weight is None else blocks.per_row(weight[part])
        per_row = blocks.per_row(rows[:, part]).unbind()
        slope = _slope((own, other), per_row, per_class, share, result, spare[0])
        through_softmax(slope, own, blocks.class_axis - 1, result)
        if not direct:
            out.copy_(result)
    return grad


def _with_the_mean(sums: Tensor, norms: _Norms, columns: Columns, least: Tensor | float) -> Tensor:
    """Return (C,) what a column's distance gains with each of its probabilities, by the bound that follows its mean."""
    classes = columns.numbers.shape[1]
    of_columns = norms.bounded[1] / norms.products.square() * sums[2] * (norms.free[0] < norms.bounded[0])
    return of_columns[-classes:] * (least * columns.total.clamp_min(1e-30).rsqrt())


def _pulls(
    sums: Tensor, norms: _Norms, columns: Columns, weight: Tensor | None, least: Tensor | float
) -> tuple[Tensor, Tensor]:
    """Return what :func:`_gradient` wants of rows and columns, but for factors that are the same for all of either."""
    means, classes = columns.numbers[:2], columns.numbers.shape[1]
    factors = _factors(sums, norms, _varies(sums, means, columns.total))
    rows, of_columns = factors[:, :-classes], factors[:, -classes:]
    constant = (of_columns * means).sum(0, keepdim=True).neg_() + _with_the_mean(sums, norms, columns, least)
    return rows if weight is None else rows * weight, torch.cat([of_columns, constant])


def _sum(of_rows: Tensor, weight: Tensor | None, gather: bool) -> Tensor:
    total = (of_rows if weight is None else of_rows * weight).sum()
    if gather:
        dist.all_reduce(total)
    return total


class _Distances(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        student: Tensor,
        teacher: Tensor,
        temperature: float,
        gather: bool,
        weight: Tensor | None,
        scales: tuple[float, float],
        min_spread: Tensor | float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        blocks, like = cut(student), full(student[:0])
        weight = None if weight is None else weight.to(like.dtype)
        kept = like.new_empty(2 * student.numel()) if ctx.needs_input_grad[0] else None
        rows, columns = statistics(student, teacher, temperature, weight, blocks, kept)
        if gather:
            columns = merge_processes(columns)
        sums = torch.cat([rows, columns.numbers[2:]], dim=1)
        least = relative_spread(min_spread, temperature)
        norms = _norms(sums, _least_norms(rows, columns, least))
        # With no row to learn from there is no relation to match either: both terms are 0, as for every loss.
        some = columns.total > 0
        count = columns.total.where(some, 1)
        distances = 1 - sums[2] / norms.products
        inter = _sum(distances[: blocks.rows], weight, gather) / count
        intra = distances[blocks.rows :].mean() * some
        if kept is not None:
            ctx.save_for_backward(kept, *_pulls(sums, norms, columns, weight, least), count, weight)
            ctx.blocks, ctx.gather, ctx.temperature, ctx.dtype = blocks, gather, temperature, student.dtype
            ctx.scales = scales
        return torch.add(inter * scales[0], intra, alpha=scales[1]), inter, intra

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise UserError("dist_loss: got create_graph=True, expected False (its gradient has no gradient)")
        kept, rows, columns, count, weight = ctx.saved_tensors
        total, *own = grads
        inter, intra = (torch.add(one, total, alpha=scale) for one, scale in zip(own, ctx.scales, strict=True))
        if ctx.gather:
            dist.all_reduce(inter)
            dist.all_reduce(intra)
        rows = rows * (inter / (count * ctx.temperature))
        columns = columns * (intra / (ctx.blocks.classes * ctx.temperature))
        return _gradient(kept, rows, columns, weight, ctx.blocks, ctx.dtype), None, None, None, None, None, None


def closed_distances(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float,
    gather: bool,
    weight: Tensor | None,
    scales: tuple[float, float],
    min_spread: Tensor | float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the scaled sum of two terms and the terms: the mean distance between rows and that between columns.

    Differentiable once, in the student's logits. Arguments as for ``dist_parts``, checked already, and each term's
    scale in the sum. With ``gather``, processes exchange the columns' sums, not rows.

    Example:
        >>> logits = torch.eye(3)
        >>> total, inter, intra = closed_distances(logits, 2 * logits, 1.0, False, None, (1.0, 1.0), 0.0)
        >>> bool(total == inter + intra), bool(total.abs() < 1e-5)
        (True, True)
    """
    gather = gather and dist.is_available() and dist.is_initialized()
    terms: tuple[Tensor, Tensor, Tensor] = _Distances.apply(
        student_logits, teacher_logits.detach(), temperature, gather, weight, scales, min_spread
    )
    return terms
