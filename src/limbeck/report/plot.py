"""The comparison of methods as a picture."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from textwrap import fill
from typing import Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from limbeck.errors import UserError
from limbeck.report.table import MethodResult, mean_and_spread

# Blue and vermilion of the palette of Okabe and Ito, which color-blind people tell apart; the rest is gray.
_SEED, _MEAN, _TEACHER, _INK, _FAINT = "#0072B2", "#003B5C", "#D55E00", "#333333", "#DDDDDD"


def save_comparison_plot(
    results: Sequence[MethodResult],
    path_stem: str | Path,
    *,
    title: str,
    teacher_accuracy: float | None = None,
    baseline: str = "none",
) -> tuple[Path, Path]:
    """Draw every seed's test accuracy, a row for each method, the best mean on top, to PNG and SVG.

    The same results give the same files, byte for byte, with the same versions of matplotlib and its fonts.

    Args:
        results: A result for each method; those without a complete seed are left out.
        path_stem: Where to write, without the suffix; the folder is made if need be.
        title: The line above the plot.
        teacher_accuracy: Drawn as a dashed line, in ``[0, 1]``.
        baseline: The method whose mean is drawn as a thin line, where it is among the results.

    Returns:
        The paths of the PNG (200 dots per inch) and of the SVG.

    Raises:
        UserError: No result has a complete seed, or the teacher's accuracy is outside ``[0, 1]``.

    Example:
        >>> import tempfile
        >>> kd = MethodResult("kd", (0.75, 0.77), (0.1, 0.1), (0.9, 0.8), None, (9.0, 9.0), 10, None)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     paths = save_comparison_plot([kd], f"{folder}/comparison", title="Test accuracy")
        ...     [path.name for path in paths]
        ['comparison.png', 'comparison.svg']
    """
    results = [result for result in results if result.accuracies]
    _check(results, teacher_accuracy)
    stem = Path(path_stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    # Not with_suffix, which would cut the end off a stem such as "eta0.8".
    png, svg = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")
    with matplotlib.rc_context({"font.size": 11.0, "svg.hashsalt": "limbeck", "svg.fonttype": "path"}):
        figure = _figure(sorted(results, key=lambda r: fmean(r.accuracies)), title, teacher_accuracy, baseline)
        figure.savefig(png, dpi=200, metadata={"Software": None})
        figure.savefig(svg, metadata={"Date": None})
    return png, svg


def _check(results: Sequence[MethodResult], teacher_accuracy: float | None) -> None:
    if not results:
        raise UserError("comparison plot: got no results, expected at least one method's")
    if teacher_accuracy is not None and not 0 <= teacher_accuracy <= 1:
        raise UserError(f"teacher_accuracy: got {teacher_accuracy}, expected a share from 0 to 1")


def _figure(results: Sequence[MethodResult], title: str, teacher_accuracy: float | None, baseline: str) -> Figure:
    figure = Figure(figsize=(8.0, 1.5 + 0.38 * len(results)), layout="constrained")
    axes = figure.add_subplot()
    for row, result in enumerate(results):
        _draw_row(axes, row, result)
    base = next((fmean(r.accuracies) for r in results if r.method == baseline), None)
    # The two labels point away from each other, so that they never meet.
    above = base is not None and teacher_accuracy is not None and base > teacher_accuracy
    _draw_line(axes, base, baseline, color=_INK, style="-", side="left" if above else "right")
    _draw_line(axes, teacher_accuracy, "teacher", color=_TEACHER, style="--", side="right" if above else "left")
    _finish(axes, [result.method for result in results])
    axes.set_title(fill(title, 64), loc="left", fontsize=12, fontweight="bold", color=_INK, pad=22)
    return figure


def _draw_row(axes: Axes, row: int, result: MethodResult) -> None:
    percent = [100 * accuracy for accuracy in result.accuracies]
    axes.plot(percent, [row] * len(percent), "o", color=_SEED, alpha=0.5, markersize=7, markeredgewidth=0, zorder=3)
    axes.plot([fmean(percent)], [row], "|", color=_MEAN, markersize=17, markeredgewidth=2.6, zorder=4)
    label = mean_and_spread(percent)
    axes.annotate(label, (1, row), (8, 0), ("axes fraction", "data"), "offset points", va="center", color=_INK)


def _draw_line(
    axes: Axes, accuracy: float | None, label: str, *, color: str, style: str, side: Literal["left", "right"]
) -> None:
    if accuracy is None:
        return
    percent = 100 * accuracy
    axes.axvline(percent, color=color, linewidth=1.0 if style == "-" else 1.4, linestyle=style, zorder=2)
    place = (percent, 1), (0, 4), ("data", "axes fraction"), "offset points"
    axes.annotate(f"{label} {percent:.1f}", *place, ha=side, color=color, fontsize=10)


def _finish(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), labels=list(names))
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlabel("test accuracy (%)", color=_INK)
    axes.grid(axis="y", color=_FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0, labelcolor=_INK)
    axes.tick_params(axis="x", color="#999999", labelcolor=_INK)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#999999")
