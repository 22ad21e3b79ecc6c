"""The first sections of a page: what came out in a sentence, and the table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from limbeck.report.page.drawings import gain_interval, gain_range
from limbeck.report.page.gains import Gain
from limbeck.report.page.parts import Cell, Part, Table, number, signed
from limbeck.report.table import mean_and_spread, metric_spread


def headline(part: Part) -> list[str]:
    """Return what came out in a few sentences.

    Example:
        >>> from limbeck.report.page.example import example_part
        >>> for sentence in headline(example_part()):
        ...     print(sentence)
        kd has the best test accuracy of 2 methods: 72.2 %.
        That is 27.8 points better than none; the 95 % interval over 2 paired seeds is ... to +98.4 and holds zero.
        The teacher has 66.7 %; the student is 5.6 points above it.
    """
    best, primary = part.best(), part.primary
    value = part.mean(best)
    if len(part.complete) == 1:
        summary = part.first(best).summary
        epoch = summary.get("chosen_epoch", summary["epoch"])
        what = f"{best}: test {primary.title} {number(primary, value)} after epoch {epoch}."
        return [what, *_beside_teacher(part, value)]
    lines = [f"{best} has the best test {primary.title} of {len(part.complete)} methods: {number(primary, value)}."]
    gain = part.gain(best)
    lines.append(f"No method is better than {best}." if gain is None else _gain_in_words(part, gain))
    return [*lines, *_beside_teacher(part, value)]


def _gain_in_words(part: Part, gain: Gain) -> str:
    digits, unit = (1, " points") if part.primary.share else (3, "")
    direction = "worse" if gain.mean < 0 else "better"
    line = f"That is {abs(gain.mean):.{digits}f}{unit} {direction} than {part.baseline}"
    if gain.half is None:
        return f"{line}, by a single seed: more seeds would show how much of it is chance."
    ends = f"{signed(gain.low, digits)} to {signed(gain.high, digits)}"
    verdict = "does not hold zero" if gain.is_clear else "holds zero"
    return f"{line}; the 95 % interval over {len(gain.by_seed)} paired seeds is {ends} and {verdict}."


def _beside_teacher(part: Part, value: float) -> Iterator[str]:
    figures, primary = part.teacher, part.primary
    if figures is None or primary.name not in figures or math.isnan(value):
        return
    sign = -1 if primary.higher_is_better is False else 1
    digits, factor, unit = (1, 100, " points") if primary.share else (3, 1, "")
    gap = sign * factor * (value - figures[primary.name])
    distance = f"{abs(gap):.{digits}f}{unit} {'above' if gap > 0 else 'below'} it"
    yield f"The teacher has {number(primary, figures[primary.name])}; the student is {distance}."


def results_table(part: Part) -> Table:
    """Return the table of the methods, with the gain of each and its interval.

    Example:
        >>> from limbeck.report.page.example import example_part
        >>> results_table(example_part()).columns[:2]
        ('method', 'test accuracy (%)')
    """
    primary, *others = part.shown
    gains = [gain for name in part.complete if (gain := part.gain(name)) is not None]
    span = gain_range(gains)
    of_gain = (f"gain over {part.baseline}", "95 % interval") if gains else ()
    agreement = _agreements(part)
    headings = (f"test {primary.heading}", *of_gain, *(("agreement (%)",) if agreement else ()))
    columns = ("method", *headings, *(metric.heading for metric in others), "training seconds", "seeds")
    rows = [_teacher_row(part, name, figures, columns) for name, figures in part.results.teachers.items()]
    for name in part.results.methods:
        gain = part.gain(name) if name in part.complete else None
        gain_cells = _gain_cells(part, gain, span) if gains else ()
        agreed = (_series(agreement.get(name, ()), 100),) if agreement else ()
        first, *figures = (_figure(part, name, metric.name) for metric in part.shown)
        rows.append((Cell(name), first, *gain_cells, *agreed, *figures, _seconds(part, name), _seeds(part, name)))
    return Table(f"Methods, figures of {_epoch(part)} on the test split", columns, tuple(rows), part.best())


def _epoch(part: Part) -> str:
    chosen = any("chosen_epoch" in run.summary for run in part.results.runs)
    return "the epoch chosen on the validation split," if chosen else "the last epoch"


def _figure(part: Part, method: str, metric: str) -> Cell:
    values = list(part.figures(method, metric).values())
    known = next(m for m in part.shown if m.name == metric)
    if not values:
        return Cell("failed") if known == part.primary and method not in part.complete else Cell("")
    return Cell(metric_spread(known, values).replace(" ± nan", ""), float(np.mean(values)))


def _gain_cells(part: Part, gain: Gain | None, span: tuple[float, float]) -> tuple[Cell, Cell]:
    if gain is None:
        return Cell(""), Cell("")
    digits = 1 if part.primary.share else 3
    ends = f"{signed(gain.low, digits)} to {signed(gain.high, digits)}" if gain.half is not None else "one seed"
    return Cell(signed(gain.mean, digits), gain.mean), Cell(ends, gain.low, gain_interval(gain, span))


def _agreements(part: Part) -> dict[str, list[float]]:
    taught = part.results.teacher.get("teacher")
    if taught is None or taught.dtype.kind == "f":
        return {}
    found = {}
    for name in part.complete:
        made = [stored.get("test") for stored in part.stored(name)]
        values = [float((one == taught).mean()) for one in made if one is not None and one.shape == taught.shape]
        if len(values) == len(made):
            found[name] = values
    return found


def _series(values: list[float] | tuple[()], factor: float) -> Cell:
    return Cell(mean_and_spread(values, factor=factor), float(np.mean(values))) if values else Cell("")


def _seconds(part: Part, method: str) -> Cell:
    found = [run.summary.get("training.seconds") for run in part.results.of(method)]
    values = [float(value) for value in found if isinstance(value, int | float)]
    return Cell(mean_and_spread(values, digits=0), float(np.mean(values))) if values else Cell("")


def _seeds(part: Part, method: str) -> Cell:
    count = len(part.results.of(method))
    return Cell(str(count), count)


def _teacher_row(part: Part, name: str, figures: Mapping[str, float], columns: tuple[str, ...]) -> tuple[Cell, ...]:
    primary, *others = part.shown
    known = {f"test {primary.heading}": primary, **{metric.heading: metric for metric in others}}
    cells = [Cell(name)]
    for column in columns[1:]:
        metric = known.get(column)
        value = figures.get(metric.name) if metric else None
        cells.append(Cell("") if metric is None or value is None else Cell(metric_spread(metric, [value]), value))
    return tuple(cells)
