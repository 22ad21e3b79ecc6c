"""One minus the Pearson correlation of two sides' probabilities, along rows and along columns, as plain formulas."""

import torch
from torch import Tensor

from limbeck.losses.gather import gather_rows
from limbeck.losses.spread import relative_spread
from limbeck.rows import full, row_mean

# Added to the product of two norms, so that a constant row or column has correlation 0 and a finite gradient.
EPS = 1e-8


def _correlation(a: Tensor, b: Tensor, dim: int, least: Tensor | float, count: Tensor | None = None) -> Tensor:
    total = a.new_full((), a.shape[dim]) if count is None else count.sum()
    norms, sides = [], []
    for side in (a, b):
        if count is None:
            mean = side.mean(dim, keepdim=True)
            centered = side - mean
        else:
            # Rows that do not count are left out of a column's mean, then zeroed so that they add nothing to the sums.
            mean = (side * (count / torch.where(total > 0, total, 1))).sum(dim, keepdim=True)
            centered = (side - mean) * count.sqrt()
        bound = least * torch.where(total > 0, total, 1).sqrt() * mean.squeeze(dim)
        norms.append(torch.maximum(torch.linalg.vector_norm(centered, dim=dim), bound))
        sides.append(centered)
    correlation: Tensor = (sides[0] * sides[1]).sum(dim) / (norms[0] * norms[1] + EPS)
    return correlation


def correlation_distance(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float,
    gather: bool,
    weight: Tensor | None,
    scales: tuple[float, float],
    min_spread: Tensor | float,
) -> Tensor:
    """Return the scaled sum of two terms: the mean distance between rows and that between columns.

    What a compiler fuses, and what the closed form is held against. Differentiable any number of times. Arguments as
    for ``dist_parts``, checked already, and each term's scale in the sum.

    Example:
        >>> logits = torch.eye(3)
        >>> bool(correlation_distance(logits, 2 * logits, 1.0, False, None, (1.0, 1.0), 0.0).abs() < 1e-5)
        True
    """
    student = torch.softmax(full(student_logits) / temperature, dim=1)
    teacher = torch.softmax(full(teacher_logits.detach()) / temperature, dim=1)
    if gather:
        weight = None if weight is None else gather_rows(weight.to(student.dtype))
        student, teacher = gather_rows(student), gather_rows(teacher)
    if weight is None and not student.shape[0]:
        weight = student.new_ones(0)
    least = relative_spread(min_spread, temperature)
    inter = row_mean(1 - _correlation(student, teacher, 1, least), weight)
    count = None if weight is None else weight.to(student.dtype)[:, None]
    # With no row to learn from there is no relation to match either: both terms are 0, as for every loss.
    counts = True if weight is None else weight.sum() > 0
    intra = (1 - _correlation(student, teacher, 0, least, count)).mean() * counts
    return scales[0] * inter + scales[1] * intra
