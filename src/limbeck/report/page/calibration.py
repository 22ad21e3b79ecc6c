"""Reliability diagrams: how often a network is right at each confidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.report.page.reading import Tensors

BINS = 15


@dataclass(frozen=True, eq=False)
class Reliability:
    """How often a network is right at each confidence, in equal bins.

    Attributes:
        counts: (15,) how many predictions each bin has.
        confidence: (15,) their mean confidence; NaN for an empty bin.
        accuracy: (15,) the share of them that is right; NaN for an empty bin.

    Example:
        >>> found = Reliability.of_sums(np.array([[10.0, 9.5, 5.0]]))
        >>> found.accuracy.tolist(), found.error
        ([0.5], 0.45)
    """

    counts: NDArray[np.float64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @classmethod
    def of_sums(cls, sums: NDArray[Any]) -> Reliability:
        """Make it of (B, 3) sums: predictions, confidences, and how many are right."""
        counts = sums[:, 0].astype(np.float64)
        divisor = np.where(counts > 0, counts, np.nan)
        return cls(counts, sums[:, 1] / divisor, sums[:, 2] / divisor)

    @property
    def error(self) -> float:
        """The calibration error: the mean gap between confidence and accuracy over all predictions."""
        gaps = np.nan_to_num(np.abs(self.accuracy - self.confidence))
        return float((self.counts * gaps).sum() / max(self.counts.sum(), 1.0))


def reliability(stored: Sequence[Tensors], name: str, labels: NDArray[Any] | None) -> Reliability | None:
    """Return the reliability of a network over its runs; None where what it needs is not stored.

    Args:
        stored: What is stored of each run.
        name: Whose: ``"test"`` or ``"teacher"``.
        labels: (N,) true classes, or (N, C) of 1 and 0; negative where not known. None where they are not stored.

    Example:
        >>> stored = {"test": np.array([0, 1]), "test.confidence": np.array([0.99, 0.98])}
        >>> round(reliability([stored], "test", np.array([0, 0])).error, 3)
        0.485
    """
    sums = [found for tensors in stored if (found := _sums(tensors, name, labels)) is not None]
    return Reliability.of_sums(np.sum(sums, axis=0)) if sums and len(sums) == len(stored) else None


def _sums(tensors: Tensors, name: str, labels: NDArray[Any] | None) -> NDArray[np.float64] | None:
    if f"{name}.calibration" in tensors:
        return tensors[f"{name}.calibration"].astype(np.float64)
    predictions, confidence = tensors.get(name), tensors.get(f"{name}.confidence")
    if predictions is None or confidence is None or labels is None or labels.shape != predictions.shape:
        return None
    known = labels >= 0
    # Of several classes each is a prediction: present or not, at the confidence of what is predicted.
    certain = np.where(predictions > 0, confidence, 1 - confidence) if labels.ndim == 2 else confidence
    return _binned(certain[known].astype(np.float64), (predictions == labels)[known])


def _binned(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> NDArray[np.float64]:
    # As torchmetrics has it: a bin is closed above.
    places = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    columns = (np.ones_like(confidence), confidence, right.astype(np.float64))
    return np.stack([np.bincount(places, weights=column, minlength=BINS) for column in columns], axis=1)
