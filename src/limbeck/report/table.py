"""The comparison of methods as a table: for a page, for a spreadsheet, for the terminal."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from rich import box
from rich.table import Table
from rich.text import Text

from limbeck.errors import UserError


@dataclass(frozen=True)
class MethodResult:
    """What one method reached, a value for each seed.

    Args:
        method: The method's name.
        accuracies: Top-1 accuracy on the test split, in ``[0, 1]``.
        ece: Expected calibration error on the test split, in ``[0, 1]``.
        nll: Mean negative log-likelihood on the test split, in nats.
        agreement: Share of test rows where student and teacher name the same class, in ``[0, 1]``; ``None`` without
            a teacher that sees them.
        seconds: Wall time of each training.
        parameters: Number of the student's parameters.
        selected_share: Share of rows that listened to the teacher, in ``[0, 1]``; ``None`` without data selection.
        failures: The reason for each seed that failed; the other fields are of the complete seeds alone.

    Raises:
        UserError: No seed at all, unequal numbers of values, or a share outside ``[0, 1]`` (such as one in percent).

    Example:
        >>> MethodResult("kd", (0.75, 0.77), (0.05, 0.04), (0.9, 0.8), None, (60.0, 61.0), 78_042, None).seeds
        2
    """

    method: str
    accuracies: tuple[float, ...]
    ece: tuple[float, ...]
    nll: tuple[float, ...]
    agreement: tuple[float, ...] | None
    seconds: tuple[float, ...]
    parameters: int | None
    selected_share: float | None
    failures: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.accuracies and not self.failures:
            raise UserError(f"{self.method}: no accuracies, expected one for each seed")
        for name, values in _series(self):
            if len(values) != self.seeds:
                raise UserError(f"{self.method}: got {len(values)} values of {name} for {self.seeds} accuracies")
            if name in _SHARES:
                _check_shares(f"{self.method}: {name}", values)
        if self.selected_share is not None:
            _check_shares(f"{self.method}: selected_share", (self.selected_share,))

    @property
    def seeds(self) -> int:
        """How many seeds are complete."""
        return len(self.accuracies)

    @property
    def status(self) -> str:
        """``complete``, or why seeds failed."""
        return "; ".join(self.failures) or "complete"


@dataclass(frozen=True)
class TeacherResult:
    """A teacher's own figures on the test split, a row of the table beside the methods.

    Args:
        name: What the row is called, such as ``"teacher"``.
        accuracy: Top-1 accuracy, in ``[0, 1]``.
        ece: Expected calibration error, in ``[0, 1]``.
        nll: Mean negative log-likelihood, in nats.

    Example:
        >>> TeacherResult("teacher", 0.8085, 0.357, 1.217).name
        'teacher'
    """

    name: str
    accuracy: float
    ece: float
    nll: float


_SHARES = ("accuracy", "ece", "agreement")
_SERIES = ("accuracy", "ece", "nll", "agreement", "seconds")


def comparison_rows(
    results: Sequence[MethodResult], baseline: str = "none", teachers: Sequence[TeacherResult] = ()
) -> list[dict[str, str]]:
    """Write each method's figures as the cells of a table.

    A spread is the sample standard deviation over the seeds (divided by n - 1), and is left out for a single seed.

    Args:
        results: A result for each method, in the order of the rows.
        baseline: The method that gains are counted from.
        teachers: Teachers whose own figures stand above the methods.

    Returns:
        For each teacher and each method its cells by column: ``method``, ``test accuracy (%)``, ``gain over
        <baseline>`` (points; empty for the baseline and where it is absent), ``agreement (%)`` (with the teacher; empty
        without one), ``ECE (%)``, ``NLL``, ``seconds`` and ``seeds`` (``2 of 3`` where one failed). What a teacher does
        not have is empty; a method without a complete seed has ``failed`` in place of its accuracy.

    Example:
        >>> none = MethodResult("none", (0.70, 0.72), (0.1, 0.1), (1.0, 1.0), None, (9.0, 9.0), 10, None)
        >>> kd = MethodResult("kd", (0.73, 0.75), (0.04, 0.06), (0.9, 0.9), (0.8, 0.8), (9.0, 9.0), 10, None)
        >>> row = comparison_rows([none, kd])[1]
        >>> row["test accuracy (%)"], row["gain over none"], row["ECE (%)"]
        ('74.0 ± 1.4', '+3.0', '5.0 ± 1.4')
    """
    base = next((fmean(r.accuracies) for r in results if r.method == baseline and r.accuracies), None)
    return [
        *(_teacher_cells(teacher, baseline) for teacher in teachers),
        *(_cells(result, baseline, base) for result in results),
    ]


def to_markdown(rows: Sequence[dict[str, str]], caption: str) -> str:
    """Write the cells as a Markdown table under its caption.

    Args:
        rows: From :func:`comparison_rows`.
        caption: What the table shows: one paragraph.

    Returns:
        The text, with a final line break.

    Raises:
        UserError: There are no rows.

    Example:
        >>> print(to_markdown([{"method": "kd", "seeds": "3"}], "Three seeds."))
        Three seeds.
        <BLANKLINE>
        | method | seeds |
        | :--- | ---: |
        | kd | 3 |
        <BLANKLINE>
    """
    columns = _columns(rows)
    marks = [":---", *["---:"] * (len(columns) - 1)]
    lines = [_markdown_line(columns), _markdown_line(marks)]
    lines += [_markdown_line([row[column] for column in columns]) for row in rows]
    return "\n".join([caption, "", *lines, ""])


def to_csv(results: Sequence[MethodResult], teachers: Sequence[TeacherResult] = ()) -> str:
    """Write the raw numbers, unrounded, one line for each teacher and each method.

    Args:
        results: A result for each method.
        teachers: Teachers whose own figures stand above the methods.

    Returns:
        The text of the file: ``method``, ``seeds``, ``parameters``, ``selected_share``, then for each of ``accuracy``,
        ``ece``, ``nll``, ``agreement`` and ``seconds`` the ``_mean``, the ``_std`` (sample) and the values by seed
        (``_1``, ``_2``, ...), and last ``status``: ``complete`` or why seeds failed. What does not exist is empty; a
        teacher's figures stand under ``_mean``.

    Example:
        >>> print(to_csv([MethodResult("kd", (0.5,), (0.25,), (1.5,), None, (9.0,), 10, None)]).splitlines()[1])
        kd,1,10,,0.5,,0.5,0.25,,0.25,1.5,,1.5,,,,9.0,,9.0,complete
    """
    seeds = max((result.seeds for result in results), default=0)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    by_seed = [f"{name}_{end}" for name in _SERIES for end in ("mean", "std", *range(1, seeds + 1))]
    writer.writerow(["method", "seeds", "parameters", "selected_share", *by_seed, "status"])
    writer.writerows(_teacher_csv_line(teacher, seeds) for teacher in teachers)
    writer.writerows(_csv_line(result, seeds) for result in results)
    return file.getvalue()


def to_rich(rows: Sequence[dict[str, str]], title: str) -> Table:
    """Lay the cells out for the terminal.

    Args:
        rows: From :func:`comparison_rows`.
        title: The line above the table.

    Returns:
        The table, for ``rich.console.Console.print``.

    Raises:
        UserError: There are no rows.

    Example:
        >>> to_rich([{"method": "kd", "seeds": "3"}], "Comparison").row_count
        1
    """
    columns = _columns(rows)
    table = Table(title=Text(title), box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0)
    table.add_column(Text(columns[0]), overflow="fold")
    for column in columns[1:]:
        # As narrow as its figures and its heading's words, for all of it is to fit 80 columns, with no figure cut.
        width = max(len(part) for part in (*column.split(), *(row[column] for row in rows)))
        table.add_column(Text(column), justify="right", width=width)
    for row in rows:
        # As Text, for rich would read a name such as "lr[eta=.8]" as markup.
        table.add_row(*(Text(row[column]) for column in columns))
    return table


def mean_and_spread(values: Sequence[float], *, factor: float = 1.0, digits: int = 1) -> str:
    """Write a mean and the sample standard deviation behind it, which one value does not have.

    Args:
        values: At least one number.
        factor: What they are multiplied by, such as 100 for percent.
        digits: Decimals.

    Returns:
        Such as ``"87.6 ± 0.3"``, or ``"87.6"`` for one value.

    Example:
        >>> mean_and_spread([0.5, 0.75], factor=100), mean_and_spread([2.0])
        ('62.5 ± 17.7', '2.0')
    """
    scaled = [factor * value for value in values]
    mean = f"{fmean(scaled):.{digits}f}"
    return mean if len(scaled) == 1 else f"{mean} ± {_spread(scaled):.{digits}f}"


def _spread(values: Sequence[float]) -> float:
    # A diverged run has an infinite loss, which the standard library's exact sum cannot take.
    return stdev(values) if all(math.isfinite(v) for v in values) else math.nan


def _cells(result: MethodResult, baseline: str, base: float | None) -> dict[str, str]:
    if not result.accuracies:
        return _failed_cells(result, baseline)
    gain = "" if base is None or result.method == baseline else _points(fmean(result.accuracies) - base)
    return {
        "method": result.method,
        "test accuracy (%)": mean_and_spread(result.accuracies, factor=100),
        f"gain over {baseline}": gain,
        "agreement (%)": "" if result.agreement is None else mean_and_spread(result.agreement, factor=100),
        "ECE (%)": mean_and_spread(result.ece, factor=100),
        "NLL": mean_and_spread(result.nll, digits=3),
        "seconds": mean_and_spread(result.seconds, digits=0),
        "seeds": _seeds(result),
    }


def _failed_cells(result: MethodResult, baseline: str) -> dict[str, str]:
    empty = ("agreement (%)", "ECE (%)", "NLL", "seconds")
    cells = {"method": result.method, "test accuracy (%)": "failed", f"gain over {baseline}": ""}
    return cells | dict.fromkeys(empty, "") | {"seeds": _seeds(result)}


def _seeds(result: MethodResult) -> str:
    return f"{result.seeds} of {result.seeds + len(result.failures)}" if result.failures else str(result.seeds)


def _teacher_cells(teacher: TeacherResult, baseline: str) -> dict[str, str]:
    return {
        "method": teacher.name,
        "test accuracy (%)": mean_and_spread([teacher.accuracy], factor=100),
        f"gain over {baseline}": "",
        "agreement (%)": "",
        "ECE (%)": mean_and_spread([teacher.ece], factor=100),
        "NLL": mean_and_spread([teacher.nll], digits=3),
        "seconds": "",
        "seeds": "",
    }


def _points(difference: float) -> str:
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    return f"{round(100 * difference, 1) + 0.0:+.1f}"


def _series(result: MethodResult) -> list[tuple[str, tuple[float, ...]]]:
    values = (result.accuracies, result.ece, result.nll, result.agreement, result.seconds)
    return [(name, series) for name, series in zip(_SERIES, values, strict=True) if series is not None]


def _csv_line(result: MethodResult, seeds: int) -> list[object]:
    share = "" if result.selected_share is None else result.selected_share
    line: list[object] = [result.method, result.seeds, "" if result.parameters is None else result.parameters, share]
    series = dict(_series(result))
    for name in _SERIES:
        line += _csv_series(series.get(name, ()), seeds)
    return [*line, result.status]


def _teacher_csv_line(teacher: TeacherResult, seeds: int) -> list[object]:
    line: list[object] = [teacher.name, "", "", ""]
    figures = {"accuracy": teacher.accuracy, "ece": teacher.ece, "nll": teacher.nll}
    for name in _SERIES:
        line += [figures.get(name, ""), *[""] * (seeds + 1)]
    return [*line, ""]


def _csv_series(values: Sequence[float], seeds: int) -> list[object]:
    mean = fmean(values) if values else ""
    spread = _spread(values) if len(values) > 1 else ""
    return [mean, spread, *values, *[""] * (seeds - len(values))]


def _columns(rows: Sequence[dict[str, str]]) -> list[str]:
    if not rows:
        raise UserError("comparison: got no rows, expected at least one method's result")
    return list(rows[0])


def _markdown_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _check_shares(where: str, values: Sequence[float]) -> None:
    for value in values:
        if not 0 <= value <= 1:
            raise UserError(f"{where}: got {value}, expected a share from 0 to 1")
