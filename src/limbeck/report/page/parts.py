"""What the sections of a page share: the results, what of them was found, and how numbers are written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.data import Data
from limbeck.errors import shortened
from limbeck.report.page.about import About
from limbeck.report.page.gains import Gain, paired_gain
from limbeck.report.page.reading import Results, StoredRun, Tensors
from limbeck.tasks import Metric
from limbeck.training.scaling import with_scaled

BASELINE = "none"
MINUS = "\N{MINUS SIGN}"
"""As it is printed: as wide as a plus."""
_SAMPLES = ("classification", "multilabel")


@dataclass(frozen=True, eq=False)
class Part:
    """The results that one part of a page is about, and the data they were measured on.

    Attributes:
        results: The results.
        data: The data; None where they are not there any more.
        why_no_data: Why they are not.

    Example:
        >>> from limbeck.report.page.example import example_part
        >>> example_part().complete
        ['none', 'kd']
    """

    results: Results
    data: Data | None = None
    why_no_data: str = ""

    @property
    def about(self) -> About:
        """What the numbers mean."""
        return self.results.about

    @cached_property
    def complete(self) -> list[str]:
        """The methods with a complete run."""
        return [name for name in self.results.methods if self.results.of(name)]

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The class names: stored ones, or those of the data."""
        return self.about.classes or (self.data.classes if self.data is not None else ())

    @property
    def primary(self) -> Metric:
        """The metric that methods are compared by."""
        return self.about.primary

    @property
    def has_temperatures(self) -> bool:
        """Whether a run fitted a temperature of its student's logits."""
        return any("temperature" in run.summary for run in self.results.runs)

    @property
    def shown(self) -> tuple[Metric, ...]:
        """The metrics that tables show, with those of the scaled logits where there are temperatures."""
        return with_scaled(self.about.shown) if self.has_temperatures else self.about.shown

    @cached_property
    def baseline(self) -> str | None:
        """The method that gains are counted from; None where there is nothing to compare."""
        if len(self.complete) < 2:
            return None
        return BASELINE if BASELINE in self.complete else self.complete[0]

    @cached_property
    def labels(self) -> NDArray[Any] | None:
        """The true classes of the test split, of samples that have one or several each; None where not known."""
        stored = next((run.tensors["test.labels"] for run in self.results.runs if "test.labels" in run.tensors), None)
        if stored is not None:
            return stored
        # Runs of an earlier version do not store them.
        if self.about.task not in _SAMPLES or self.data is None:
            return None
        labels: NDArray[Any] = self.data.test.labels.numpy()
        sizes = {run.tensors["test"].shape for run in self.results.runs if "test" in run.tensors}
        return labels if sizes == {labels.shape} else None

    def same_samples(self) -> bool:
        """Return whether the data's test split is the one that was measured."""
        if self.data is None or self.labels is None:
            return False
        labels = self.data.test.labels.numpy()
        return labels.shape == self.labels.shape and bool((np.maximum(labels, -1) == np.maximum(self.labels, -1)).all())

    def figures(self, method: str, metric: str) -> dict[int, float]:
        """Return a figure of a method by seed."""
        found = {run.seed: run.figure(metric) for run in self.results.of(method)}
        return {seed: value for seed, value in found.items() if value is not None}

    def mean(self, method: str) -> float:
        """Return the mean of the primary metric over seeds; NaN without any."""
        values = self.figures(method, self.primary.name).values()
        return fmean(values) if values else math.nan

    def gain(self, method: str) -> Gain | None:
        """Return by how much a method is better than the baseline; None for the baseline itself."""
        if self.baseline is None or method == self.baseline:
            return None
        name = self.primary.name
        return paired_gain(self.figures(method, name), self.figures(self.baseline, name), self.primary)

    def best(self) -> str:
        """Return the method with the best mean of the primary metric."""
        sign = -1.0 if self.primary.higher_is_better is False else 1.0
        return max(self.complete, key=lambda name: sign * np.nan_to_num(self.mean(name), nan=-sign * np.inf))

    def stored(self, method: str) -> list[Tensors]:
        """Return what is stored of each run of a method."""
        return [run.tensors for run in self.results.of(method)]

    def first(self, method: str) -> StoredRun:
        """Return the run of a method with the smallest seed."""
        return self.results.of(method)[0]

    @property
    def teacher(self) -> Mapping[str, float] | None:
        """The live teacher's figures on the test split; None where it was not measured there."""
        return self.results.teachers.get("teacher")


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: What it shows.
        sort: The number that its column is sorted by; None for text, and for what does not exist.
        drawing: An SVG beside the text.
        shade: How strongly it is colored, from -1 to 1.

    Example:
        >>> Cell("87.6 %", 0.876).sort
        0.876
    """

    text: str
    sort: float | None = None
    drawing: str = ""
    shade: float = 0.0


@dataclass(frozen=True)
class Table:
    """A table of a page; its first column has texts and heads the rows, the others numbers.

    Attributes:
        caption: What it shows.
        columns: The headings.
        rows: The cells of each row.
        key: Which row is emphasized; None for none.

    Example:
        >>> Table("Classes", ("class",), ((Cell("cat"),),)).rows[0][0].text
        'cat'
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    key: str | None = None


def number(metric: Metric, value: float) -> str:
    """Write a figure: in percent if it is a share.

    Example:
        >>> number(Metric("accuracy", "accuracy"), 0.8612), number(Metric("loss", "NLL", share=False), 0.5)
        ('86.1 %', '0.500')
    """
    return f"{100 * value:.1f} %" if metric.share else f"{value:.3f}"


def signed(value: float, digits: int = 1) -> str:
    """Write a number with its sign, as it is printed.

    Example:
        >>> signed(1.25), signed(-0.31) == f"{MINUS}0.3", signed(-0.01)
        ('+1.2', True, '0.0')
    """
    rounded = round(value, digits) + 0.0
    return f"{rounded:+.{digits}f}".replace("-", MINUS) if rounded else f"{0:.{digits}f}"


def percent(value: float) -> Cell:
    """Return a cell with a share in percent; an empty one for NaN.

    Example:
        >>> percent(0.5), percent(float("nan")).text
        (Cell(text='50.0', sort=0.5, drawing='', shade=0.0), '')
    """
    return Cell("") if math.isnan(value) else Cell(f"{100 * value:.1f}", value)


def short(name: str, limit: int = 18) -> str:
    """Shorten a name for a drawing.

    Example:
        >>> short("a name of many words")
        'a name o...y words'
    """
    return shortened(name, limit, quoted=False)


def joined(names: Iterable[str]) -> str:
    """Write names as a list.

    Example:
        >>> joined(["a", "b", "c"]), joined(["a"])
        ('a, b and c', 'a')
    """
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Return lowest and highest of some finite numbers, with a little room.

    Example:
        >>> spread([0.5, 0.7, float("inf")])
        (0.484, 0.716)
    """
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    room = max(0.08 * (max(finite) - min(finite)), 1e-3)
    return round(min(finite) - room, 6), round(max(finite) + room, 6)
