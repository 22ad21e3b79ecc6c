"""Sections of small drawings side by side: learning curves, reliability, confusion matrices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from limbeck.report.page.calibration import Reliability, reliability
from limbeck.report.page.classwise import Matrix, confusion
from limbeck.report.page.drawings import Points, curves, matrix, reliability_diagram
from limbeck.report.page.parts import MINUS, Cell, Part, Table, percent, short, signed, spread
from limbeck.tasks import Metric

_WHOLE, _MATRICES, _PAIRS = 30, 8, 12
_SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Panel:
    """A drawing with its name and a line below it.

    Attributes:
        name: What it is of: a method, or the teacher.
        drawing: The SVG.
        note: The line.

    Example:
        >>> Panel("kd", "<svg/>").note
        ''
    """

    name: str
    drawing: str
    note: str = ""


def curve_panels(part: Part) -> list[Panel]:
    """Return a panel for each method: the primary metric over epochs, in all of them on the same scale.

    Example:
        >>> from limbeck.report.page.example import example_part
        >>> [panel.name for panel in curve_panels(example_part())]
        ['none', 'kd']
    """
    metric = part.primary
    series = {name: _series(part, name, metric) for name in part.complete}
    points = [p for of_method in series.values() for runs in of_method.values() for run in runs for p in run]
    if not points:
        return []
    level = None if part.teacher is None else part.teacher.get(metric.name)
    factor = 100 if metric.share else 1
    drawn = None if level is None else factor * level
    values = [value for _, value in points] + ([] if drawn is None else [drawn])
    span, epochs = spread(values), max(epoch for epoch, _ in points)
    return [
        Panel(name, curves(of, span, epochs, f"{metric.title} of {name} over epochs", drawn))
        for name, of in series.items()
    ]


def _series(part: Part, method: str, metric: Metric) -> dict[str, list[Points]]:
    factor = 100 if metric.share else 1
    found: dict[str, list[Points]] = {}
    for split in _SPLITS:
        key = f"{split}.{metric.name}"
        runs = [
            [(row["epoch"], factor * row[key]) for row in run.epochs if key in row] for run in part.results.of(method)
        ]
        if any(runs):
            found[split] = [points for points in runs if points]
    return found


def reliability_panels(part: Part) -> list[Panel]:
    """Return a reliability diagram for the teacher and for each method of which confidences are stored.

    Example:
        >>> from limbeck.report.page.example import example_part
        >>> [panel.note for panel in reliability_panels(example_part())]
        ['ECE 23.3 %', 'ECE 48.6 %', 'ECE 43.7 %']
    """
    taught = reliability([part.results.teacher], "teacher", part.labels)
    found = {} if taught is None else {"teacher": taught}
    found |= {n: r for n in part.complete if (r := reliability(part.stored(n), "test", part.labels)) is not None}
    return [_diagram(name, one) for name, one in found.items()]


def _diagram(name: str, found: Reliability) -> Panel:
    error = f"ECE {100 * found.error:.1f} %"
    drawing = reliability_diagram(found, f"How often {name} is right at each confidence: {error}")
    return Panel(name, drawing, error)


@dataclass(frozen=True)
class Confusion:
    """The confusion matrix of a method, the difference to the teacher's, and where they differ most.

    Attributes:
        name: The method.
        panels: The drawings; empty where there are too many classes.
        table: The cells that differ most, or with the largest shares.

    Example:
        >>> Confusion("kd", (), Table("none", (), ())).panels
        ()
    """

    name: str
    panels: tuple[Panel, ...]
    table: Table


def confusions(part: Part) -> list[Confusion]:
    """Return the confusion matrices of the methods, the best first, at most eight; none where they are not stored.

    Example:
        >>> from limbeck.report.page.example import example_part
        >>> confusions(example_part())[0].name
        'kd'
    """
    names = [short(name) for name in part.classes]
    teacher = confusion([part.results.teacher], "teacher", part.labels, part.classes)
    sign = -1 if part.primary.higher_is_better is False else 1
    order = sorted(part.complete, key=lambda name: -sign * np.nan_to_num(part.mean(name)))
    made = {name: confusion(part.stored(name), "test", part.labels, part.classes) for name in order[:_MATRICES]}
    return [_confusion(name, found, teacher, names) for name, found in made.items() if found is not None]


def _confusion(name: str, found: Matrix, teacher: Matrix | None, names: list[str]) -> Confusion:
    panels = []
    if len(names) <= _WHOLE:
        panels.append(Panel("student", matrix(found, names, f"Confusion matrix of {name}, % of the true class")))
        if teacher is not None:
            drawing = matrix(found - teacher, names, f"{name} minus teacher, points of the true class", signed=True)
            panels.append(Panel(f"student {MINUS} teacher", drawing))
    return Confusion(name, tuple(panels), _pairs(found, teacher, names))


def _pairs(found: Matrix, teacher: Matrix | None, names: list[str]) -> Table:
    wrong = np.nan_to_num(found - np.diag(found.diagonal()))
    size = wrong if teacher is None else np.abs(np.nan_to_num(wrong - (teacher - np.diag(teacher.diagonal()))))
    order = np.argsort(-size, axis=None, kind="stable")[:_PAIRS]
    places = [np.unravel_index(int(place), size.shape) for place in order if size.flat[place] > 0]
    compared = () if teacher is None else ("teacher (%)", "difference")
    caption = "Most confused classes" if teacher is None else "Confusions that differ most from the teacher's"
    rows = (tuple(_pair_cells((int(r), int(c)), found, teacher, names)) for r, c in places)
    return Table(caption, ("true class, taken for", "student (%)", *compared), tuple(rows))


def _pair_cells(place: tuple[int, int], found: Matrix, teacher: Matrix | None, names: list[str]) -> Iterator[Cell]:
    yield Cell(f"{names[place[0]]} → {names[place[1]]}")
    yield percent(float(found[place]))
    if teacher is not None:
        difference = 100 * float(found[place] - teacher[place])
        yield percent(float(teacher[place]))
        yield Cell(signed(difference), difference)


def legend(panels: list[Panel], teacher: Mapping[str, float] | None) -> list[tuple[str, str]]:
    """Return the lines of learning curves: a class of the style sheet and what it stands for.

    Example:
        >>> legend([Panel("kd", '<polyline class="curve test"/>')], None)
        [('test', 'test')]
    """
    text = "".join(panel.drawing for panel in panels)
    found = [(split, {"train": "training batches"}.get(split, split)) for split in _SPLITS if f"curve {split}" in text]
    return [*found, ("of-teacher", "teacher, test")] if teacher and "of-teacher" in text else found
