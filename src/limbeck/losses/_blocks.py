"""Rows cut into blocks that stay in a core's cache, and losses whose gradient is computed beside them, so cut."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.autograd.forward_ad import unpack_dual

from limbeck.errors import UserError
from limbeck.rows import full

# Numbers a block and thread, measured: more leave the cache, fewer cost more for calls than for arithmetic.
_CPU_BLOCK, _GPU_BLOCK = 2**17, 2**24
# What does not fit one block is cut into so many or more, so that memory for one block is small beside the rest.
_LEAST_BLOCKS = 3
# Formulas that autograd differentiates want larger blocks, and pay only for tensors of so many numbers.
_ROW_WISE_BLOCKS, _CPU_ROW_WISE, _GPU_ROW_WISE = 2, 2**21, 2**26

Formula = Callable[[Tensor], Tensor]
Compute = Callable[[Tensor, bool], tuple[Tensor, Tensor | None]]


def block_rows(logits: Tensor, *, width: int = 1, least_rows: int = 1, blocks: int = 1) -> int:
    """Return how many rows of (N, C) logits make a block, for where they are: blocks grow with the threads.

    Args:
        logits: (N, C).
        width: Numbers of memory for each logit.
        least_rows: Rows that a block has at least, if there are so many.
        blocks: How many times larger than usual a block may be.

    Example:
        >>> block_rows(torch.zeros(5, 2**16), least_rows=2)
        2
    """
    rows, numbers = logits.shape[0], width * logits.shape[1]
    room = blocks * (_CPU_BLOCK * torch.get_num_threads() if logits.is_cpu else _GPU_BLOCK)
    if rows * numbers <= room:
        return max(rows, 1)
    return min(rows, max(least_rows, min(room // numbers, -(-rows // _LEAST_BLOCKS))))


def block_of(tensor: Tensor, start: int, length: int, axis: int = 0) -> Tensor:
    """Return so many rows of a tensor, without a call where these are all.

    Example:
        >>> block_of(torch.arange(5), 1, 2)
        tensor([1, 2])
    """
    return tensor if tensor.shape[axis] == length else tensor.narrow(axis, start, length)


def is_plain(student: Tensor, *others: object) -> bool:
    """Return whether autograd or a compiler has to see the formula itself.

    So it is under ``torch.compile``, under the transforms of ``torch.func``, in forward mode, and where something
    beside the student's logits needs a gradient.

    Example:
        >>> is_plain(torch.zeros(1, requires_grad=True)), is_plain(torch.zeros(1), torch.zeros(1, requires_grad=True))
        (False, True)
    """
    # The condition on which autograd.Function itself refuses.
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return True
    if any(isinstance(other, Tensor) and other.requires_grad for other in others):
        return True
    return unpack_dual(student).tangent is not None  # type: ignore[no-untyped-call]


class _Known(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, student: Tensor, compute: Compute, formula: Formula, gather: bool) -> Tensor:
        values, ctx.gradient = compute(student, True)
        ctx.save_for_backward(student)
        ctx.compute, ctx.formula, ctx.gather = compute, formula, gather
        return values

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        (student,), (grad,) = ctx.saved_tensors, grads
        if torch.is_grad_enabled():
            return _differentiable(ctx, student, grad), None, None, None
        if ctx.gather:
            dist.all_reduce(grad := grad.clone())
        # Given away, and so free to be changed in place; another backward through it computes it again.
        gradient = ctx.compute(student, True)[1] if ctx.gradient is None else ctx.gradient
        ctx.gradient = None
        if grad.ndim or not grad.is_cpu or grad.item() != 1:
            gradient.mul_(grad[:, None] if grad.ndim else grad)
        return gradient.to(student.dtype), None, None, None


def _differentiable(ctx: Any, student: Tensor, grad: Tensor) -> Tensor:
    if ctx.gather:
        raise UserError("gather: got True with create_graph=True, expected one of them")
    (gradient,) = torch.autograd.grad(ctx.formula(student), student, grad, create_graph=True)
    return gradient


def with_gradient(student: Tensor, compute: Compute, formula: Formula, *, gather: bool = False) -> Tensor:
    """Return values whose gradient is computed beside them, before autograd needs it.

    Args:
        student: (N, C) logits, the only thing that is differentiated in.
        compute: Takes the logits and whether a gradient is wanted; returns a scalar, or (N,) values each of which
            depends on its row alone, and the (N, C) gradient of their sum or None.
        formula: The same values as autograd differentiates them, for a gradient that is to be differentiated again.
        gather: Whether the processes' gradients with respect to the values are summed first.

    Raises:
        UserError: In a backward with ``create_graph=True``, if ``gather`` is on.

    Example:
        >>> student = torch.ones(2, 3, requires_grad=True)
        >>> square = lambda logits: logits.square().sum(1)
        >>> with_gradient(student, lambda s, wanted: (square(s), 2 * s), square).sum().backward()
        >>> student.grad[0]
        tensor([2., 2., 2.])
    """
    if not (torch.is_grad_enabled() and student.requires_grad):
        with torch.no_grad():
            return compute(student, False)[0]
    values: Tensor = _Known.apply(student, compute, formula, gather)
    return values


def row_wise(formula: Callable[..., Tensor], student: Tensor, *rows: Tensor, width: int = 1, **settings: Any) -> Tensor:
    """Return (N,) values of rows that do not depend on each other, block by block where the tensors are large.

    What lies between logits and values then lives no longer than its block, and only the student's gradient is kept.

    Args:
        formula: Called as ``formula(student, *rows, **settings)`` with any number of rows; returns a value a row.
        student: (N, C) logits.
        rows: What else each row has: the teacher's (N, C) logits, (N,) labels.
        width: Numbers that the formula's largest tensor has for each logit.
        settings: What is the same for all rows.

    Example:
        >>> powers = lambda s, t, power: (s - t).pow(power).sum(1)
        >>> row_wise(powers, torch.ones(2, 3), torch.zeros(2, 3), power=2)
        tensor([3., 3.])
    """
    whole = partial(_called, formula, rows, settings)
    least = _CPU_ROW_WISE if student.is_cpu else _GPU_ROW_WISE
    if width * student.numel() < least or is_plain(student, *rows, *settings.values()):
        return whole(student)
    step = block_rows(student, width=width, blocks=_ROW_WISE_BLOCKS)

    def compute(student: Tensor, wanted: bool) -> tuple[Tensor, Tensor | None]:
        gradient = full(student[:0]).new_empty(student.shape) if wanted else None
        values = []
        for start in range(0, student.shape[0], step):
            part = slice(start, start + step)
            block = partial(_called, formula, [row[part] for row in rows], settings)
            values.append(_values(block, student[part], None if gradient is None else gradient[part]))
        return torch.cat(values), gradient

    return with_gradient(student, compute, whole)


def _called(
    formula: Callable[..., Tensor], rows: Sequence[Tensor], settings: dict[str, Any], student: Tensor
) -> Tensor:
    return formula(student, *rows, **settings)


def _values(formula: Formula, logits: Tensor, gradient: Tensor | None) -> Tensor:
    """Return a block's values, and write the gradient of their sum if there is memory for it."""
    if gradient is None:
        return formula(logits)
    with torch.enable_grad():
        logits = full(logits).detach().requires_grad_(True)
        values = formula(logits)
        gradient.copy_(torch.autograd.grad(values.sum(), logits)[0])
    return values.detach()
