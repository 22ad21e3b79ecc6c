"""Successive halving, counted: how many settings are trained to which epoch."""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

KEPT: Final = 4
"""Of so many settings one goes on at each rung, to as many times the epochs."""
LEVELS: Final = 3
"""Rungs of a round: a sixteenth of the epochs, a quarter, all."""
FINALISTS: Final = 2
"""At least so many are trained to the end, for the last choice is between whole trainings."""
ROUND: Final = 24
"""As many settings are compared at once; from twice as many on there are several rounds."""


class Rung(NamedTuple):
    """An epoch at which settings are compared, and how many are trained to it.

    Attributes:
        epoch: The epoch, from 1.
        settings: How many are trained to it.
    """

    epoch: int
    settings: int


def rungs(epochs: int, count: int) -> tuple[Rung, ...]:
    """Plan one round: a quarter of the settings goes on at each rung, trained four times as long.

    Args:
        epochs: Those of a whole training; the last rung.
        count: How many settings there are.

    Example:
        >>> rungs(30, 24)
        (Rung(epoch=2, settings=24), Rung(epoch=8, settings=6), Rung(epoch=30, settings=2))
        >>> rungs(1, 8)
        (Rung(epoch=1, settings=8),)
    """
    planned: list[Rung] = []
    for level in range(LEVELS):
        epoch = max(1, round(epochs / KEPT ** (LEVELS - 1 - level)))
        # Of a short training two rungs may be one epoch: as many are trained to it as to the first of them.
        if not planned or epoch > planned[-1].epoch:
            planned.append(Rung(epoch, min(count, max(FINALISTS, math.ceil(count / KEPT**level)))))
    return tuple(planned)


def total_epochs(planned: Sequence[Rung]) -> int:
    """Count the epochs that a round trains, each setting going on where it stopped.

    Example:
        >>> total_epochs(rungs(30, 24))
        128
    """
    before = [0, *(rung.epoch for rung in planned)]
    return sum(rung.settings * (rung.epoch - start) for rung, start in zip(planned, before, strict=False))


def rounds(settings: int) -> tuple[int, ...]:
    """Divide settings into rounds of about the same size: later rounds draw theirs by what earlier ones found.

    Example:
        >>> rounds(24), rounds(47), rounds(50)
        ((24,), (47,), (25, 25))
    """
    number = max(1, settings // ROUND)
    return tuple(settings // number + (place < settings % number) for place in range(number))


def affordable(runs: float, epochs: int, most: int) -> int:
    """Return the most settings of which the search trains no more epochs than so many whole runs have.

    Args:
        runs: Whole runs.
        epochs: Those of a run.
        most: No more settings than these.

    Example:
        >>> affordable(4.3, 30, most=1000), affordable(0.1, 30, most=1000)
        (24, 0)
    """
    fitting = 0
    for settings in range(2, most + 1):
        if sum(total_epochs(rungs(epochs, size)) for size in rounds(settings)) <= runs * epochs:
            fitting = settings
    return fitting
