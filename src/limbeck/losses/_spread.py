r"""How little logits may vary before a relation of them is bounded, so that its gradient is bounded too.

A correlation has the gradient :math:`1 / |a|` of its centered vectors, and so none that is finite where logits are all
alike. Probabilities near uniform, softened by T, are :math:`1 / C + (z - \bar z) / (C T)`: of logits with the standard
deviation d, a row's centered norm is :math:`d / (T \sqrt C)`, and a column's of N rows :math:`d \sqrt N / (C T)`.
Each norm is bounded from below by what it is for a least spread d. Away from uniform d / T becomes
:math:`\tanh(d / T)`, which is what two classes have, so that no bound exceeds what softened probabilities can reach.
"""

import math

from torch import Tensor

from limbeck.errors import UserError

# The least spread of logits that a relation follows, unless another is given; see benchmarks/results/spread-cpu.md.
MIN_SPREAD = 1.0


def check_min_spread(min_spread: float) -> None:
    """Raise ``UserError`` unless the least spread is a finite number of at least 0.

    Example:
        >>> check_min_spread(-1)
        Traceback (most recent call last):
        limbeck.errors.UserError: min_spread: got -1, expected a number of at least 0
    """
    if not 0 <= min_spread < float("inf"):
        raise UserError(f"min_spread: got {min_spread}, expected a number of at least 0")


def least_row_norm(min_spread: float, temperature: float, classes: int) -> float:
    """Return the norm of a centered row of softened probabilities whose logits have the least spread.

    Example:
        >>> least_row_norm(0.5, 4.0, classes=100)
        0.0124...
    """
    return math.tanh(min_spread / temperature) / math.sqrt(classes)


def least_column_norm(min_spread: float, temperature: float, classes: int, total: Tensor) -> Tensor:
    """Return the norm of a centered column of softened probabilities whose logits have the least spread.

    Args:
        min_spread: In units of logits.
        temperature: What softened them.
        classes: C.
        total: Number of rows, or their summed weight; a scalar.

    Returns:
        A scalar.

    Example:
        >>> import torch
        >>> least_column_norm(0.5, 4.0, 100, torch.tensor(64.0))
        tensor(0.0099)
    """
    return total.sqrt() * (math.tanh(min_spread / temperature) / classes)
