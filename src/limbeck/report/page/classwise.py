"""The figures of each class: confusion matrices, and by how much each class gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.report.class_figures import ClassFigures
from limbeck.report.page.reading import Tensors

Matrix = NDArray[np.float64]
# The figure of a class in a summary, by the task's name, and what it is called.
_STORED = {"segmentation": ("iou", "IoU"), "detection": ("ap", "average precision")}


def confusion(
    stored: Sequence[Tensors], name: str, labels: NDArray[Any] | None, classes: Sequence[str]
) -> Matrix | None:
    """Return the mean confusion matrix over runs; None where what it needs is not stored.

    Args:
        stored: What is stored of each run.
        name: Whose: ``"test"`` or ``"teacher"``.
        labels: (N,) true classes, negative where not known; None where they are not stored.
        classes: The C class names.

    Returns:
        (C, C) the share of each true class (row) that is predicted as each class (column); NaN without samples.

    Example:
        >>> confusion([{"test": np.array([0, 1, 1])}], "test", np.array([0, 0, 1]), ["cat", "dog"]).tolist()
        [[0.5, 0.5], [0.0, 1.0]]
    """
    counts = [found for tensors in stored if (found := _counts(tensors, name, labels, classes)) is not None]
    if not counts or len(counts) < len(stored):
        return None
    total = np.sum(counts, axis=0).astype(np.float64)
    rows = total.sum(axis=1, keepdims=True)
    shares: Matrix = total / np.where(rows > 0, rows, np.nan)
    return shares


def _counts(
    tensors: Tensors, name: str, labels: NDArray[Any] | None, classes: Sequence[str]
) -> NDArray[np.int64] | None:
    if f"{name}.confusion" in tensors:
        return tensors[f"{name}.confusion"]
    predictions = tensors.get(name)
    if predictions is None or labels is None or labels.ndim != 1 or predictions.shape != labels.shape:
        return None
    if not len(classes) or max(int(labels.max(initial=-1)), int(predictions.max(initial=-1))) >= len(classes):
        return None
    return ClassFigures.of(labels, predictions, classes).matrix


def class_figure(task: str) -> str:
    """Return what the figure of each class is called.

    Example:
        >>> class_figure("classification"), class_figure("segmentation")
        ('accuracy', 'IoU')
    """
    return "F1" if task == "multilabel" else _STORED.get(task, ("", "accuracy"))[1]


def by_class(
    task: str,
    tensors: Tensors,
    name: str,
    figures: Mapping[str, Any],
    labels: NDArray[Any] | None,
    classes: Sequence[str],
) -> NDArray[np.float64] | None:
    """Return the figure of each class of a network: accuracy, IoU, average precision or F1.

    Args:
        task: The task's name.
        tensors: What is stored of it.
        name: Whose: ``"test"`` or ``"teacher"``.
        figures: Its figures on the test split by name, such as ``iou.sky``.
        labels: The true classes; None where they are not stored.
        classes: The C class names.

    Returns:
        (C,), NaN for a class without one; None where it is not stored.

    Example:
        >>> by_class("segmentation", {}, "test", {"iou.sky": 0.5}, None, ["sky", "road"]).tolist()
        [0.5, nan]
    """
    if task in _STORED:
        values = [figures.get(f"{_STORED[task][0]}.{name}", np.nan) for name in classes]
        return np.array(values, dtype=np.float64) if not np.isnan(values).all() else None
    if task == "multilabel":
        return _f1(tensors.get(name), labels)
    matrix = confusion([tensors], name, labels, classes)
    return None if matrix is None else matrix.diagonal().copy()


def _f1(predictions: NDArray[Any] | None, labels: NDArray[Any] | None) -> NDArray[np.float64] | None:
    if predictions is None or labels is None or predictions.shape != labels.shape:
        return None
    found, true, known = predictions > 0, labels > 0, labels >= 0
    right = (found & true & known).sum(axis=0)
    total = (found & known).sum(axis=0) + (true & known).sum(axis=0)
    return np.where(total > 0, 2 * right / np.maximum(total, 1), np.nan)
