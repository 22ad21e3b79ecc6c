"""What a long command prints: lines, with bars on a terminal, and a line about twice a minute elsewhere."""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import NamedTuple, Self

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Column
from rich.text import Text

from limbeck.build.reporting import Reporting
from limbeck.cli.options import CONTINUE, Stopped, make_console
from limbeck.errors import UserError
from limbeck.training import EpochMeter, Position, Wording, epoch_line

BEGIN_AGAIN = "the same command begins anew"
"""How to continue what keeps nothing of a stopped command."""
_REFRESH_SECONDS = 0.5
_LINE_SECONDS = 30.0
_SPEED_SECONDS = 3600.0


class _Figures(ProgressColumn):
    """A task's figures, cut off where the terminal ends: everything before them is shown whole."""

    def render(self, task: Task) -> Text:
        return Text(task.fields["figures"], no_wrap=True, overflow="ellipsis")


def make_bars(console: Console) -> Bars:
    """Make the bars that a command shows at once; what is being done, how far, and the time left are never cut.

    Example:
        >>> len(make_bars(Console(quiet=True)).columns)
        4
    """
    whole = Column(no_wrap=True)
    return Bars(
        TextColumn("{task.description}", markup=False, table_column=whole),
        BarColumn(bar_width=16, table_column=Column(no_wrap=True, width=16)),
        TimeRemainingColumn(table_column=Column(no_wrap=True, min_width=8)),
        _Figures(),
        console=console,
        transient=True,
        # An epoch may take minutes; from the last half minute alone its speed would be unknown.
        speed_estimate_period=_SPEED_SECONDS,
    )


class LiveProgress:
    """Show a training's epochs: a bar on a terminal, a line an epoch everywhere.

    Args:
        console: Where to show.
        bars: The bars that it adds its own to; by default new ones.

    Example:
        >>> LiveProgress(Console(quiet=True)).step(Position(0, 1, 1, 10), EpochMeter())
    """

    def __init__(self, console: Console, bars: Bars | None = None) -> None:
        self.console = console
        self.bar = bars or make_bars(console)
        self.task: TaskID | None = None
        self._shown = self._epoch_start = time.monotonic()
        self._epoch, self._wording = -1, Wording()

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self.bar.stop()

    def step(self, position: Position, meter: EpochMeter) -> None:
        """Update the bar; figures are read from the device at most twice a second."""
        self._wording = meter.wording
        if not self.console.is_terminal:
            return
        now = time.monotonic()
        if position.epoch != self._epoch:
            self._epoch, self._epoch_start = position.epoch, now
        if now - self._shown < _REFRESH_SECONDS:
            return
        self._shown = now
        speed = float(meter.samples) / max(now - self._epoch_start, 1e-9)
        self._show(position, _figures(meter.means(), speed, meter.wording))

    def _show(self, position: Position, figures: str) -> None:
        if self.task is None:
            self.task = self.bar.add_task("", total=position.total, figures="")
        description = f"epoch {position.epoch + 1}/{position.epochs}"
        # A training that ended early has left its bar to the next one.
        self.bar.update(
            self.task, description=description, total=position.total, completed=position.done, figures=figures
        )

    def epoch(self, row: Mapping[str, float], epochs: int) -> None:
        """Print the epoch's line."""
        self.console.print(epoch_line(row, epochs, self._wording), highlight=False)
        if self.task is not None and row["epoch"] == epochs:
            self.bar.remove_task(self.task)
            self.task, self._epoch = None, -1


def _figures(means: Mapping[str, float], speed: float, wording: Wording) -> str:
    """Write the figures of an epoch so far: the loss, its parts, the metrics, the speed.

    Example:
        >>> _figures({"loss": 1.5, "ce": 1.5}, 99, Wording())
        'loss 1.500  ce 1.500  99 samples/s'
    """
    shown = [f"{name} {value:.3f}" for name, value in {"loss": means["loss"], **wording.parts(means)}.items()]
    for metric, value in wording.figures(means):
        shown.append(f"{metric.title} {value:.1%}" if metric.share else f"{metric.title} {value:.3f}")
    return "  ".join([*shown, f"{speed:.0f} {wording.unit}/s"])


class Overall:
    """Show how far something of many parts has come, such as a comparison: a bar, or a line about twice a minute.

    Args:
        console: Where to show.
        what: What is being done.
        unit: What is counted.
        bars: The bars that it adds its own to; by default new ones.

    Example:
        >>> Overall(Console(quiet=True)).tick(1, 10)
    """

    def __init__(
        self, console: Console, what: str = "all runs", unit: str = "epochs", bars: Bars | None = None
    ) -> None:
        self.console, self.what, self.unit = console, what, unit
        self.bar = bars or make_bars(console)
        self.task: TaskID | None = None
        self._start: tuple[float, int] | None = None
        self._printed = 0.0

    def tick(self, done: int, total: int) -> None:
        """Show ``done`` of ``total``."""
        if self.console.is_terminal:
            self._draw(done, total)
        else:
            self._print(done, total)

    def _draw(self, done: int, total: int) -> None:
        if self.task is None:
            self.task = self.bar.add_task("", total=total, figures="")
        self.bar.update(self.task, description=self._counted(done, total), completed=done, total=total)

    def _counted(self, done: int, total: int) -> str:
        return f"{self.what}: {done:,}/{total:,} {self.unit}"

    def _print(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._start is None:
            self._start, self._printed = (now, done), now
        if now - self._printed < _LINE_SECONDS:
            return
        self._printed = now
        began, before = self._start
        left = f", about {duration((total - done) * (now - began) / (done - before))} left" if done > before else ""
        self.console.print(f"{self._counted(done, total)}{left}", highlight=False, markup=False)


def duration(seconds: float) -> str:
    """Write a time in its usual units.

    Example:
        >>> [duration(seconds) for seconds in (5, 130, 7300)]
        ['5 s', '2 min', '2 h 02 min']
    """
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


class Shown(NamedTuple):
    """Where a long command reports to.

    Attributes:
        console: For the result, which is printed with ``quiet`` too.
        reporting: For what happens meanwhile.
        tick: For how far it has come.
    """

    console: Console
    reporting: Reporting
    tick: Callable[[int, int], None]


@contextmanager
def showing(
    *,
    quiet: bool = False,
    verbose: bool = False,
    what: str = "all runs",
    unit: str = "epochs",
    how: str = CONTINUE,
) -> Iterator[Shown]:
    """Show what happens in the block.

    Args:
        quiet: Show nothing but the result and errors.
        verbose: Print what limbeck's loggers report to the error output.
        what: What the overall bar stands for.
        unit: What it counts.
        how: How to continue after Ctrl-C and SIGTERM.

    Raises:
        UserError: If both are set.
        Stopped: After Ctrl-C and SIGTERM.

    Example:
        >>> with showing(quiet=True) as shown:
        ...     shown.reporting.log("not printed")
    """
    if quiet and verbose:
        raise UserError("--quiet and --verbose: got both, expected one of them")
    console = make_console()
    lines = Console(quiet=True, force_terminal=False) if quiet else console
    bars = make_bars(lines)
    overall = Overall(lines, what, unit, bars)
    with stoppable(how), logged(verbose=verbose), LiveProgress(lines, bars) as progress:
        log = Reporting(lambda line: lines.print(line, highlight=False, markup=False, soft_wrap=True), progress)
        yield Shown(console, log, overall.tick)


@contextmanager
def stoppable(how: str = BEGIN_AGAIN) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the block with one line.

    Args:
        how: How to continue.

    Raises:
        Stopped: After either of them.

    Example:
        >>> with stoppable():
        ...     pass
    """
    from limbeck.runs.signals import terminates_as_interrupt

    try:
        with terminates_as_interrupt():
            yield
    except KeyboardInterrupt as stop:
        # A teacher that a command trains is continued by it, also where nothing else is.
        how = "the same command goes on from there" if str(stop) and how == BEGIN_AGAIN else how
        raise Stopped("; ".join(filter(None, (str(stop), how)))) from None


@contextmanager
def logged(*, verbose: bool) -> Iterator[None]:
    """Print what limbeck's loggers report in the block: warnings and errors, with ``verbose`` everything."""
    logger, handler = logging.getLogger("limbeck"), logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if verbose else logging.WARNING)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
