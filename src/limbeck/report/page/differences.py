"""Sections on single samples: agreement with the teacher, and samples on which methods differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.report.page.agreement import Agreement, differing
from limbeck.report.page.drawings import stacked
from limbeck.report.page.parts import Cell, Part, Table, percent
from limbeck.report.page.samples import Shown, shown

_MOST = 24
_PARTS = ("both-right", "student-right", "teacher-right", "same-wrong", "both-wrong")


def agreement_table(part: Part) -> Table | None:
    """Return how often each method's student agrees with the teacher, where it is right and where it is wrong.

    Example:
        >>> from limbeck.report.page.example import example_part
        >>> agreement_table(example_part()).columns[0]
        'method'
    """
    teacher, labels = part.results.teacher.get("teacher"), part.labels
    if teacher is None or labels is None or labels.ndim != 1 or teacher.shape != labels.shape:
        return None
    rows = []
    for name in part.complete:
        made = [stored.get("test") for stored in part.stored(name)]
        same = [one for one in made if one is not None and one.shape == labels.shape]
        if len(same) == len(made):
            rows.append(_agreement_row(name, Agreement.of(np.stack(same), teacher, labels)))
    wrong = int((teacher != labels)[labels >= 0].sum())
    of_labeled = f"The teacher is wrong on {wrong:,} of {int((labels >= 0).sum()):,} test {part.about.unit}"
    headings = ("agrees where the teacher is right (%)", "same mistake where it is wrong (%)")
    columns = ("method", *headings, "right where it is wrong (%)", "all test samples")
    return Table(of_labeled, columns, tuple(rows)) if rows else None


def _agreement_row(name: str, found: Agreement) -> tuple[Cell, ...]:
    values = (found.both_right, found.student_right, found.teacher_right, found.same_wrong, found.both_wrong)
    shares = dict(zip(_PARTS, values, strict=True))
    cells = (percent(found.where_right), percent(found.where_wrong), percent(found.corrected))
    words = ", ".join(f"{key.replace('-', ' ')} {100 * share:.1f} %" for key, share in shares.items())
    return (Cell(name), *cells, Cell("", found.both_right + found.student_right, stacked(shares, label=words)))


@dataclass(frozen=True)
class Answer:
    """What some methods predict for a sample.

    Attributes:
        label: The predicted class.
        names: The methods.
        right: Whether it is the true class.

    Example:
        >>> Answer("cat", ("none", "kd"), True).right
        True
    """

    label: str
    names: tuple[str, ...]
    right: bool


@dataclass(frozen=True)
class Difference:
    """A sample on which methods differ.

    Attributes:
        place: Its position in the test split.
        truth: Its class.
        sample: What it looks like.
        answers: What the methods and the teacher predict.

    Example:
        >>> Difference(3, "cat", Shown(text="meow"), ()).place
        3
    """

    place: int
    truth: str
    sample: Shown
    answers: tuple[Answer, ...]


def difference_samples(part: Part, most: int = _MOST) -> list[Difference]:
    """Return samples on which the methods' first seeds differ most; none where data or predictions are not there.

    Example:
        >>> from limbeck.report.page.example import example_part
        >>> len(difference_samples(example_part())) <= 24
        True
    """
    labels = part.labels
    if labels is None or labels.ndim != 1 or not part.same_samples() or part.data is None:
        return []
    made = {name: part.first(name).tensors.get("test") for name in part.complete}
    predictions = {name: one for name, one in made.items() if one is not None and one.shape == labels.shape}
    teacher = part.results.teacher.get("teacher")
    everyone = {
        **predictions,
        **({"teacher": teacher} if teacher is not None and teacher.shape == labels.shape else {}),
    }
    chosen = predictions if len(predictions) > 1 else everyone
    if len(chosen) < 2:
        return []
    places = differing(chosen, labels, most)
    samples = shown(part.data, places)
    return [_difference(part, place, samples[place], everyone, labels) for place in places if place in samples]


def _difference(
    part: Part, place: int, sample: Shown, predictions: Mapping[str, NDArray[Any]], labels: NDArray[Any]
) -> Difference:
    names: dict[int, list[str]] = {}
    for name, made in predictions.items():
        names.setdefault(int(made[place]), []).append(name)
    true = int(labels[place])
    # The right answer first, then the more frequent ones.
    order = sorted(names, key=lambda label: (label != true, -len(names[label]), label))
    answers = tuple(Answer(_class(part, label), tuple(names[label]), label == true) for label in order)
    return Difference(place, _class(part, true), sample, answers)


def _class(part: Part, label: int) -> str:
    return part.classes[label] if 0 <= label < len(part.classes) else str(label)
