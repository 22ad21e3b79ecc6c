"""The confusion matrix, or the most confused pairs of classes, beside the accuracy of each class, as a picture."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from limbeck.errors import shortened
from limbeck.report.class_figures import ClassFigures
from limbeck.report.figure_files import save_figure

# Blue and vermilion of the palette of Okabe and Ito, as in the comparison's picture.
_STUDENT, _TEACHER, _INK = "#0072B2", "#D55E00", "#333333"
_WHOLE, _NUMBERED, _SHOWN, _NAME = 30, 12, 20, 22


def save_class_picture(figures: ClassFigures, path: str | Path, *, title: str) -> Path:
    """Draw a student's confusion matrix and the accuracy of each class, the teacher's beside it where it is known.

    The matrix has the shares of each true class, and up to 12 classes the numbers of samples. With more than 30 classes
    the 20 most confused pairs take its place, and the bars are those of the 20 classes with the lowest accuracy. The
    same figures give the same file, byte for byte, with the same versions of matplotlib and its fonts.

    Args:
        figures: The figures of each class.
        path: The PNG to write; its folder is made if need be.
        title: The line above the picture.

    Returns:
        The path.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "classes.png"
        >>> save_class_picture(ClassFigures.of([0, 0, 1], [0, 1, 1], ["cat", "dog"]), path, title="kd").name
        'classes.png'
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"font.size": 9.0}), warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph")
        save_figure(_figure(figures, title), target, dpi=120, metadata={"Software": None})
    return target


def _figure(figures: ClassFigures, title: str) -> Figure:
    count = len(figures.classes)
    rows = count if count <= _WHOLE else _SHOWN
    height = 1.6 + 0.24 * max(rows, 8)
    # Placed by hand: a layout that is solved for takes longer than the drawing, at the end of every run.
    left = height - 0.2 if count <= _WHOLE else 4.0
    names = 0.35 + 0.075 * min(_NAME, max(map(len, figures.classes)))
    indent = names if count <= _WHOLE else 2 * names
    # Below the panels there is room for the matrix' names, the numbers of an axis, its label and a legend.
    below, panel = max(names, 0.75), height - 0.6
    figure = Figure(figsize=(indent + left + names + 3.6, height + below))
    panels = (
        _panel(figure, indent, below, left, panel),
        _panel(figure, indent + left + names, below, 3.3, panel),
    )
    if count <= _WHOLE:
        _draw_matrix(panels[0], figures)
        _draw_bars(panels[1], figures, np.arange(count))
    else:
        _draw_pairs(panels[0], figures)
        _draw_bars(panels[1], figures, np.argsort(figures.student, kind="stable")[:_SHOWN])
    figure.suptitle(_plain(title, 90), x=0.01, y=0.99, ha="left", va="top", fontsize=10, color=_INK)
    return figure


def _panel(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Add axes at a place in inches."""
    whole_width, whole_height = figure.get_size_inches()
    return figure.add_axes((left / whole_width, bottom / whole_height, width / whole_width, height / whole_height))


def _plain(name: str, limit: int = _NAME) -> str:
    """Shorten a name, without what matplotlib would take for a formula."""
    return shortened(name, limit, quoted=False).replace("$", r"\$")


def _draw_matrix(axes: Axes, figures: ClassFigures) -> None:
    matrix, names = figures.matrix, [_plain(name) for name in figures.classes]
    shares = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100, aspect="auto", interpolation="nearest")
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylabel("true class")
    axes.set_title("predicted class, % of the true class by color", fontsize=9)
    axes.tick_params(length=0)
    for (row, column), samples in np.ndenumerate(matrix) if len(names) <= _NUMBERED else ():
        color = "white" if shares[row, column] > 60 else _INK
        axes.text(column, row, str(samples) if samples else "", ha="center", va="center", color=color, fontsize=8)


def _draw_pairs(axes: Axes, figures: ClassFigures) -> None:
    pairs = figures.confused(_SHOWN)
    axes.barh(range(len(pairs)), [100 * pair.share for pair in pairs], color=_STUDENT)
    for place, pair in enumerate(pairs):
        axes.annotate(
            f"{pair.samples}", (100 * pair.share, place), (3, 0), "data", "offset points", va="center", fontsize=8
        )
    if not pairs:
        axes.text(0.5, 0.5, "no sample is confused", ha="center", va="center", transform=axes.transAxes)
    _finish(axes, [f"{_plain(pair.true)} as {_plain(pair.predicted)}" for pair in pairs])
    axes.set_title("the most confused pairs: true as predicted, samples", fontsize=9)
    axes.set_xlabel("of the true class (%)")


def _draw_bars(axes: Axes, figures: ClassFigures, shown: NDArray[np.int64]) -> None:
    whose = {"student": (figures.student, _STUDENT)}
    if figures.teacher is not None:
        whose["teacher"] = (figures.teacher, _TEACHER)
    width = 0.8 / len(whose)
    for number, (name, (values, color)) in enumerate(whose.items()):
        places = np.arange(len(shown)) - 0.4 + width * (number + 0.5)
        axes.barh(places, 100 * np.nan_to_num(values[shown]), width, color=color, label=name)
    for place in np.flatnonzero(np.isnan(figures.student[shown])).tolist():
        # No bar is an accuracy of zero too.
        axes.text(1, place, "no sample", va="center", fontsize=7, color=_INK)
    _finish(axes, [_plain(figures.classes[place]) for place in shown])
    axes.set_xlim(0, 100)
    some = "" if len(shown) == len(figures.classes) else f", the {len(shown)} lowest of {len(figures.classes)}"
    axes.set_title(f"accuracy (%) of each class{some}", fontsize=9)
    if len(whose) > 1:
        # Below the numbers of the axis, whatever the height.
        below = -0.3 * axes.figure.dpi / axes.bbox.height
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0, below), ncols=2, borderaxespad=0)


def _finish(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    # Also where there is no bar.
    axes.set_ylim(max(len(names), 1) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)
