"""What a tracker receives of a run."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Row = Mapping[str, float]


@dataclass(frozen=True)
class Tracked:
    """A run or a comparison that trackers follow.

    Attributes:
        folder: Its folder.
        name: What it is called in a tracker.
        group: What the runs of the same recipe have in common.
        settings: Its recipe, as flat keys.

    Example:
        >>> Tracked(Path("runs/kd"), "kd", "mine").settings
        {}
    """

    folder: Path
    name: str
    group: str
    settings: Mapping[str, Any] = field(default_factory=dict)


class Tracker(ABC):
    """One tracker of one run.

    Args:
        tracked: The run.
        sent: How many epochs the tracker has of it already.
        id: What the tracker called the run when it was begun; None for a new one.

    Attributes:
        id: What the tracker calls the run; None where it needs no such thing.
    """

    id: str | None = None

    @abstractmethod
    def curves(self, rows: Sequence[Row]) -> None:
        """Add rows of ``metrics.csv``: their ``epoch`` is the step, every other column a curve."""

    @abstractmethod
    def summary(self, summary: Mapping[str, Any]) -> None:
        """Set what ``summary.json`` holds."""

    @abstractmethod
    def table(self, rows: Sequence[Mapping[str, str]], markdown: str) -> None:
        """Set the table of a comparison, as its cells and as Markdown."""

    @abstractmethod
    def close(self, *, complete: bool) -> None:
        """End the work on the run, which is complete, or was stopped or failed."""


def curve(column: str) -> str:
    """Name the curve of a column of ``metrics.csv``: trackers group curves by what stands before a slash.

    Example:
        >>> curve("train.loss"), curve("lr")
        ('train/loss', 'lr')
    """
    return column.replace(".", "/", 1)


def points(row: Row) -> dict[str, float]:
    """Return a row's value of each curve.

    Example:
        >>> points({"epoch": 2, "lr": 0.1, "test.accuracy": 0.5})
        {'lr': 0.1, 'test/accuracy': 0.5}
    """
    return {curve(column): float(value) for column, value in row.items() if column != "epoch"}


def finals(summary: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a summary, apart from the curves of the same names.

    Example:
        >>> finals({"name": "mine", "test.accuracy": 0.5, "epoch": 3})
        {'final/test.accuracy': 0.5, 'final/epoch': 3.0}
    """
    numbers = {key: value for key, value in summary.items() if isinstance(value, int | float)}
    return {f"final/{key}": float(value) for key, value in numbers.items()}
