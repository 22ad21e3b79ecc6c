"""The comparison of methods as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from textwrap import fill
from typing import TYPE_CHECKING, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from limbeck.errors import UserError
from limbeck.report.figure_files import save_figure
from limbeck.report.results import MethodResult, check_results, check_shares
from limbeck.report.table import metric_spread

if TYPE_CHECKING:
    from limbeck.tasks import Metric

# Blue and vermilion of the palette of Okabe and Ito, which color-blind people can distinguish; the rest is gray.
_SEED, _MEAN, _TEACHER, _INK, _FAINT = "#0072B2", "#003B5C", "#D55E00", "#333333", "#DDDDDD"


def save_comparison_plot(
    results: Sequence[MethodResult],
    path_stem: str | Path,
    *,
    title: str,
    metric: Metric,
    teacher: float | None = None,
    baseline: str = "none",
) -> tuple[Path, Path]:
    """Draw every seed's figure on the test split, a row for each method, the best mean on top, to PNG and SVG.

    The same results give the same files, byte for byte, with the same versions of matplotlib and its fonts.

    Args:
        results: A result for each method; those without a value of the metric are left out.
        path_stem: Where to write, without the suffix; the folder is made if need be.
        title: The line above the plot.
        metric: What is drawn: the task's primary metric.
        teacher: The teacher's value of it, drawn as a dashed line.
        baseline: The method whose mean is drawn as a thin line, where it is among the results.

    Returns:
        The paths of the PNG (200 dots per inch) and of the SVG.

    Raises:
        UserError: No result has a value, or one of a metric that is a share lies outside ``[0, 1]``.

    Example:
        >>> import tempfile
        >>> from limbeck.tasks import Metric
        >>> accuracy = Metric("accuracy", "accuracy")
        >>> kd = MethodResult("kd", {"accuracy": (0.75, 0.77)}, None, (9.0, 9.0), 10, None)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     paths = save_comparison_plot([kd], f"{folder}/comparison", title="KD", metric=accuracy)
        ...     [path.name for path in paths]
        ['comparison.png', 'comparison.svg']
    """
    values = {result.method: result.figures[metric.name] for result in results if result.figures.get(metric.name)}
    if not values:
        raise UserError("comparison plot: got no results, expected at least one method's")
    check_results(results, [metric])
    check_shares("teacher", (teacher,) if metric.share and teacher is not None else ())
    stem = Path(path_stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    # Not with_suffix, which would cut the end off a stem such as "eta0.8".
    png, svg = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")
    with matplotlib.rc_context({"font.size": 11.0, "svg.hashsalt": "limbeck", "svg.fonttype": "path"}):
        figure = _figure(values, metric, title, teacher, baseline)
        save_figure(figure, png, dpi=200, metadata={"Software": None})
        save_figure(figure, svg, metadata={"Date": None})
    return png, svg


def _figure(
    values: Mapping[str, Sequence[float]], metric: Metric, title: str, teacher: float | None, baseline: str
) -> Figure:
    best_last = sorted(values, key=lambda name: fmean(values[name]), reverse=metric.higher_is_better is False)
    figure = Figure(figsize=(8.0, 1.5 + 0.38 * len(values)), layout="constrained")
    axes = figure.add_subplot()
    for row, name in enumerate(best_last):
        _draw_row(axes, row, values[name], metric)
    base = fmean(values[baseline]) if baseline in values else None
    # The two labels point away from each other, so that they never meet.
    above = base is not None and teacher is not None and base > teacher
    _draw_line(axes, base, metric, baseline, color=_INK, style="-", side="left" if above else "right")
    _draw_line(axes, teacher, metric, "teacher", color=_TEACHER, style="--", side="right" if above else "left")
    _finish(axes, best_last, f"test {metric.heading}")
    axes.set_title(fill(title, 64), loc="left", fontsize=12, fontweight="bold", color=_INK, pad=22)
    return figure


def _drawn(metric: Metric, value: float) -> float:
    return 100 * value if metric.share else value


def _draw_row(axes: Axes, row: int, values: Sequence[float], metric: Metric) -> None:
    drawn = [_drawn(metric, value) for value in values]
    axes.plot(drawn, [row] * len(drawn), "o", color=_SEED, alpha=0.5, markersize=7, markeredgewidth=0, zorder=3)
    axes.plot([fmean(drawn)], [row], "|", color=_MEAN, markersize=17, markeredgewidth=2.6, zorder=4)
    label = metric_spread(metric, values)
    axes.annotate(label, (1, row), (8, 0), ("axes fraction", "data"), "offset points", va="center", color=_INK)


def _draw_line(
    axes: Axes,
    value: float | None,
    metric: Metric,
    label: str,
    *,
    color: str,
    style: str,
    side: Literal["left", "right"],
) -> None:
    if value is None:
        return
    drawn = _drawn(metric, value)
    axes.axvline(drawn, color=color, linewidth=1.0 if style == "-" else 1.4, linestyle=style, zorder=2)
    place = (drawn, 1), (0, 4), ("data", "axes fraction"), "offset points"
    axes.annotate(f"{label} {metric_spread(metric, [value])}", *place, ha=side, color=color, fontsize=10)


def _finish(axes: Axes, names: Sequence[str], measured: str) -> None:
    axes.set_yticks(range(len(names)), labels=list(names))
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlabel(measured, color=_INK)
    axes.grid(axis="y", color=_FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0, labelcolor=_INK)
    axes.tick_params(axis="x", color="#999999", labelcolor=_INK)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#999999")
