"""How often students agree with their teacher, where it is right and where it is wrong; and where methods differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Classes = NDArray[Any]


@dataclass(frozen=True)
class Agreement:
    """Shares of the samples, by who is right; they add up to 1.

    Attributes:
        both_right: Student and teacher are right.
        student_right: The student alone is right.
        teacher_right: The teacher alone is right.
        same_wrong: Both make the same mistake.
        both_wrong: They make different mistakes.

    Example:
        >>> found = Agreement.of(np.array([0, 1, 1]), np.array([0, 1, 0]), np.array([0, 0, 1]))
        >>> round(found.where_right, 2), round(found.where_wrong, 2), round(found.corrected, 2)
        (1.0, 0.5, 0.5)
    """

    both_right: float
    student_right: float
    teacher_right: float
    same_wrong: float
    both_wrong: float

    @classmethod
    def of(cls, students: Classes, teacher: Classes, labels: Classes) -> Agreement:
        """Count samples.

        Args:
            students: (N,) or (seeds, N) the student's classes.
            teacher: (N,) the teacher's.
            labels: (N,) the true ones, negative where not known.
        """
        known = labels >= 0
        made, taught, true = np.atleast_2d(students)[:, known], teacher[known], labels[known]
        student, right = made == true, np.broadcast_to(taught == true, made.shape)
        same = made == taught
        parts = (student & right, student & ~right, ~student & right, ~student & ~right & same)
        shares = [float(part.mean()) if part.size else 0.0 for part in parts]
        both, student_alone, teacher_alone, same_mistake = shares
        return cls(both, student_alone, teacher_alone, same_mistake, max(0.0, 1.0 - sum(shares)))

    @property
    def right(self) -> float:
        """The teacher's accuracy."""
        return self.both_right + self.teacher_right

    @property
    def where_right(self) -> float:
        """How often the student agrees where the teacher is right."""
        return self.both_right / self.right if self.right else float("nan")

    @property
    def where_wrong(self) -> float:
        """How often the student agrees where the teacher is wrong: it makes the same mistake."""
        wrong = 1 - self.right
        return self.same_wrong / wrong if wrong > 1e-12 else float("nan")

    @property
    def corrected(self) -> float:
        """How often the student is right where the teacher is wrong."""
        wrong = 1 - self.right
        return self.student_right / wrong if wrong > 1e-12 else float("nan")


def differing(predictions: Mapping[str, Classes], labels: Classes | None, most: int) -> list[int]:
    """Choose samples on which methods differ: those first on which they are divided most evenly.

    Args:
        predictions: (N,) the classes of each method.
        labels: (N,) the true ones, negative where not known; None where they are not stored.
        most: At most so many; true classes take turns.

    Returns:
        The positions of the samples.

    Example:
        >>> differing({"kd": np.array([0, 1, 2]), "none": np.array([0, 2, 1])}, np.array([0, 1, 0]), 2)
        [1, 2]
    """
    made = np.stack([*predictions.values()])
    # How often the most frequent answer is given, the rarer the more they differ.
    common = np.max([(made == row).mean(axis=0) for row in made], axis=0)
    right = (made == labels).mean(axis=0) if labels is not None else np.zeros(made.shape[1])
    evenness = 1 - np.abs(2 * right - 1)
    order = np.lexsort((np.arange(made.shape[1]), common, -evenness))
    candidates = [int(place) for place in order if common[place] < 1]
    return _in_turns(candidates, labels, most)


def _in_turns(candidates: Sequence[int], labels: Classes | None, most: int) -> list[int]:
    if labels is None:
        return list(candidates[:most])
    seen: dict[int, int] = {}
    turns: list[tuple[int, int, int]] = []
    for place in candidates:
        label = int(labels[place])
        turns.append((seen.get(label, 0), len(turns), place))
        seen[label] = seen.get(label, 0) + 1
    return [place for _, _, place in sorted(turns)[:most]]
