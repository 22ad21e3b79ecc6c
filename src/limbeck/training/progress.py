"""What a training reports while it runs."""

from typing import NamedTuple, Protocol

from limbeck.training.meter import EpochMeter


class Position(NamedTuple):
    """How far a training is.

    Attributes:
        epoch: The epoch, from 0.
        epochs: The number of epochs.
        step: The batches of this epoch that are done.
        steps: The batches of an epoch.

    Example:
        >>> Position(epoch=1, epochs=3, step=5, steps=10).done, Position(1, 3, 5, 10).total
        (15, 30)
    """

    epoch: int
    epochs: int
    step: int
    steps: int

    @property
    def done(self) -> int:
        """The batches done since the beginning."""
        return self.epoch * self.steps + self.step

    @property
    def total(self) -> int:
        """The batches of the whole training."""
        return self.epochs * self.steps


class Progress(Protocol):
    """Receives every step and every epoch; :class:`Silent` shows what to implement."""

    def step(self, position: Position, meter: EpochMeter) -> None:
        """After a batch, with the sums of its epoch so far and the names of its figures."""

    def epoch(self, row: dict[str, float], epochs: int) -> None:
        """After an epoch, with its row of the record and the number of epochs."""


class Silent:
    """Report nothing.

    Example:
        >>> Silent().step(Position(0, 1, 1, 10), EpochMeter())
    """

    def step(self, position: Position, meter: EpochMeter) -> None:
        """Report nothing."""

    def epoch(self, row: dict[str, float], epochs: int) -> None:
        """Report nothing."""
