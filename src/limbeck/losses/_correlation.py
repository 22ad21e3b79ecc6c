"""One minus the Pearson correlation of two sides' probabilities, along rows and along columns, as plain formulas."""

import torch
from torch import Tensor

from limbeck.losses._gather import gather_rows
from limbeck.losses._rows import full, row_mean
from limbeck.losses._spread import least_column_norm, least_row_norm

# Added to the product of two norms, so that a constant row or column has correlation 0 and a finite gradient.
EPS = 1e-8


def _correlation(a: Tensor, b: Tensor, dim: int, least: float | Tensor, count: Tensor | None = None) -> Tensor:
    if count is None:
        a, b = a - a.mean(dim, keepdim=True), b - b.mean(dim, keepdim=True)
    else:
        # Rows that do not count are left out of a column's mean, then zeroed so that they add nothing to the sums.
        share = count / torch.where(count.sum() > 0, count.sum(), 1)
        root = count.sqrt()
        a, b = (a - (a * share).sum(dim, keepdim=True)) * root, (b - (b * share).sum(dim, keepdim=True)) * root
    # Where the bound holds, a norm is a constant, without gradient.
    norms = [torch.linalg.vector_norm(side, dim=dim).clamp_min(least) for side in (a, b)]
    correlation: Tensor = (a * b).sum(dim) / (norms[0] * norms[1] + EPS)
    return correlation


def correlation_distances(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float,
    gather: bool,
    weight: Tensor | None,
    scales: tuple[float, float],
    min_spread: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the scaled sum of two terms and the terms: the mean distance between rows and that between columns.

    What a compiler fuses, and what the closed form is held against. Differentiable any number of times. Arguments as
    for ``dist_parts``, checked already, and each term's scale in the sum.

    Example:
        >>> logits = torch.eye(3)
        >>> total, inter, intra = correlation_distances(logits, 2 * logits, 1.0, False, None, (1.0, 1.0), 0.0)
        >>> bool(total == inter + intra), bool(total.abs() < 1e-5)
        (True, True)
    """
    student = torch.softmax(full(student_logits) / temperature, dim=1)
    teacher = torch.softmax(full(teacher_logits.detach()) / temperature, dim=1)
    if gather:
        weight = None if weight is None else gather_rows(weight.to(student.dtype))
        student, teacher = gather_rows(student), gather_rows(teacher)
    rows, classes = student.shape
    inter = row_mean(1 - _correlation(student, teacher, 1, least_row_norm(min_spread, temperature, classes)), weight)
    count = None if weight is None else weight.to(student.dtype)[:, None]
    total = student.new_full((), rows) if count is None else count.sum()
    # With no row to learn from there is no relation to match either: both terms are 0, as for every loss.
    counts = total > 0
    least = least_column_norm(min_spread, temperature, classes, torch.where(counts, total, 1))
    intra = (1 - _correlation(student, teacher, 0, least, count)).mean() * counts
    return scales[0] * inter + scales[1] * intra, inter, intra
