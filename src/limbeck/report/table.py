"""The comparison of methods as a table: for a page, for a spreadsheet, for the terminal."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from limbeck.errors import UserError
from limbeck.report.results import MethodResult, TeacherResult, check_results, compared

if TYPE_CHECKING:
    from limbeck.tasks import Metric


def comparison_rows(
    results: Sequence[MethodResult],
    metrics: Sequence[Metric],
    baseline: str = "none",
    teachers: Sequence[TeacherResult] = (),
) -> list[dict[str, str]]:
    """Write each method's figures as the cells of a table.

    A spread is the sample standard deviation over the seeds (divided by n - 1), and is left out for a single seed.

    Args:
        results: A result for each method, in the order of the rows.
        metrics: The task's metrics; gains are of the first.
        baseline: The method that gains are counted from.
        teachers: Teachers whose own figures stand above the methods.

    Returns:
        For each teacher and each method its cells by column: ``method``, the primary metric (``test accuracy (%)``),
        ``gain over <baseline>`` (by how much it is better, in points where it is a share; empty for the baseline and
        where it is absent), ``agreement (%)`` (with the teacher; empty without one), the other compared metrics (``ECE
        (%)``, ``NLL``), ``seconds`` and ``seeds`` (``2 of 3`` where one failed). What does not exist is empty; a method
        without a complete seed has ``failed`` in place of its primary metric.

    Raises:
        UserError: If a metric that is a share has a value outside ``[0, 1]``.

    Example:
        >>> from limbeck.tasks import Metric
        >>> error = Metric("error", "error rate", higher_is_better=False)
        >>> none = MethodResult("none", {"error": (0.30, 0.28)}, None, (9.0, 9.0), 10, None)
        >>> kd = MethodResult("kd", {"error": (0.27, 0.25)}, (0.8, 0.8), (9.0, 9.0), 10, None)
        >>> row = comparison_rows([none, kd], [error])[1]
        >>> row["test error rate (%)"], row["gain over none"], row["agreement (%)"]
        ('26.0 ± 1.4', '+3.0', '80.0 ± 0.0')
    """
    shown = compared(metrics)
    check_results(results, shown)
    base = next((r.figures.get(shown[0].name) for r in results if r.method == baseline), None)
    return [
        *(_cells(t.name, {name: (v,) for name, v in t.figures.items()}, shown, baseline, {}) for t in teachers),
        *(_cells(r.method, r.figures, shown, baseline, _method_cells(r, shown[0], baseline, base)) for r in results),
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


def to_csv(results: Sequence[MethodResult], metrics: Sequence[Metric], teachers: Sequence[TeacherResult] = ()) -> str:
    """Write the raw numbers, unrounded, one line for each teacher and each method.

    Args:
        results: A result for each method.
        metrics: The task's metrics.
        teachers: Teachers whose own figures stand above the methods.

    Returns:
        The text of the file: ``method``, ``seeds``, ``parameters``, ``selected_share``, then for each compared metric
        (``accuracy``, ``ece``, ``nll``), ``agreement`` and ``seconds`` the ``_mean``, the ``_std`` (sample) and the
        values by seed (``_1``, ``_2``, ...), and last ``status``: ``complete`` or why seeds failed. What does not exist
        is empty; a teacher's figures stand under ``_mean``.

    Example:
        >>> from limbeck.tasks import Metric
        >>> kd = MethodResult("kd", {"accuracy": (0.5,), "loss": (1.5,)}, None, (9.0,), 10, None)
        >>> metrics = Metric("accuracy", "accuracy"), Metric("loss", "NLL", share=False)
        >>> print(to_csv([kd], metrics).splitlines()[1])
        kd,1,10,,0.5,,0.5,1.5,,1.5,,,,9.0,,9.0,complete
    """
    shown, seeds = compared(metrics), max((result.seeds for result in results), default=0)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    series = [*(metric.column for metric in shown), "agreement", "seconds"]
    by_seed = [f"{name}_{end}" for name in series for end in ("mean", "std", *range(1, seeds + 1))]
    writer.writerow(["method", "seeds", "parameters", "selected_share", *by_seed, "status"])
    writer.writerows(_teacher_csv_line(teacher, shown, seeds) for teacher in teachers)
    writer.writerows(_csv_line(result, shown, seeds) for result in results)
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
        # No wider than its figures and the words of its heading, so that the table fits 80 columns with no figure cut.
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


def metric_spread(metric: Metric, values: Sequence[float]) -> str:
    """Write the mean and the spread of a metric's values: in percent if it is a share, else with three decimals.

    Example:
        >>> from limbeck.tasks import Metric
        >>> metric_spread(Metric("loss", "NLL", share=False), [0.5]), metric_spread(Metric("ece", "ECE"), [0.05, 0.07])
        ('0.500', '6.0 ± 1.4')
    """
    return mean_and_spread(values, factor=100) if metric.share else mean_and_spread(values, digits=3)


def _spread(values: Sequence[float]) -> float:
    # A diverged run has an infinite loss, which the standard library's stdev cannot handle.
    return stdev(values) if all(math.isfinite(v) for v in values) else math.nan


def _cells(
    name: str,
    figures: Mapping[str, Sequence[float]],
    metrics: Sequence[Metric],
    baseline: str,
    further: Mapping[str, str],
) -> dict[str, str]:
    primary, *others = metrics
    cells = {
        "method": name,
        f"test {primary.heading}": _figure(primary, figures),
        f"gain over {baseline}": "",
        "agreement (%)": "",
        **{metric.heading: _figure(metric, figures) for metric in others},
        "seconds": "",
        "seeds": "",
    }
    return {**cells, **further}


def _figure(metric: Metric, figures: Mapping[str, Sequence[float]]) -> str:
    values = figures.get(metric.name, ())
    return metric_spread(metric, values) if values else ""


def _method_cells(result: MethodResult, primary: Metric, baseline: str, base: Sequence[float] | None) -> dict[str, str]:
    if not result.seeds:
        return {f"test {primary.heading}": "failed", "seeds": _seeds(result)}
    values = result.figures.get(primary.name)
    better = gain(primary, fmean(values) - fmean(base)) if values and base and result.method != baseline else ""
    return {
        f"gain over {baseline}": better,
        "agreement (%)": "" if result.agreement is None else mean_and_spread(result.agreement, factor=100),
        "seconds": mean_and_spread(result.seconds, digits=0),
        "seeds": _seeds(result),
    }


def _seeds(result: MethodResult) -> str:
    return f"{result.seeds} of {result.seeds + len(result.failures)}" if result.failures else str(result.seeds)


def gain(metric: Metric, difference: float) -> str:
    """Write how much better a figure is, in points where it is a share.

    Example:
        >>> from limbeck.tasks import Metric
        >>> gain(Metric("accuracy", "accuracy", share=True), 0.0123)
        '+1.2'
    """
    better = -difference if metric.higher_is_better is False else difference
    digits = 1 if metric.share else 3
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    return f"{round(100 * better if metric.share else better, digits) + 0.0:+.{digits}f}"


def _csv_line(result: MethodResult, metrics: Sequence[Metric], seeds: int) -> list[object]:
    share = "" if result.selected_share is None else result.selected_share
    line: list[object] = [result.method, result.seeds, "" if result.parameters is None else result.parameters, share]
    for values in (*(result.figures.get(m.name, ()) for m in metrics), result.agreement or (), result.seconds):
        line += _csv_series(values, seeds)
    return [*line, result.status]


def _teacher_csv_line(teacher: TeacherResult, metrics: Sequence[Metric], seeds: int) -> list[object]:
    means = [*(teacher.figures.get(metric.name, "") for metric in metrics), "", ""]
    return [teacher.name, "", "", "", *(cell for mean in means for cell in (mean, *[""] * (seeds + 1))), ""]


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
