"""Which classes a network confuses, and how often it is right on each: the figures of a run's picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from limbeck.errors import UserError


class Pair(NamedTuple):
    """Samples of one class that were taken for another.

    Attributes:
        true: Their class.
        predicted: What they were taken for.
        samples: How many.
        share: Of all samples of their class.

    Example:
        >>> Pair("cat", "dog", 2, 0.5).predicted
        'dog'
    """

    true: str
    predicted: str
    samples: int
    share: float


@dataclass(frozen=True, eq=False)
class ClassFigures:
    """The figures of each class on a split.

    Attributes:
        classes: The C class names.
        matrix: (C, C) how many samples of each true class (row) were predicted as each class (column).
        student: (C,) the share of each class that is right; NaN for a class without samples.
        teacher: The same of the teacher; None where it was not measured.

    Example:
        >>> figures = ClassFigures.of([0, 0, 1], [0, 1, 1], ["cat", "dog"])
        >>> figures.matrix.tolist(), figures.student.tolist()
        ([[1, 1], [0, 1]], [0.5, 1.0])
        >>> figures.confused(5)
        [Pair(true='cat', predicted='dog', samples=1, share=0.5)]
    """

    classes: tuple[str, ...]
    matrix: NDArray[np.int64]
    student: NDArray[np.float64]
    teacher: NDArray[np.float64] | None = None

    @classmethod
    def of(
        cls, truth: ArrayLike, predictions: ArrayLike, classes: Sequence[str], teacher: ArrayLike | None = None
    ) -> ClassFigures:
        """Count the predictions of a split.

        Args:
            truth: (N,) true classes; a negative one counts nowhere.
            predictions: (N,) the student's classes.
            classes: The class names.
            teacher: (N,) the teacher's classes; None where they are not known.

        Raises:
            UserError: If the lengths differ, or a value is no class.
        """
        matrix = _confusion(truth, predictions, len(classes), "predictions")
        right = None if teacher is None else _recall(_confusion(truth, teacher, len(classes), "the teacher's"))
        return cls(tuple(classes), matrix, _recall(matrix), right)

    def confused(self, most: int) -> list[Pair]:
        """Return at most so many pairs of classes of which samples are confused, those with most samples first."""
        wrong, totals = self.matrix - np.diag(np.diag(self.matrix)), self.matrix.sum(axis=1)
        rows, columns = np.nonzero(wrong)
        shares = wrong[rows, columns] / totals[rows]
        order = np.lexsort((-shares, -wrong[rows, columns]))[:most]
        return [
            Pair(self.classes[rows[i]], self.classes[columns[i]], int(wrong[rows[i], columns[i]]), float(shares[i]))
            for i in order
        ]


def _confusion(truth: ArrayLike, predictions: ArrayLike, classes: int, whose: str) -> NDArray[np.int64]:
    true, made = _numbers(truth), _numbers(predictions)
    if true.shape != made.shape:
        raise UserError(f"{whose}: got {len(made)}, expected one for each of the {len(true)} labels")
    for values, name in ((made, whose), (true, "labels")):
        if len(values) and (values.max() >= classes or (name == whose and values.min() < 0)):
            got = f"got values from {values.min()} to {values.max()}"
            raise UserError(f"{name}: {got}, expected 0 to {classes - 1}")
    labeled = true >= 0
    cells = np.bincount(true[labeled] * classes + made[labeled], minlength=classes * classes)
    return cells.reshape(classes, classes)


def _numbers(values: ArrayLike) -> NDArray[np.int64]:
    numbers: NDArray[Any] = np.asarray(values)
    return numbers.astype(np.int64)


def _recall(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    totals = matrix.sum(axis=1)
    return np.where(totals > 0, np.diag(matrix) / np.maximum(totals, 1), np.nan)
