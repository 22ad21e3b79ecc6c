"""What the command line shows: lines, and a live bar where there is a terminal."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from limbeck.runs.run import epoch_line
from limbeck.training import Position, Tally

_REFRESH_SECONDS = 0.5


class LiveProgress:
    """Show a training's epochs: a bar on a terminal, a line an epoch everywhere.

    Args:
        console: Where to show.

    Example:
        >>> LiveProgress(Console(quiet=True)).step(Position(0, 1, 1, 10), Tally())
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        self.bar = Bars(*columns, TextColumn("{task.fields[figures]}"), console=console, transient=True)
        self.task: TaskID | None = None
        self._shown = self._epoch_start = time.monotonic()
        self._epoch = -1

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self.bar.stop()

    def step(self, position: Position, tally: Tally) -> None:
        """Update the bar; figures are read from the device at most twice a second."""
        if not self.console.is_terminal:
            return
        now = time.monotonic()
        if position.epoch != self._epoch:
            self._epoch, self._epoch_start = position.epoch, now
        if now - self._shown < _REFRESH_SECONDS:
            return
        self._shown = now
        speed = tally.samples / max(now - self._epoch_start, 1e-9)
        self._show(position, _figures(tally.means(), speed))

    def _show(self, position: Position, figures: str) -> None:
        if self.task is None:
            self.task = self.bar.add_task("", total=position.total, figures="")
        description = f"epoch {position.epoch + 1}/{position.epochs}"
        self.bar.update(self.task, description=description, completed=position.done, figures=figures)

    def epoch(self, row: Mapping[str, float], epochs: int) -> None:
        """Print the epoch's line."""
        self.console.print(epoch_line(row, epochs), highlight=False)
        if self.task is not None and row["epoch"] == epochs:
            self.bar.remove_task(self.task)
            self.task, self._epoch = None, -1


def _figures(means: Mapping[str, float], speed: float) -> str:
    shown = [f"{name} {value:.3f}" for name, value in means.items() if name != "accuracy"]
    return "  ".join([*shown, f"accuracy {means['accuracy']:.1%}", f"{speed:.0f} images/s"])


class Overall:
    """Show how far something of many parts has come, such as a comparison: one bar over the epochs of all its runs.

    Args:
        console: Where to show.
        what: What the bar stands for.
        unit: What is counted.

    Example:
        >>> Overall(Console(quiet=True)).tick(1, 10)
    """

    def __init__(self, console: Console, what: str = "all runs", unit: str = "epochs") -> None:
        self.console = console
        columns = (
            TextColumn(what),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeRemainingColumn(),
        )
        self.bar = Bars(*columns, console=console, transient=True)
        self.task: TaskID | None = None

    def tick(self, done: int, total: int) -> None:
        """Show ``done`` of ``total``."""
        if not self.console.is_terminal:
            return
        if self.task is None:
            self.bar.start()
            self.task = self.bar.add_task("", total=total)
        self.bar.update(self.task, completed=done)
        if done >= total:
            self.stop()

    def stop(self) -> None:
        """Take the bar away."""
        if self.task is not None:
            self.bar.stop()
