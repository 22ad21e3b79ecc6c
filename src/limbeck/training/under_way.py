"""An epoch of which some updates are done: what a checkpoint in its middle holds, and when one is due."""

import time
from collections.abc import Mapping
from typing import Any, Self

from limbeck.errors import UserError
from limbeck.ranks import shared
from limbeck.training.meter import EpochMeter
from limbeck.training.settings import TrainingSettings
from limbeck.training.wording import Wording

# Several processes agree on the time, which makes them wait for each other.
_AGREED_STEPS = 8
_MINUTE = 60.0


class UnderWay:
    """How far an epoch has come.

    Args:
        epoch: The epoch, from 0.
        steps: How many updates it has.
        lr: The learning rate at its beginning.
        wording: The names of the meter's figures.
        before: The seconds of what was done before its first update.

    Attributes:
        step: How many updates are done.
        meter: Their sums.

    Example:
        >>> under_way = UnderWay(epoch=1, steps=10, lr=0.1, wording=Wording())
        >>> under_way.step = 3
        >>> UnderWay.of(under_way.state(), steps=10, wording=Wording()).step
        3
    """

    def __init__(self, epoch: int, steps: int, lr: float, wording: Wording, before: float = 0.0) -> None:
        self.epoch, self.steps, self.lr, self.before, self.step = epoch, steps, lr, before, 0
        self.meter = EpochMeter(wording)
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        """The seconds since its first update began, without those between a stop and the resumption."""
        return time.perf_counter() - self._began

    @property
    def text(self) -> str:
        """How far it is, such as ``step 3 of 10 of epoch 2``."""
        return f"step {self.step} of {self.steps} of epoch {self.epoch + 1}"

    def state(self, *, several: bool = False) -> dict[str, Any]:
        """Return what :meth:`of` goes on from; with several processes all call this together."""
        names = ("epoch", "steps", "lr", "before", "step", "seconds")
        return {**{name: getattr(self, name) for name in names}, "meter": self.meter.state(several=several)}

    @classmethod
    def of(cls, state: Mapping[str, Any], *, steps: int, wording: Wording) -> Self:
        """Go on from a state of :meth:`state`.

        Args:
            state: The state.
            steps: How many updates an epoch has now.
            wording: The names of the meter's figures.

        Raises:
            UserError: If the epoch had another number of updates.
        """
        if state["steps"] != steps:
            got = f"a checkpoint in the middle of an epoch of {state['steps']} steps"
            raise UserError(f"training: got {got}, expected one of {steps}: the same batches as before")
        under_way = cls(state["epoch"], steps, state["lr"], wording, state["before"])
        under_way.step = state["step"]
        under_way.meter.load(state["meter"])
        under_way._began -= state["seconds"]
        return under_way


class CheckpointDue:
    """When a checkpoint in the middle of an epoch is due.

    Args:
        settings: ``checkpoint_steps`` and ``checkpoint_minutes``.

    Example:
        >>> due = CheckpointDue(TrainingSettings(checkpoint_steps=4))
        >>> [step for step in range(1, 10) if due(step)]
        [4, 8]
    """

    def __init__(self, settings: TrainingSettings) -> None:
        self._steps, minutes = settings.checkpoint_steps, settings.checkpoint_minutes
        self._seconds = None if minutes is None else minutes * _MINUTE
        self.written()

    def written(self) -> None:
        """Note that a checkpoint was written."""
        self._last = time.monotonic()

    def __call__(self, step: int, *, several: bool = False) -> bool:
        """Return whether one is due.

        Args:
            step: How many updates of the training are done, those of all epochs.
            several: Whether several processes train; all call this together.
        """
        if self._steps is not None and step % self._steps == 0:
            return True
        if self._seconds is None or (several and step % _AGREED_STEPS):
            return False
        passed = time.monotonic() - self._last >= self._seconds
        return shared(passed) if several else passed
