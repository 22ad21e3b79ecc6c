"""Centred sums of two sides' probabilities, along rows and along columns, from one pass over their logits."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch import distributed as dist

from limbeck.losses._block_softmax import soften
from limbeck.losses._row_blocks import RowBlocks
from limbeck.rows import full


class Columns(NamedTuple):
    """Statistics of each column.

    Attributes:
        total: Summed weight of the rows, a scalar (K,) if there are K groups of rows.
        numbers: (..., 5, C) student's and teacher's means, their centered sums of squares, and that of the product.
    """

    total: Tensor
    numbers: Tensor


def merge(groups: Columns) -> Columns:
    """Merge K groups of rows into one.

    Sums centered in their group keep the digits that a difference of raw moments loses in a nearly constant column.

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


def _sums(spare: Tensor, axis: int, out: Tensor) -> None:
    """Write (3, ...) sums along ``axis`` of the squares of the first two of three tensors, and of their product."""
    both = spare[:2]
    torch.mul(both[0], both[1], out=spare[2])
    both.mul_(both)
    torch.sum(spare, axis, out=out)


def _column_numbers(pair: Tensor, weight: Tensor | None, axis: int, spare: Tensor, out: Tensor) -> None:
    """Write (2, C) means and (3, C) centered sums of a block's columns, along ``axis``."""
    both, means = spare[:2], out[:2]
    if weight is None:
        torch.mean(pair, axis, out=means)
    else:
        share = weight / weight.sum().clamp_min(torch.finfo(weight.dtype).tiny)
        torch.sum(torch.mul(pair, share, out=both), axis, out=means)
    torch.sub(pair, means.unsqueeze(axis), out=both)
    if weight is not None:
        both.mul_(weight.sqrt())
    _sums(spare, axis, out[2:])


def row_sums(pair: Tensor, axis: int, spare: Tensor, out: Tensor) -> None:
    """Write (3, rows) centered sums of two sides' rows of probabilities: of both squares and of the product.

    Args:
        pair: A block of two tensors.
        axis: Where the classes are in it.
        spare: Memory for three tensors of a block.
        out: Memory for the result.

    Example:
        >>> out = torch.empty(3, 1)
        >>> row_sums(torch.tensor([[[1., 0.]], [[0., 1.]]]), 2, torch.empty(3, 1, 2), out)
        >>> out.flatten()
        tensor([ 0.5000,  0.5000, -0.5000])
    """
    # A row of probabilities has the mean 1 / C.
    torch.sub(pair, 1 / pair.shape[axis], out=spare[:2])
    _sums(spare, axis, out)


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
        (3, N) centered sums of each row (both squares, product), and the columns.
    """
    like, parts = full(student[:0]), blocks.parts()
    rows, numbers = like.new_empty(3, blocks.rows), like.new_empty(len(parts), 5, blocks.classes)
    if not parts:
        return rows, Columns(like.new_zeros(()), like.new_zeros(5, blocks.classes))
    memory = blocks.spare(like, 3 if kept is not None else 5)
    for part, of_part in zip(parts, numbers.unbind(), strict=True):
        block = blocks.fit(memory, part)
        pair, spare = (block[3:], block[:3]) if kept is None else (blocks.view(kept, part), block)
        for logits, out in zip((student, teacher), pair, strict=True):
            soften(blocks.turn(full(logits[part])), 1 / temperature, blocks.class_axis - 1, out)
        share = None if weight is None else blocks.per_row(weight[part])
        _column_numbers(pair, share, blocks.row_axis, spare, of_part)
        row_sums(pair, blocks.class_axis, spare, rows[:, part])
    return rows, merge(Columns(_totals(parts, weight, like), numbers))


def _totals(parts: list[slice], weight: Tensor | None, like: Tensor) -> Tensor:
    """Return (K,) the summed weight of each part."""
    if weight is not None:
        return torch.stack([weight[part].sum() for part in parts])
    # A list of Python numbers would have to be sent to the device, and waited for.
    totals = like.new_full((len(parts),), parts[0].stop)
    totals[-1:].fill_(parts[-1].stop - parts[-1].start)
    return totals
