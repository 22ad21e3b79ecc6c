"""What a comparison found: the figures of each method and of each teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from limbeck.errors import UserError

if TYPE_CHECKING:
    from limbeck.tasks import Metric


@dataclass(frozen=True)
class MethodResult:
    """What one method reached, a value for each seed.

    Args:
        method: The method's name.
        figures: What the student reached on the test split, by the name of the task's metric.
        agreement: Share of test samples where student and teacher predict the same, in ``[0, 1]``; ``None`` without a
            teacher, and on tasks without predictions.
        seconds: Wall time of each training.
        parameters: Number of the student's parameters.
        selected_share: Share of samples that the teacher supervises, in ``[0, 1]``; ``None`` without data selection.
        failures: The reason for each seed that failed; the other fields are of the complete seeds alone.

    Raises:
        UserError: No seed at all, unequal numbers of values, or a share outside ``[0, 1]`` (such as one in percent).

    Example:
        >>> MethodResult("kd", {"accuracy": (0.75, 0.77)}, None, (60.0, 61.0), 78_042, None).seeds
        2
    """

    method: str
    figures: Mapping[str, tuple[float, ...]]
    agreement: tuple[float, ...] | None
    seconds: tuple[float, ...]
    parameters: int | None
    selected_share: float | None
    failures: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.seeds and not self.failures:
            raise UserError(f"{self.method}: no seeds, expected at least one, complete or failed")
        agreement = () if self.agreement is None else (("agreement", self.agreement),)
        for name, values in chain(self.figures.items(), agreement):
            if len(values) != self.seeds:
                raise UserError(f"{self.method}: got {len(values)} values of {name} for {self.seeds} seeds")
        check_shares(f"{self.method}: agreement", self.agreement or ())
        check_shares(f"{self.method}: selected_share", () if self.selected_share is None else (self.selected_share,))

    @property
    def seeds(self) -> int:
        """How many seeds are complete."""
        return len(self.seconds)

    @property
    def status(self) -> str:
        """``complete``, or why seeds failed."""
        return "; ".join(self.failures) or "complete"


@dataclass(frozen=True)
class TeacherResult:
    """A teacher's own figures on the test split, a row of the table beside the methods.

    Args:
        name: What the row is called, such as ``"teacher"``.
        figures: What it reached, by the name of the task's metric.

    Example:
        >>> TeacherResult("teacher", {"accuracy": 0.8085, "ece": 0.357}).name
        'teacher'
    """

    name: str
    figures: Mapping[str, float]


def compared(metrics: Sequence[Metric]) -> tuple[Metric, ...]:
    """Return those of a task's metrics that tables show: the primary one, which is the first, and what is compared.

    Example:
        >>> from limbeck.tasks import Metric
        >>> [metric.name for metric in compared([Metric("a", "A"), Metric("b", "B", compared=False), Metric("c", "C")])]
        ['a', 'c']
    """
    return metrics[0], *(metric for metric in metrics[1:] if metric.compared)


def check_results(results: Sequence[MethodResult], metrics: Sequence[Metric]) -> None:
    """Raise ``UserError`` if a figure of a metric that is a share lies outside ``[0, 1]``.

    Example:
        >>> from limbeck.tasks import Metric
        >>> kd = MethodResult("kd", {"accuracy": (75.0,)}, None, (60.0,), None, None)
        >>> check_results([kd], [Metric("accuracy", "accuracy")])
        Traceback (most recent call last):
        limbeck.errors.UserError: kd: accuracy: got 75.0, expected a share from 0 to 1
    """
    for result in results:
        for metric in metrics:
            if metric.share:
                check_shares(f"{result.method}: {metric.name}", result.figures.get(metric.name, ()))


def check_shares(where: str, values: Sequence[float]) -> None:
    """Raise ``UserError`` if a value is no share.

    Example:
        >>> check_shares("teacher", [92.1])
        Traceback (most recent call last):
        limbeck.errors.UserError: teacher: got 92.1, expected a share from 0 to 1
    """
    for value in values:
        if not 0 <= value <= 1:
            raise UserError(f"{where}: got {value}, expected a share from 0 to 1")
