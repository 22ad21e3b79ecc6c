r"""How little logits may vary before a relation of them is bounded, so that its gradient is bounded too.

A correlation has the gradient :math:`1 / |a|` of its centered vectors, and so none that is finite where logits are all
alike. Probabilities p softened by T vary with their logits by :math:`p \, (z - \bar z) / T` where that is little: of
logits with the standard deviation d, n probabilities of mean m have the centered norm :math:`d \, m \sqrt n / T`. In a
row that is :math:`d / (T \sqrt C)`, in a column near uniform :math:`d \sqrt N / (C T)`. Each norm is bounded from below
by what it is for a least spread d, with :math:`\tanh(d / T)` for d / T, which is what two classes have at any
temperature, so that no bound exceeds what softened probabilities can reach.
"""

import math

import torch
from torch import Tensor

from limbeck.errors import UserError

# The least spread of logits that a relation follows, unless another is given. Values from .5 to 2 train alike, but for
# two classes with SGD, where 1 and more are better, and Adam, where 1 and less are: benchmarks/results/spread*-cpu.md.
MIN_SPREAD = 1.0


def check_min_spread(min_spread: Tensor | float) -> None:
    """Raise ``UserError`` unless the least spread is a finite number of at least 0.

    One that was divided by a modifier's temperature is a tensor; its value is not looked at, which would wait for the
    device.

    Example:
        >>> check_min_spread(-1)
        Traceback (most recent call last):
        limbeck.errors.UserError: min_spread: got -1, expected a number of at least 0
    """
    if not isinstance(min_spread, Tensor) and not 0 <= min_spread < float("inf"):
        raise UserError(f"min_spread: got {min_spread}, expected a number of at least 0")


def relative_spread(min_spread: Tensor | float, temperature: float) -> Tensor | float:
    """Return the least standard deviation of softened probabilities, as a share of their mean.

    Example:
        >>> round(relative_spread(0.5, 4.0), 4)
        0.1244
    """
    share = min_spread / temperature
    return torch.tanh(share) if isinstance(share, Tensor) else math.tanh(share)
