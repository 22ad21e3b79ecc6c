"""Rows of class logits, which every output becomes: checks, fp32 arithmetic, means over the rows that count."""

from typing import NamedTuple

import torch
from torch import Tensor

from limbeck.errors import UserError

ABSENT = -100
"""The label of a row without ground truth, as PyTorch's and Hugging Face's losses have it."""


class Rows(NamedTuple):
    """Rows of class logits, and what is known of each: an image is one row, a map one a supervised pixel.

    Attributes:
        logits: (R, C) float logits.
        labels: (R,) true classes, with -100 where there is none; (R, C) probabilities; None without ground truth.
        weight: (R,) how much each row counts; None for all alike.
        sample: (R,) position in the batch of the sample that each row belongs to; None where a sample is one row.

    Example:
        >>> Rows(torch.zeros(2, 3), torch.tensor([1, ABSENT])).labels
        tensor([   1, -100])
    """

    logits: Tensor
    labels: Tensor | None = None
    weight: Tensor | None = None
    sample: Tensor | None = None


class GroundTruth(NamedTuple):
    """Checked labels of some rows; made by :func:`ground_truth`.

    Attributes:
        labels: (R,) int64 true classes, -100 where there is none, or (R, C) float probabilities.
        labeled: (R,) bool, which rows have a label; None where all have one.
        classes: (R,) int64 one true class a row, for what can use no other: of probabilities the largest; 0 where there
            is none.
    """

    labels: Tensor
    labeled: Tensor | None
    classes: Tensor


def _shape(value: object) -> str:
    return f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else type(value).__name__


def check_logits(logits: Tensor, name: str = "logits") -> None:
    """Raise ``UserError`` unless ``logits`` is a floating (N, C) tensor with at least one class.

    Example:
        >>> check_logits(torch.zeros(3, 4, 2), "student_logits")
        Traceback (most recent call last):
        limbeck.errors.UserError: student_logits: got (3, 4, 2) torch.float32, expected float logits of shape (N, C)
    """
    if not isinstance(logits, Tensor) or logits.ndim != 2 or not logits.is_floating_point() or logits.shape[1] == 0:
        raise UserError(f"{name}: got {_shape(logits)}, expected float logits of shape (N, C)")


def check_pair(student_logits: Tensor, teacher_logits: Tensor) -> None:
    """Raise ``UserError`` unless both are float logits of one shape (N, C).

    Example:
        >>> check_pair(torch.zeros(3, 4), torch.zeros(3, 5))
        Traceback (most recent call last):
        limbeck.errors.UserError: teacher_logits: got (3, 5), expected the student's shape (3, 4)
    """
    check_logits(student_logits, "student_logits")
    check_logits(teacher_logits, "teacher_logits")
    if student_logits.shape != teacher_logits.shape:
        expected = tuple(student_logits.shape)
        raise UserError(f"teacher_logits: got {tuple(teacher_logits.shape)}, expected the student's shape {expected}")


def check_labels(labels: Tensor | None, logits: Tensor) -> Tensor:
    """Return ``labels`` as int64 if they are whole numbers of ``[0, C)``, one a row of ``logits``.

    Anything else raises ``UserError``.

    The range is looked at only where that costs no device synchronisation: on CPU, outside ``torch.compile``.

    Example:
        >>> check_labels(torch.tensor([0, 4]), torch.zeros(2, 4))
        Traceback (most recent call last):
        limbeck.errors.UserError: labels: got values from 0 to 4, expected 0 to 3 (4 classes)
    """
    rows, classes = logits.shape
    whole = isinstance(labels, Tensor) and not (labels.is_floating_point() or labels.dtype == torch.bool)
    if labels is None or not whole or labels.shape != (rows,):
        raise UserError(f"labels: got {_shape(labels)}, expected {rows} whole numbers of shape ({rows},)")
    if rows and labels.device.type == "cpu" and not torch.compiler.is_compiling():
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= classes:
            raise UserError(f"labels: got values from {low} to {high}, expected 0 to {classes - 1} ({classes} classes)")
    return labels.long()


def ground_truth(labels: Tensor | None, logits: Tensor) -> GroundTruth:
    """Check the labels of rows, of any kind.

    Whether a label is absent, and whether all are in range, is looked at only where that costs no device
    synchronization: on CPU, outside ``torch.compile``.

    Args:
        labels: (R,) whole numbers of [0, C) or -100 (absent), (R, C) probabilities, or None (all absent).
        logits: (R, C) float logits.

    Raises:
        UserError: If the labels are none of these.

    Example:
        >>> truth = ground_truth(torch.tensor([2, ABSENT]), torch.zeros(2, 3))
        >>> truth.labeled, truth.classes
        (tensor([ True, False]), tensor([2, 0]))
        >>> ground_truth(torch.tensor([[.2, .8]]), torch.zeros(1, 2)).classes
        tensor([1])
    """
    if labels is None:
        labels = logits.new_full((len(logits),), ABSENT, dtype=torch.long)
    if labels.is_floating_point() and labels.shape == logits.shape:
        return GroundTruth(labels, None, labels.argmax(dim=1))
    if _all_labeled(labels):
        checked = check_labels(labels, logits)
        return GroundTruth(checked, None, checked)
    absent = labels == ABSENT
    classes = check_labels(labels.masked_fill(absent, 0), logits)
    return GroundTruth(labels.long(), ~absent, classes)


def _all_labeled(labels: Tensor) -> bool:
    # On other devices and in a compiled graph this is not known.
    visible = labels.device.type == "cpu" and not torch.compiler.is_compiling()
    return visible and not bool((labels == ABSENT).any())


def check_temperature(temperature: Tensor | float, name: str = "temperature") -> None:
    """Raise ``UserError`` unless the temperature is a positive finite number.

    One that a modifier computes is a tensor; its value is not looked at, which would wait for the device.

    Example:
        >>> check_temperature(-1)
        Traceback (most recent call last):
        limbeck.errors.UserError: temperature: got -1, expected a number greater than 0
    """
    if not isinstance(temperature, Tensor) and not 0 < temperature < float("inf"):
        raise UserError(f"{name}: got {temperature}, expected a number greater than 0")


def full(values: Tensor) -> Tensor:
    """Return ``values`` in at least fp32, so that half precision never reaches an exponential or a small epsilon."""
    return values if values.dtype == torch.float64 else values.float()


def row_mean(rows: Tensor, weight: Tensor | None) -> Tensor:
    """Average one value a row, each counted by its weight; 0 where no row counts.

    Args:
        rows: (N,) values.
        weight: (N,) non-negative weights or a boolean mask, or None for a plain mean.

    Returns:
        A scalar.

    Raises:
        UserError: If the weight's shape is not (N,).

    Example:
        >>> row_mean(torch.tensor([1., 2., 6.]), torch.tensor([True, False, True]))
        tensor(3.5000)
    """
    if weight is None:
        return rows.mean() if rows.shape[0] else rows.sum()
    if weight.shape != rows.shape:
        raise UserError(f"weight: got {tuple(weight.shape)}, expected one a row, {tuple(rows.shape)}")
    weight = weight.to(rows.dtype)
    total = weight.sum()
    return (rows * weight).sum() / torch.where(total > 0, total, 1)
