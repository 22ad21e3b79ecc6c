"""Softmax of a block of rows and its derivative, in given memory and in either layout of ``RowBlocks``."""

import math

import torch
from torch import Tensor

_LOG2_E = 1 / math.log(2)
# The exponential of no more than this does not overflow, nor does a sum of millions of them.
_SAFE = 60


def soften(logits: Tensor, factor: float | Tensor, axis: int, out: Tensor, largest: float = math.inf) -> Tensor:
    """Write the softmax of a block's logits times ``factor`` along ``axis`` to ``out``.

    Args:
        logits: A block, which need not be contiguous.
        factor: A number, or one a row that broadcasts over the block.
        axis: Where the classes are.
        out: Memory for the result.
        largest: What the absolute product is known not to exceed.

    Example:
        >>> soften(torch.tensor([[0., 1.], [0., 0.]]), 1.0, 1, torch.empty(2, 2))
        tensor([[0.2689, 0.7311],
                [0.5000, 0.5000]])
    """
    if not out.is_cpu:
        return torch.softmax(torch.mul(logits, factor, out=out), axis, out=out)
    # The power of two is the same function, and on a CPU four times as fast as the exponential that softmax takes.
    factor = factor * _LOG2_E
    if largest > _SAFE and axis == 1:
        torch.sub(logits, logits.amax(axis, keepdim=True), out=out).mul_(factor)
    else:
        # Across memory the largest is found faster in what lies in order already.
        torch.mul(logits, factor, out=out)
        if largest > _SAFE:
            out.sub_(out.amax(axis, keepdim=True))
    out.exp2_()
    return out.mul_(out.sum(axis, keepdim=True).reciprocal_())


def through_softmax(slope: Tensor, soft: Tensor, axis: int, out: Tensor) -> Tensor:
    """Turn the gradient with respect to probabilities to that with respect to logits, which goes to ``out``.

    Args:
        slope: The gradient with respect to ``soft``; overwritten where the classes come first.
        soft: Probabilities.
        axis: Where the classes are.
        out: Memory for the result; not that of ``slope`` where the classes come last.

    Example:
        >>> soft = torch.tensor([[.25, .75]])
        >>> through_softmax(torch.tensor([[1., 0.]]), soft, 1, torch.empty(1, 2))
        tensor([[ 0.1875, -0.1875]])
    """
    if axis == 1:
        result: Tensor = torch.ops.aten._softmax_backward_data.out(slope, soft, axis, soft.dtype, grad_input=out)
        return result
    # The library's own is slow across memory.
    weighted = slope.mul_(soft)
    return torch.addcmul(weighted, soft, weighted.sum(axis, keepdim=True), value=-1, out=out)
