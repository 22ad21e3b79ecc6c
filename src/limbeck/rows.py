"""Rows of class logits, which every output becomes: checks, fp32 arithmetic, means over the rows that count."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

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


def pixels(output: Tensor, masks: Tensor | None = None, *, ignore_index: int = 255) -> Rows:
    """Turn maps of logits into one row a supervised position; ignored positions are left out.

    Args:
        output: (N, C, ...) float logits, such as (N, C, H, W).
        masks: (N, ...) true classes, in the output's size or another, from which the nearest are then taken; None
            without ground truth: every position is a row without a label.
        ignore_index: The value of positions that count nowhere.

    Returns:
        The rows, with the sample of each.

    Raises:
        UserError: If the output is no map of float logits, or the masks have another number of samples or dimensions.

    Example:
        >>> rows = pixels(torch.zeros(2, 3, 1, 2), torch.tensor([[[0, 255]], [[2, 1]]]))
        >>> rows.logits.shape, rows.labels, rows.sample
        (torch.Size([3, 3]), tensor([0, 2, 1]), tensor([0, 1, 1]))
    """
    if output.ndim < 3 or not output.is_floating_point():
        raise UserError(f"output: got {_shape(output)}, expected float maps of logits (N, C, ...)")
    positions = output.shape[2:].numel()
    logits = output.movedim(1, -1).reshape(-1, output.shape[1])
    sample = torch.arange(len(output), device=output.device).repeat_interleave(positions)
    if masks is None:
        return Rows(logits, None, None, sample)
    if masks.ndim != output.ndim - 1 or len(masks) != len(output):
        expected = (len(output), *output.shape[2:])
        raise UserError(f"masks: got {tuple(masks.shape)}, expected one class a position, such as {expected}")
    if masks.shape[1:] != output.shape[2:]:
        masks = F.interpolate(masks[:, None].double(), output.shape[2:], mode="nearest-exact")[:, 0].long()
    labels = masks.reshape(-1)
    supervised = labels != ignore_index
    return Rows(logits[supervised], labels[supervised], None, sample[supervised])


def tokens(logits: Tensor, labels: Tensor, *, shift: bool = True, ignore_index: int = ABSENT) -> Rows:
    """Turn a language model's logits into one row a supervised token; prompt and padding are left out.

    Args:
        logits: (N, T, V) float logits.
        labels: (N, T) token numbers, ``ignore_index`` where there is no supervision.
        shift: Whether position t predicts the label of t + 1, as in a causal model.
        ignore_index: The label of tokens that count nowhere.

    Returns:
        The rows, with the sequence of each.

    Raises:
        UserError: If the shapes do not fit together.

    Example:
        >>> rows = tokens(torch.zeros(1, 3, 5), torch.tensor([[-100, 4, 2]]))
        >>> rows.logits.shape, rows.labels
        (torch.Size([2, 5]), tensor([4, 2]))
    """
    if logits.ndim != 3 or labels.shape != logits.shape[:2]:
        got = f"{tuple(logits.shape)} and {tuple(labels.shape)}"
        raise UserError(f"logits and labels: got {got}, expected (N, T, V) and (N, T)")
    if shift:
        logits, labels = logits[:, :-1], labels[:, 1:]
    return pixels(logits.movedim(-1, 1), labels, ignore_index=ignore_index)


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


def check_measurable(logits: Tensor, name: str = "logits") -> None:
    """Raise ``UserError`` unless there are rows of float logits, none of them nan or infinite; this waits for a device.

    Example:
        >>> check_measurable(torch.zeros(0, 4), "teacher_logits")
        Traceback (most recent call last):
        limbeck.errors.UserError: teacher_logits: got no rows, expected finite logits of at least one row
    """
    check_logits(logits, name)
    if not len(logits) or not bool(logits.isfinite().all()):
        got = "nan or inf among them" if len(logits) else "no rows"
        raise UserError(f"{name}: got {got}, expected finite logits of at least one row")


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


def check_labels(labels: Tensor | None, logits: Tensor, name: str = "labels") -> Tensor:
    """Return ``labels`` as int64 if they are whole numbers of ``[0, C)``, one a row of ``logits``.

    Anything else raises ``UserError``; the range is checked as in :func:`whole_numbers`.

    Example:
        >>> check_labels(torch.tensor([0, 4]), torch.zeros(2, 4))
        Traceback (most recent call last):
        limbeck.errors.UserError: labels: got values from 0 to 4, expected 0 to 3 (4 classes)
    """
    rows, classes = logits.shape
    return whole_numbers(labels, name, rows, range(classes), f" ({classes} classes)")


def whole_numbers(
    values: Tensor | None, name: str, rows: int | None = None, valid: range | None = None, meaning: str = ""
) -> Tensor:
    """Return ``values`` as int64 if they are whole numbers of shape (N,).

    The range is checked only where that costs no device synchronization: on CPU, outside ``torch.compile``.

    Args:
        values: The numbers.
        name: What to call them in an error.
        rows: N, if it is known.
        valid: The values that are allowed; None for all.
        meaning: What to write behind these values in an error.

    Raises:
        UserError: If they are something else.

    Example:
        >>> whole_numbers(torch.tensor([-1, 4]), "indices", valid=range(4))
        Traceback (most recent call last):
        limbeck.errors.UserError: indices: got values from -1 to 4, expected 0 to 3
    """
    whole = isinstance(values, Tensor) and not (values.dtype.is_floating_point or values.dtype == torch.bool)
    if values is None or not whole or values.ndim != 1 or rows not in (None, len(values)):
        expected = "whole numbers of shape (N,)" if rows is None else f"{rows} whole numbers of shape ({rows},)"
        raise UserError(f"{name}: got {_shape(values)}, expected {expected}")
    if valid is not None and len(values) and values.device.type == "cpu" and not torch.compiler.is_compiling():
        low, high = int(values.min()), int(values.max())
        if low < valid.start or high >= valid.stop:
            expected = f"{valid.start} to {valid.stop - 1}{meaning}"
            raise UserError(f"{name}: got values from {low} to {high}, expected {expected}")
    return values.long()


def ground_truth(labels: Tensor | None, logits: Tensor) -> GroundTruth:
    """Check the labels of rows, of any kind.

    Whether a label is absent, and whether all are in range, is looked at only on CPU, outside ``torch.compile``.

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
    if _are_probabilities(labels, logits):
        return GroundTruth(labels, None, labels.argmax(dim=1))
    if _all_labeled(labels):
        checked = check_labels(labels, logits)
        return GroundTruth(checked, None, checked)
    absent = labels == ABSENT
    classes = check_labels(labels.masked_fill(absent, 0), logits)
    return GroundTruth(labels.long(), ~absent, classes)


def _are_probabilities(labels: object, logits: Tensor) -> bool:
    return isinstance(labels, Tensor) and labels.is_floating_point() and labels.shape == logits.shape


def _all_labeled(labels: object) -> bool:
    if not isinstance(labels, Tensor):
        # For the check that refuses it.
        return True
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
