"""Centred sums of two sides' probabilities, along rows and along columns, from one pass over their logits."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch import distributed as dist

from limbeck.losses._row_blocks import RowBlocks
from limbeck.losses._rows import full

_LOG2_E = 1 / math.log(2)


class Columns(NamedTuple):
    """Statistics of each column.

    Attributes:
        total: Summed weight of the rows, a scalar (K,) if there are K groups of rows.
        numbers: (..., 5, C) student's and teacher's means, their centred sums of squares, and that of the product.
    """

    total: Tensor
    numbers: Tensor


def merge(groups: Columns) -> Columns:
    """Merge K groups of rows into one.

    Sums centred in their group keep the digits that a difference of raw moments loses in a nearly constant column.

    References:
        Chan, Golub, LeVeque: Updating Formulae and a Pairwise Algorithm for Computing Sample Variances, 1979.

    Example:
        >>> two = torch.tensor([[1., 1., 0., 0., 0.], [3., 5., 0., 0., 0.]])[:, :, None]
        >>> merge(Columns(torch.ones(2), two)).numbers.flatten()
        tensor([2., 3., 2., 8., 4.])
    """
    totals, numbers = groups
    total = totals.sum()
    if len(totals) == 1:
        return Columns(total, numbers[0])
    each = totals[:, None, None]
    means = (numbers[:, :2] * (each / total.clamp_min(torch.finfo(total.dtype).tiny))).sum(0)
    gaps = numbers[:, :2] - means
    weighted = gaps * each
    between = torch.cat([gaps * weighted, gaps[:, :1] * weighted[:, 1:]], dim=1)
    return Columns(total, torch.cat([means, (numbers[:, 2:] + between).sum(0)]))


def merge_processes(columns: Columns) -> Columns:
    """Merge the columns of all processes of ``torch.distributed``, in one exchange of 5 C + 1 numbers."""
    own = torch.cat([columns.total[None], columns.numbers.flatten()])
    table = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(table, own)
    every = torch.stack(table)
    return merge(Columns(every[:, 0], every[:, 1:].view(len(table), 5, -1)))


def _soften(blocks: RowBlocks, logits: Tensor, temperature: float, spare: Tensor, out: Tensor) -> None:
    scaled = blocks.turn(full(logits))
    if blocks.class_axis == 2:
        scaled = scaled if temperature == 1 else torch.div(scaled, temperature, out=spare)
        torch.softmax(scaled, 1, out=out)
        return
    # Across memory softmax takes the slow exponential; the power of two is the same function, four times as fast.
    torch.div(scaled, temperature, out=spare)
    torch.exp2(spare.sub_(spare.amax(0)).mul_(_LOG2_E), out=out)
    out.div_(out.sum(0))


def _column_numbers(
    pair: Tensor, weight: Tensor | None, axis: int, spare: Tensor, both: Tensor
) -> tuple[Tensor, Tensor]:
    """Return (2, C) means and (3, C) centred sums of a block's columns, along ``axis``; ``both`` is in ``spare``."""
    if weight is None:
        mean = pair.mean(axis, keepdim=True)
        torch.sub(pair, mean, out=both)
    else:
        share = weight / weight.sum().clamp_min(torch.finfo(weight.dtype).tiny)
        mean = torch.mul(pair, share, out=both).sum(axis, keepdim=True)
        torch.sub(pair, mean, out=both).mul_(weight.sqrt())
    torch.mul(both[0], both[1], out=spare[2])
    both.mul_(both)
    return mean.squeeze(axis), spare.sum(axis)


def _row_sums(pair: Tensor, classes: int, axis: int, spare: Tensor, both: Tensor) -> Tensor:
    """Return (3, rows) centred sums of a block's rows, along ``axis``; ``both`` is in ``spare``."""
    # A row of probabilities has the mean 1 / C.
    torch.sub(pair, 1 / classes, out=both)
    torch.mul(both[0], both[1], out=spare[2])
    both.mul_(both)
    return spare.sum(axis)


def statistics(
    student: Tensor, teacher: Tensor, temperature: float, weight: Tensor | None, blocks: RowBlocks, kept: Tensor | None
) -> tuple[Tensor, Columns]:
    """Go over the rows once.

    Args:
        student: (N, C) logits.
        teacher: (N, C) logits.
        temperature: Softens both.
        weight: (N,) weights of the rows in the columns' statistics, or None.
        blocks: How to cut them.
        kept: (2 N C,) memory, which then holds the probabilities block by block; or None to keep none.

    Returns:
        (3, N) centred sums of each row (both squares, product), and the columns.
    """
    like = full(student[:0])
    memory = blocks.spare(like, 3 if kept is not None else 5)
    rows = like.new_empty(3, blocks.rows)
    totals, means, sums = [], [], []
    for part in blocks.parts():
        block = blocks.fit(memory, part)
        pair, spare, both = block[3:] if kept is None else blocks.view(kept, part), block[:3], block[:2]
        _soften(blocks, student[part], temperature, spare[0], pair[0])
        _soften(blocks, teacher[part], temperature, spare[1], pair[1])
        share = None if weight is None else weight[part]
        per_row = None if share is None else blocks.per_row(share)
        mean, centred = _column_numbers(pair, per_row, blocks.row_axis, spare, both)
        # A Python number would have to be sent to the device, and waited for.
        totals.append(like.new_full((), part.stop - part.start) if share is None else share.sum())
        means.append(mean)
        sums.append(centred)
        rows[:, part] = _row_sums(pair, blocks.classes, blocks.class_axis, spare, both)
    if not totals:
        return rows, Columns(like.new_zeros(()), like.new_zeros(5, blocks.classes))
    numbers = torch.cat([torch.stack(means), torch.stack(sums)], dim=1)
    return rows, merge(Columns(torch.stack(totals), numbers))
