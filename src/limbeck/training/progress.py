"""What a training tells while it runs."""

from typing import Protocol

from limbeck.training.tally import Tally


class Progress(Protocol):
    """Told of every step and every epoch; :class:`Silent` shows what to implement."""

    def step(self, epoch: int, step: int, steps: int, tally: Tally) -> None:
        """After batch ``step`` (from 1) of ``steps`` of ``epoch`` (from 0)."""

    def epoch(self, row: dict[str, float], epochs: int) -> None:
        """After an epoch, with its row of the record and the number of epochs."""


class Silent:
    """Tell nothing.

    Example:
        >>> Silent().step(0, 1, 10, Tally())
    """

    def step(self, epoch: int, step: int, steps: int, tally: Tally) -> None:
        """Tell nothing."""

    def epoch(self, row: dict[str, float], epochs: int) -> None:
        """Tell nothing."""
