"""Accuracy against latency as a picture."""

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from limbeck.errors import UserError
from limbeck.export.speed import FORMS, Speeds
from limbeck.files import expanded
from limbeck.report.figure_files import save_figure

# Of the palette of Okabe and Ito, which color-blind people can distinguish, with a mark of its own for each form.
_COLORS = {"torch": "#0072B2", "onnx": "#009E73", "int8": "#E69F00"}
_MARKS = {"torch": "o", "onnx": "s", "int8": "^"}
_TEACHER, _INK, _FAINT = "#D55E00", "#333333", "#DDDDDD"


def save_speed_plot(speeds: Speeds, path: str | Path) -> Path:
    """Draw each form of each network: the latency of one sample across, on a logarithmic axis, the metric upwards.

    Args:
        speeds: What was measured; rows without a value of the metric are left out.
        path: A ``.png`` or ``.svg`` file; its folder exists.

    Returns:
        The path.

    Raises:
        UserError: If no row has a value, or the file is of another kind.

    Example:
        >>> import tempfile
        >>> from limbeck.export.speed import Speed, Timing
        >>> from limbeck.tasks import Metric
        >>> row = Speed("kd", "resnet8", "onnx", 0.88, Timing(0.001, 0.002, 10**8, 900.0, 8), 10**5, 10**5, 10**8)
        >>> speeds = Speeds((row,), Metric("accuracy", "accuracy"), ())
        >>> save_speed_plot(speeds, Path(tempfile.mkdtemp()) / "speed.svg").name
        'speed.svg'
    """
    place = check_plot(path)
    rows = [row for row in speeds.rows if row.value is not None]
    if not rows:
        raise UserError("plot: no network has a figure on the test split, expected at least one")
    with matplotlib.rc_context({"font.size": 11.0, "svg.hashsalt": "limbeck", "svg.fonttype": "path"}):
        figure = Figure(figsize=(8.0, 5.0), layout="constrained")
        axes = figure.add_subplot()
        factor, drawn = (100 if speeds.metric.share else 1), set()
        for row in rows:
            is_teacher = row.name.startswith("teacher of ")
            color, mark = _TEACHER if is_teacher else _COLORS[row.form], _MARKS[row.form]
            label = f"teacher, {FORMS[row.form]}" if is_teacher else f"student, {FORMS[row.form]}"
            point = 1000 * row.timing.latency, factor * (row.value or 0.0)
            axes.plot(*point, mark, color=color, markersize=9, label=None if label in drawn else label, zorder=3)
            # One label for a student, at its fastest form.
            same = [other.timing.latency for other in rows if other.name == row.name]
            if row.timing.latency == min(same):
                axes.annotate(row.name, point, (0, 9), textcoords="offset points", ha="center", color=_INK, fontsize=10)
            drawn.add(label)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("latency of one sample (ms)", color=_INK)
        axes.set_ylabel(f"test {speeds.metric.heading}", color=_INK)
        axes.grid(color=_FAINT, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.margins(0.12)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=10)
        save_figure(figure, place, dpi=200, metadata={"Date": None} if place.suffix == ".svg" else {"Software": None})
    return place


def check_plot(path: str | Path) -> Path:
    """Return the path of a plot, if one can be written there.

    Raises:
        UserError: If it ends in neither ``.png`` nor ``.svg``, or its folder is missing.

    Example:
        >>> check_plot("speed.gif")
        Traceback (most recent call last):
        limbeck.errors.UserError: plot: got 'speed.gif', expected a name that ends in .png or .svg
    """
    place = expanded(path)
    if place.suffix not in (".png", ".svg"):
        raise UserError(f"plot: got {str(place)!r}, expected a name that ends in .png or .svg")
    if not place.parent.is_dir():
        raise UserError(f"{place}: the folder {place.parent} does not exist, expected one that does")
    return place
