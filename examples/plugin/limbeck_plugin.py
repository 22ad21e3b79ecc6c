"""A loss for limbeck in a package of its own; the entry point in pyproject.toml makes it a method."""

from torch import Tensor

from limbeck.rows import row_mean


def hellinger(
    student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 4.0, weight: Tensor | None = None
) -> Tensor:
    """Match the square roots of the softened probabilities (the squared Hellinger distance)."""
    student, teacher = ((z / temperature).log_softmax(1).div(2).exp() for z in (student_logits, teacher_logits))
    return temperature**2 * row_mean((student - teacher).square().sum(1) / 2, weight)
