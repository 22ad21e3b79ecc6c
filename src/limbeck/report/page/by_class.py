"""Sections on classes: what each gains, and how much of it the teacher supervises."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from limbeck.report.page.classwise import by_class, class_figure
from limbeck.report.page.parts import Cell, Part, Table, percent, signed

_ROWS = 30
Figures = NDArray[np.float64]


def class_gains(part: Part) -> Table | None:
    """Return the figure of each class: the baseline's, the teacher's, and by how much each method is better.

    Example:
        >>> from limbeck.report.page.example import example_part
        >>> class_gains(example_part()).columns
        ('class', 'teacher', 'none', 'kd')
    """
    found = {name: figures for name in part.complete if (figures := _of_method(part, name)) is not None}
    base = part.baseline if part.baseline in found else None
    if not found or (base is None and len(part.complete) > 1):
        return None
    teacher = by_class(part.about.task, part.results.teacher, "teacher", part.teacher or {}, part.labels, part.classes)
    others = [name for name in found if name != base]
    gains = {name: found[name] - found[base] for name in others} if base else {}
    plain = {**({"teacher": teacher} if teacher is not None else {}), **({base: found[base]} if base else found)}
    rows, some = _rows(part, gains, plain)
    figure = class_figure(part.about.task)
    figure = figure[0].upper() + figure[1:]
    what = f"{figure} (%) of each class, and by how many points each method is better than {base}"
    caption = (what if base else f"{figure} (%) of each class") + some
    return Table(caption, ("class", *plain, *gains), rows)


def _of_method(part: Part, method: str) -> Figures | None:
    runs = part.results.of(method)
    figures = [
        by_class(
            part.about.task,
            run.tensors,
            "test",
            {key.removeprefix("test."): value for key, value in run.summary.items()},
            part.labels,
            part.classes,
        )
        for run in runs
    ]
    known = [one for one in figures if one is not None]
    return np.mean(known, axis=0) if known and len(known) == len(figures) else None


def _rows(part: Part, gains: dict[str, Figures], plain: dict[str, Figures]) -> tuple[tuple[tuple[Cell, ...], ...], str]:
    count = len(part.classes)
    size = np.nanmax(np.abs(np.stack([*gains.values()])), axis=0, initial=0.0) if gains else np.zeros(count)
    largest = float(np.nanmax(size, initial=0.0)) or 1.0
    # Of very many classes those that change most.
    places = sorted(np.argsort(-np.nan_to_num(size), kind="stable")[:_ROWS].tolist())
    rows = tuple(
        (
            Cell(part.classes[place]),
            *(percent(float(values[place])) for values in plain.values()),
            *(_gain_cell(float(values[place]), largest) for values in gains.values()),
        )
        for place in places
    )
    return rows, "" if count <= _ROWS else f"; the {_ROWS} of {count} classes that change most"


def _gain_cell(value: float, largest: float) -> Cell:
    return Cell("") if np.isnan(value) else Cell(signed(100 * value), value, shade=round(value / largest, 3))


def selected_shares(part: Part) -> Table | None:
    """Return how much of each class the teacher supervises, by method; None where no method selects.

    Example:
        >>> from limbeck.report.page.example import example_part
        >>> selected_shares(example_part()).columns
        ('class', 'training samples', 'kd')
    """
    found = {
        name: np.mean([stored["selected"] for stored in part.stored(name)], axis=0)
        for name in part.complete
        if all("selected" in stored for stored in part.stored(name))
    }
    found = {name: counts for name, counts in found.items() if len(counts) == len(part.classes)}
    if not found:
        return None
    totals = next(iter(found.values()))[:, 1]
    places = np.argsort(-totals, kind="stable")[:_ROWS].tolist() if len(totals) > _ROWS else range(len(totals))
    rows = tuple(
        (
            Cell(part.classes[place]),
            Cell(f"{totals[place]:,.0f}", float(totals[place])),
            *(percent(_share(counts[place])) for counts in found.values()),
        )
        for place in places
    )
    some = "" if len(totals) <= _ROWS else f", the {_ROWS} largest of {len(totals)} classes"
    caption = f"Share (%) of each class's training samples that the teacher supervises{some}"
    return Table(caption, ("class", "training samples", *found), rows)


def _share(counts: Figures) -> float:
    return float(counts[0] / counts[1]) if counts[1] else float("nan")
