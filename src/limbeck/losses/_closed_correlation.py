r"""The two correlation distances with their gradient in closed form, for less memory and time than autograd's.

With :math:`a, b` a row or column of the student's and the teacher's probabilities less their mean and
:math:`D = |a||b| + \epsilon`,

.. math:: \frac{\partial}{\partial a} \frac{a \cdot b}{D} = \frac{b}{D} - \frac{a \cdot b}{D^2} \frac{|b|}{|a|} a

which has mean 0 itself, so that centring needs no backward of its own. A row or column thus needs three sums, and the
gradient of both terms with respect to a probability p of the student, whose teacher says q, is in row i and column j
:math:`p (v_i + B_j) + q (u_i + A_j) - K_j`, up to what is constant along the row and does not pass softmax. Only the
probabilities are kept between forward and backward.
"""

from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from limbeck.errors import UserError
from limbeck.losses._correlation import EPS
from limbeck.losses._correlation_statistics import Columns, merge_processes, statistics
from limbeck.losses._row_blocks import RowBlocks, cut
from limbeck.losses._rows import full


def _varies(rows: Tensor, columns: Columns) -> Tensor:
    """Return (2, N + C), which side's rows and columns vary by more than the rounding of their mean."""
    level = (4 * torch.finfo(rows.dtype).eps) ** 2
    means, squares = columns.numbers[:2], columns.numbers[2:4]
    columns_vary = squares > means.square().mul_(columns.total * level)
    return torch.cat([rows[:2] > level / means.shape[1], columns_vary], dim=1)


def _distances(rows: Tensor, columns: Columns) -> tuple[Tensor, Tensor]:
    """Return (N + C,) distances, and (2, N + C) factors of the centred student and teacher in their gradient."""
    sums = torch.cat([rows, columns.numbers[2:]], dim=1)
    own, other = sums[:2].sqrt()
    bounded = own * other + EPS
    rho = sums[2] / bounded
    toward = rho / own.clamp_min(torch.finfo(own.dtype).tiny) * other
    factors = torch.stack([toward, torch.full_like(rho, -1)]).div_(bounded)
    # What does not vary has no direction to pull in; its rounding would have one, enlarged up to 1 / EPS times.
    return 1 - rho, factors.mul_(_varies(rows, columns))


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
        pair = blocks.view(kept, part).unbind()
        share = None if weight is None else blocks.per_row(weight[part])
        per_row = blocks.per_row(rows[:, part]).unbind()
        slope = _slope(pair, per_row, per_class, share, spare[0], out if direct else spare[1])
        weighted = torch.mul(slope, pair[0], out=spare[0])
        inner = weighted.sum(blocks.class_axis - 1, keepdim=True)
        torch.addcmul(weighted, pair[0], inner, value=-1, out=slope)
        if not direct:
            out.copy_(slope)
    return grad


class _Distances(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, student: Tensor, teacher: Tensor, temperature: float, gather: bool, weight: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        blocks, like = cut(student), full(student[:0])
        weight = None if weight is None else weight.to(like.dtype)
        kept = like.new_empty(2 * student.numel()) if ctx.needs_input_grad[0] else None
        rows, columns = statistics(student, teacher, temperature, weight, blocks, kept)
        if gather:
            columns = merge_processes(columns)
        distances, factors = _distances(rows, columns)
        of_rows = distances[: blocks.rows]
        inter = (of_rows if weight is None else of_rows * weight).sum()
        if gather:
            dist.all_reduce(inter)
        count = torch.where(columns.total > 0, columns.total, 1)
        if kept is not None:
            ctx.save_for_backward(kept, factors, columns.numbers[:2], count, weight)
            ctx.blocks, ctx.gather, ctx.temperature, ctx.dtype = blocks, gather, temperature, student.dtype
        # With no row to learn from there is no relation to match either: both terms are 0, as for every loss.
        return inter / count, distances[blocks.rows :].mean() * (columns.total > 0)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise UserError("dist_loss: got create_graph=True, expected False (its gradient has no gradient)")
        kept, factors, means, count, weight = ctx.saved_tensors
        blocks: RowBlocks = ctx.blocks
        scale = torch.stack(grads).div_(ctx.temperature)
        if ctx.gather:
            dist.all_reduce(scale)
        inter, intra = scale.unbind()
        rows = factors[:, : blocks.rows] * (inter / count)
        rows = rows if weight is None else rows.mul_(weight)
        pulls = factors[:, blocks.rows :] * (intra / blocks.classes)
        columns = torch.cat([pulls, (pulls * means).sum(0, keepdim=True).neg_()])
        return _gradient(kept, rows, columns, weight, blocks, ctx.dtype), None, None, None, None


def closed_distances(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float, gather: bool, weight: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the mean distance between rows and between columns; differentiable once, in the student's logits.

    Arguments as for ``dist_parts``, checked already. With ``gather``, processes exchange the columns' sums, not rows.

    Example:
        >>> inter, intra = closed_distances(torch.eye(3), 2 * torch.eye(3), 1.0, False, None)
        >>> bool(inter.abs() < 1e-5), bool(intra.abs() < 1e-5)
        (True, True)
    """
    gather = gather and dist.is_available() and dist.is_initialized()
    inter, intra = _Distances.apply(student_logits, teacher_logits.detach(), temperature, gather, weight)
    return inter, intra
