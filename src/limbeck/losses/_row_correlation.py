r"""Pearson's distance between rows of softened, standardized logits, with its gradient in closed form.

A row of logits is standardized to z, softened to :math:`p = \sigma(z / T)` and centered to :math:`a = s (p - 1 / C)`
with a scale s. With b the teacher's and :math:`|\cdot|_\epsilon` a norm that is at least epsilon,

.. math:: \frac{\partial}{\partial a} \frac{a \cdot b}{|a|_\epsilon |b|_\epsilon} = \frac{b}{|a|_\epsilon
    |b|_\epsilon} - [|a| > \epsilon] \frac{a \cdot b}{|a|^3 |b|_\epsilon} a

Softmax lets nothing pass that is constant along a row, so p and the teacher's q stand in for a and b. No row sees
another, so each block's gradient is there as soon as its distance is, and is all that is kept.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from limbeck.errors import UserError
from limbeck.losses._block_softmax import soften, through_softmax
from limbeck.losses._correlation_statistics import row_sums
from limbeck.losses._row_blocks import cut
from limbeck.rows import full


class Bounds(NamedTuple):
    """What keeps rows that are all but constant from an infinite gradient.

    Attributes:
        scale: s, what centered probabilities are multiplied by; a correlation does not see it, ``norm`` does.
        variance: Added to the variance of each row of logits.
        norm: epsilon, the least norm.
        spread: The least deviation of each row of logits; the variance that is added comes on top of its square.
    """

    scale: float
    variance: float
    norm: float
    spread: Tensor | float = 0.0


def row_distances(student: Tensor, teacher: Tensor, temperature: float, bounds: Bounds) -> Tensor:
    """Return (N,) one minus the correlation of each row of softened, standardized (N, C) logits.

    Differentiable in the student's logits, once, or under ``torch.compile`` any number of times.

    Example:
        >>> logits, bounds = torch.tensor([[1., 2., 3.]]), Bounds(scale=3, variance=1e-3, norm=0.1)
        >>> bool(row_distances(logits, 2 * logits, 1.0, bounds) < 1e-3)
        True
        >>> row_distances(logits, -logits, 1.0, bounds)
        tensor([1.8195])
    """
    # A compiler fuses the formula itself.
    distances = distance_formula if torch.compiler.is_compiling() else _Distances.apply
    result: Tensor = distances(student, teacher.detach(), temperature, bounds)
    return result


def distance_formula(student: Tensor, teacher: Tensor, temperature: float, bounds: Bounds) -> Tensor:
    """Return what :func:`row_distances` does, differentiated by autograd.

    Example:
        >>> logits = torch.tensor([[1., 2., 3.]])
        >>> distance_formula(logits, -logits, 1.0, Bounds(scale=3, variance=1e-3, norm=0.1))
        tensor([1.8195])
    """
    sides = [standardized(full(side), bounds) for side in (student, teacher)]
    one, other = (bounds.scale * F.softmax(side / temperature, dim=1) for side in sides)
    return distance(one, other, bounds.norm)


def row_variance(logits: Tensor) -> Tensor:
    """Return (N, 1) variances of the rows of (N, C) logits.

    Example:
        >>> row_variance(torch.tensor([[-1., 1.]]))
        tensor([[1.]])
    """
    return (logits - logits.mean(dim=1, keepdim=True)).square().mean(dim=1, keepdim=True)


def standardized(logits: Tensor, bounds: Bounds) -> Tensor:
    """Bring each row of (N, C) logits to mean 0 and variance 1, but for what the bounds add.

    Example:
        >>> standardized(torch.tensor([[-1., 1.], [-.1, .1]]), Bounds(1.0, variance=0.0, norm=0.0, spread=0.5))
        tensor([[-1.0000,  1.0000],
                [-0.2000,  0.2000]])
    """
    variance = row_variance(logits).clamp_min(bounds.spread**2)
    return (logits - logits.mean(dim=1, keepdim=True)) * torch.rsqrt(variance + bounds.variance)


def distance(one: Tensor, other: Tensor, least_norm: float) -> Tensor:
    """Return (N,) one minus the correlation of each row of two (N, C) tensors, their norms bounded from below.

    Example:
        >>> distance(torch.tensor([[1., 2., 3.]]), torch.tensor([[3., 2., 1.]]), 0.1)
        tensor([2.])
    """
    one, other = (side - side.mean(dim=1, keepdim=True) for side in (one, other))
    norms = [torch.linalg.vector_norm(side, dim=1).clamp_min(least_norm) for side in (one, other)]
    correlation: Tensor = (one * other).sum(dim=1) / (norms[0] * norms[1])
    return 1 - correlation


def _soften(
    logits: Tensor, temperature: float, bounds: Bounds, axis: int, centered: Tensor, spare: Tensor, out: Tensor
) -> tuple[Tensor, Tensor]:
    """Write a block's logits less their mean, and the softmax of these standardized.

    Returns:
        The inverse deviations, and which of them depend on the logits.
    """
    torch.sub(logits, logits.mean(axis, keepdim=True), out=centered)
    variance = torch.mul(centered, centered, out=spare).mean(axis, keepdim=True)
    free = variance >= bounds.spread**2
    inverse = variance.clamp_min_(bounds.spread**2).add_(bounds.variance).rsqrt_()
    soften(centered, inverse / temperature, axis, out, largest=logits.shape[axis] ** 0.5 / temperature)
    return inverse, free


def _pulls(sums: Tensor, bounds: Bounds) -> tuple[Tensor, Tensor, Tensor]:
    """Return each row's correlation, and what p and q are multiplied by in the gradient of one minus it."""
    scaled = sums[:2].sqrt().mul_(bounds.scale)
    free = scaled[0] > bounds.norm
    one, other = scaled.clamp_min_(bounds.norm).unbind()
    across = bounds.scale**2 / (one * other)
    correlation = sums[2] * across
    return correlation, correlation * free / sums[0].where(free, 1), across.neg()


def _block(
    sides: tuple[Tensor, Tensor], temperature: float, bounds: Bounds, axis: int, memory: Tensor, out: Tensor | None
) -> Tensor:
    """Return a block's distances, and write their gradient to ``out`` if there is one; ``memory`` is six tensors."""
    centered, pair, spare = memory[0], memory[1:3], memory[3:]
    for side, soft in ((1, pair[1]), (0, pair[0])):
        inverse, free = _soften(sides[side], temperature, bounds, axis, centered, spare[0], soft)
    sums = pair.new_empty(3, pair.shape[2 - axis])
    row_sums(pair, 1 + axis, spare, sums)
    correlation, along, across = _pulls(sums.unsqueeze(1 + axis), bounds)
    if out is not None:
        # Each factor of a row, standardizing's included, is as good first as last.
        along, across = (part.mul_(inverse / temperature) for part in (along, across))
        slope = torch.mul(pair[0], along, out=spare[0]).addcmul_(pair[1], across)
        gradient = through_softmax(slope, pair[0], axis, spare[1])
        # Standardizing lets nothing pass that is constant along a row, and softmax has left no such thing.
        inner = torch.mul(gradient, centered, out=spare[2]).mean(axis, keepdim=True).mul_(inverse.square()).mul_(free)
        torch.addcmul(gradient, centered, inner, value=-1, out=out)
    return 1 - correlation.squeeze(axis)


class _Distances(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, temperature: float, bounds: Bounds) -> Tensor:
        blocks, like = cut(student), full(student[:0])
        memory, distances = blocks.spare(like, 6), like.new_empty(blocks.rows)
        gradient = like.new_empty(student.shape) if ctx.needs_input_grad[0] else None
        for part in blocks.parts():
            sides = blocks.turn(full(student[part])), blocks.turn(full(teacher[part]))
            out = None if gradient is None else blocks.turn(gradient[part])
            fitting = blocks.fit(memory, part)
            distances[part] = _block(sides, temperature, bounds, blocks.class_axis - 1, fitting, out)
        ctx.save_for_backward(gradient)
        ctx.dtype = student.dtype
        return distances

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise UserError("cmkd_loss: got create_graph=True, expected False (its gradient has no gradient)")
        (gradient,) = ctx.saved_tensors
        return (gradient * grads[0][:, None]).to(ctx.dtype), None, None, None
