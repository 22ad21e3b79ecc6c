"""What a network reached on a split, in figures, tables and lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from limbeck.errors import UserError, shortened
from limbeck.files import write_atomically
from limbeck.report.class_figures import Pair

_SHOWN_CLASSES, _SHOWN_PAIRS, _SHOWN_NAME = 20, 10, 40
_COUNTS = ("samples", "pixels", "boxes")
_FILES = ("evaluation.json", "classes.csv", "confusion.csv", "worst.csv")


class Bin(NamedTuple):
    """The predictions of a range of confidence.

    Attributes:
        lower: Where the range begins.
        upper: Where it ends.
        samples: How many predictions are in it.
        confidence: Their mean confidence.
        accuracy: The share of them that is right.

    Example:
        >>> Bin(0.9, 1.0, 4, 0.95, 0.75).samples
        4
    """

    lower: float
    upper: float
    samples: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """How well confidence fits accuracy.

    Attributes:
        ece: The mean difference of confidence and accuracy over the bins, each weighed by its predictions.
        confidence: The mean confidence.
        bins: The bins that have predictions.

    Example:
        >>> round(Calibration.of([1, 3], [0.5, 2.7], [1, 3]).ece, 3)
        0.2
    """

    ece: float
    confidence: float
    bins: tuple[Bin, ...]

    @classmethod
    def of(cls, samples: Sequence[float], confidence: Sequence[float], right: Sequence[float]) -> Calibration:
        """Make it of sums by bin, of bins that divide [0, 1] evenly.

        Args:
            samples: How many predictions each bin has.
            confidence: Their confidence, summed.
            right: How many are right.
        """
        total, width = max(sum(samples), 1), 1 / len(samples)
        rows = list(enumerate(zip(samples, confidence, right, strict=True)))
        bins = tuple(Bin(n * width, (n + 1) * width, int(k), c / k, r / k) for n, (k, c, r) in rows if k)
        return cls(sum(abs(c - r) for _, (_, c, r) in rows) / total, sum(confidence) / total, bins)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a network reached on a split.

    Attributes:
        target: The student's file or the teacher.
        data: The data's name.
        split: The split.
        unit: What a sample is called, in the plural.
        task: The task's name.
        samples: How many samples there are.
        temperature: What logits were divided by.
        figures: The task's figures by name, such as ``"accuracy"``.
        line: The figures in words.
        class_names: The student's classes.
        classes: Figures of each class by name, such as ``"recall"``; one that does not exist is left out.
        matrix: (C, C) how many samples (or pixels) of each true class (row) were predicted as each class; or None.
        confused: The classes that are confused most often.
        calibration: None for tasks without probabilities of classes.
        worst: The samples with the largest losses: ``sample``, ``loss`` and what they were taken for.
        notes: Remarks, in lines.
    """

    target: str
    data: str
    split: str
    unit: str
    task: str
    samples: int
    temperature: float
    figures: Mapping[str, float]
    line: str
    class_names: tuple[str, ...]
    classes: tuple[Mapping[str, float], ...]
    matrix: Sequence[Sequence[int]] | None = None
    confused: tuple[Pair, ...] = ()
    calibration: Calibration | None = None
    worst: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """Everything for a terminal, a line each; of many classes those with the lowest figures."""
        warm = f", temperature {self.temperature:g}" if self.temperature != 1 else ""
        opening = f"{self.target} on {self.data}, {self.split}: {self.samples:,} {self.unit}{warm}"
        parts = (self._class_lines(), self._calibration_lines(), self._pair_lines(), self._worst_lines())
        return (opening, f"  {self.line}", *(line for part in parts for line in part), *self.notes)

    def _class_lines(self) -> Iterator[str]:
        columns = list(dict.fromkeys(name for row in self.classes for name in row))
        if not columns:
            return
        by_last = sorted(zip(self.class_names, self.classes, strict=True), key=lambda pair: pair[1].get(columns[-1], 2))
        shown = by_last[:_SHOWN_CLASSES]
        more = f", the {len(shown)} lowest of {len(by_last)}" if len(shown) < len(by_last) else ""
        yield f"classes{more}:"
        cells = [[_shortened(name), *(_figure(key, row.get(key)) for key in columns)] for name, row in shown]
        yield from _aligned([["class", *columns], *cells])

    def _calibration_lines(self) -> Iterator[str]:
        if self.calibration is None:
            return
        yield f"calibration: ECE {_percent(self.calibration.ece)}, mean {_percent(self.calibration.confidence)}"
        rows = [
            [f"{b.lower:.2f}-{b.upper:.2f}", f"{b.samples:,}", _percent(b.confidence), _percent(b.accuracy)]
            for b in self.calibration.bins
        ]
        yield from _aligned([["confidence", "predictions", "mean", "right"], *rows])

    def _pair_lines(self) -> Iterator[str]:
        if self.confused:
            yield "confused most often:"
        for pair in self.confused[:_SHOWN_PAIRS]:
            share = f"{pair.samples:,} times, {_percent(pair.share)} of the class"
            yield f"  {_shortened(pair.true)} taken for {_shortened(pair.predicted)}: {share}"

    def _worst_lines(self) -> Iterator[str]:
        if self.worst:
            yield "largest losses:"
        for row in self.worst:
            taken = f", {row['true'] or 'none'} taken for {row['predicted'] or 'none'}" if "true" in row else ""
            yield f"  {row['sample']}: {row['loss']:.3f}{taken}"

    def write(self, folder: Path) -> None:
        """Write ``evaluation.json``, ``classes.csv``, ``confusion.csv`` and ``worst.csv``, those that there are.

        Raises:
            UserError: If something else than such files is in the folder.
            RunError: If a file cannot be written.
        """
        check_folder(folder)
        folder.mkdir(parents=True, exist_ok=True)
        rows = [{"class": name, **row} for name, row in zip(self.class_names, self.classes, strict=True)]
        texts = {
            "classes.csv": _csv_text(rows),
            "confusion.csv": "" if self.matrix is None else _matrix_text(self.class_names, self.matrix),
            "worst.csv": _csv_text(self.worst),
            "evaluation.json": json.dumps(self.as_json(), indent=2, ensure_ascii=False) + "\n",
        }
        for name, text in texts.items():
            if text:
                write_atomically(folder / name, text)
            else:
                (folder / name).unlink(missing_ok=True)

    def as_json(self) -> dict[str, Any]:
        """Return everything but the matrix as JSON takes it."""
        calibration = self.calibration
        return {
            "target": self.target,
            "data": self.data,
            "split": self.split,
            "task": self.task,
            "samples": self.samples,
            "temperature": self.temperature,
            "figures": dict(self.figures),
            "classes": {name: dict(row) for name, row in zip(self.class_names, self.classes, strict=True)},
            "calibration": calibration
            and {
                "ece": calibration.ece,
                "confidence": calibration.confidence,
                "bins": [entry._asdict() for entry in calibration.bins],
            },
            "confused": [pair._asdict() for pair in self.confused],
            "worst": [dict(row) for row in self.worst],
        }


def check_folder(folder: Path) -> None:
    """Raise ``UserError`` if a folder for an evaluation is a file, or holds anything else.

    Example:
        >>> check_folder(Path("nowhere"))
    """
    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            raise UserError(f"{place}: is a file, expected a folder for the evaluation")
    others = sorted(entry.name for entry in folder.iterdir() if entry.name not in _FILES) if folder.is_dir() else []
    if others:
        got = f"{folder}: holds {shortened(others[0])}, which is no file of an evaluation"
        raise UserError(f"{got}, expected a new folder")


def _figure(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{int(value):,}" if name in _COUNTS else _percent(value)


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"


def _shortened(name: str) -> str:
    return shortened(name, _SHOWN_NAME, quoted=False)


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
        yield "  ".join(("  " + first.ljust(widths[0]), *cells))


def _csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue() if rows else ""


def _matrix_text(names: Sequence[str], matrix: Sequence[Sequence[int]]) -> str:
    # Not by name: a class may be called as the first column is.
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["true \\ predicted", *names])
    writer.writerows([name, *counts] for name, counts in zip(names, matrix, strict=True))
    return text.getvalue()
