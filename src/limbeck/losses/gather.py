"""Rows of all processes in one tensor, with gradients, also when the processes hold different numbers of rows."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from limbeck.ranks import are_several


def _row_counts(rows: Tensor) -> list[int]:
    own = torch.tensor([rows.shape[0]], device=rows.device)
    counts = [torch.zeros_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, own)
    return [int(count) for count in counts]


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        counts = _row_counts(rows)
        ctx.counts = counts
        # all_gather wants equal shapes: pad to the longest, cut afterwards.
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: rows.shape[0]] = rows
        pieces = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(pieces, padded)
        return torch.cat([piece[:count] for piece, count in zip(pieces, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Tensor:
        total = grads[0].contiguous().clone()
        dist.all_reduce(total)
        start = sum(ctx.counts[: dist.get_rank()])
        own: Tensor = total[start : start + ctx.counts[dist.get_rank()]]
        return own


def gather_rows(rows: Tensor) -> Tensor:
    """Concatenate the rows of every process, in rank order; the gradient flows back to the process they came from.

    Args:
        rows: (N, ...) rows of this process; N may differ from process to process.

    Returns:
        (sum of N, ...) rows, the same on every process; ``rows`` itself outside ``torch.distributed``. Each process's
        gradient is the sum over processes, so that averaging the processes' parameter gradients, as data-parallel
        training does, gives the gradient of one process that sees all rows.

    Example:
        >>> gather_rows(torch.ones(2, 3)).shape
        torch.Size([2, 3])
    """
    if not are_several():
        return rows
    gathered: Tensor = _GatherRows.apply(rows)
    return gathered


@torch.no_grad()
def broadcast_first(tensors: Sequence[Tensor]) -> None:
    """Overwrite tensors by those of the first of several processes, in place.

    Example:
        >>> broadcast_first([])
    """
    for tensor in tensors:
        dist.broadcast(tensor, src=0)
