"""The temperature that calibrates a network: the one of the least loss on held-out rows."""

import math

import torch
from torch import Tensor

from limbeck.rows import check_measurable, ground_truth

LOWEST, HIGHEST = 0.05, 20.0
"""Between these a fitted temperature lies."""
# How far the logarithm of the temperature may be from that of the best one.
_TOLERANCE = 1e-7
_ROWS = 2**16


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Find the temperature T at which the mean cross-entropy of ``logits / T`` is least.

    The mean is convex in 1 / T, so that bisection of its slope finds the minimum, in float64 on the CPU.

    Args:
        logits: (R, C) float logits of rows that the network was not trained on; R at least 1.
        labels: (R,) true classes, -100 for a row that does not count, or (R, C) probabilities.

    Returns:
        The temperature, in [0.05, 20]; 0.05 where all rows are right whatever the temperature, 20 where the logits are
        no better than chance, 1 where they are constant.

    Raises:
        UserError: If the logits are no (R, C) floats or one is nan or infinite, no row is labeled, or a label is out of
            range.

    References:
        Guo et al.: On Calibration of Modern Neural Networks, ICML 2017 (arXiv 1706.04599). Bisection in place of
        their optimizer is ours.

    Example:
        >>> logits = torch.tensor([[4.0, 0.0]]).repeat(4, 1)
        >>> temperature = fit_temperature(logits, torch.tensor([0, 0, 0, 1]))
        >>> round(temperature, 4), round(float((logits / temperature).softmax(dim=1)[0, 0]), 4)
        (3.641, 0.75)
    """
    logits = logits.detach().cpu()
    truth = ground_truth(labels.cpu(), logits)
    labeled = slice(None) if truth.labeled is None else truth.labeled
    check_measurable(logits[labeled])
    return _least(_Slope(logits[labeled], truth.labels[labeled]))


class _Slope:
    """The derivative of the mean cross-entropy by 1 / T."""

    def __init__(self, logits: Tensor, labels: Tensor) -> None:
        self.pieces = list(zip(torch.split(logits, _ROWS), torch.split(labels, _ROWS), strict=True))
        self.rows = len(logits)

    def __call__(self, temperature: float) -> float:
        return sum(_slope(logits, labels, temperature) for logits, labels in self.pieces) / self.rows


def _slope(logits: Tensor, labels: Tensor, temperature: float) -> float:
    logits = logits.double()
    logits = logits - logits.amax(dim=1, keepdim=True)
    expected = ((logits / temperature).softmax(dim=1) * logits).sum(dim=1)
    true = (labels.double() * logits).sum(1) if labels.ndim == 2 else logits.gather(1, labels[:, None])[:, 0]
    return float((expected - true).sum())


def _least(slope: _Slope) -> float:
    if slope(1.0) == 0:
        return 1.0
    if slope(HIGHEST) >= 0:
        return HIGHEST
    if slope(LOWEST) <= 0:
        return LOWEST
    low, high = math.log(LOWEST), math.log(HIGHEST)
    while high - low > _TOLERANCE:
        middle = (low + high) / 2
        # The slope falls as the temperature rises.
        low, high = (middle, high) if slope(math.exp(middle)) > 0 else (low, middle)
    return math.exp((low + high) / 2)
