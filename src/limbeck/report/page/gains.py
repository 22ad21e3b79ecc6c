"""By how much methods are better than a baseline, with the interval of the mean over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.special import stdtrit

from limbeck.tasks import Metric

_LEVEL = 0.95


@dataclass(frozen=True)
class Gain:
    """By how much a method is better than another one.

    Attributes:
        by_seed: The difference of each seed that both have.
        mean: Their mean.
        half: Half the width of the 95 % t interval of the mean; None for a single seed.

    Example:
        >>> Gain((1.0, 3.0), 2.0, 12.7).low
        -10.7
    """

    by_seed: tuple[float, ...]
    mean: float
    half: float | None

    @property
    def low(self) -> float:
        """The lower end of the interval; the mean without one."""
        return self.mean - (self.half or 0.0)

    @property
    def high(self) -> float:
        """The upper end of the interval; the mean without one."""
        return self.mean + (self.half or 0.0)

    @property
    def is_clear(self) -> bool:
        """Whether there is an interval, and zero lies outside it."""
        return self.half is not None and (self.low > 0 or self.high < 0)


def paired_gain(one: Mapping[int, float], other: Mapping[int, float], metric: Metric) -> Gain | None:
    """Compare two methods seed by seed.

    A seed has the same initial student and the same batches with every method, so that the differences vary less than
    the figures themselves.

    Args:
        one: The figure of each seed of the method.
        other: That of the baseline.
        metric: What the figures are; of one for which lower is better, a lower figure is a gain.

    Returns:
        The gain, in points where the metric is a share; None if there is no seed that both have.

    Example:
        >>> accuracy = Metric("accuracy", "accuracy")
        >>> gain = paired_gain({0: 0.75, 1: 0.79, 2: 0.80}, {0: 0.74, 1: 0.76, 2: 0.78}, accuracy)
        >>> round(gain.mean, 2), round(gain.half, 2)
        (2.0, 2.48)
    """
    sign = (-1.0 if metric.higher_is_better is False else 1.0) * (100.0 if metric.share else 1.0)
    differences = tuple(sign * (one[seed] - other[seed]) for seed in sorted(one.keys() & other.keys()))
    return Gain(differences, fmean(differences), half_width(differences)) if differences else None


def half_width(values: tuple[float, ...]) -> float | None:
    """Return half the width of the 95 % t interval of a mean; None for fewer than two values.

    Example:
        >>> half_width((1.0,)) is None, round(half_width((1.0, 2.0)), 3)
        (True, 6.353)
    """
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return None
    return float(stdtrit(len(values) - 1, (1 + _LEVEL) / 2)) * stdev(values) / math.sqrt(len(values))
