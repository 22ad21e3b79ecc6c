"""What every scorer asks of its tensors before it computes."""

import torch
from torch import Tensor

from limbeck.errors import UserError


def matrix(name: str, value: Tensor, *, columns: int = 1) -> None:
    """Refuse anything but a floating (N, columns or more) tensor."""
    if value.ndim != 2 or value.shape[1] < columns:
        raise UserError(f"{name}: got shape {tuple(value.shape)}, expected (N, C) with C at least {columns}")
    if not value.is_floating_point():
        raise UserError(f"{name}: got {value.dtype}, expected floating-point values")


def same_shape(name: str, value: Tensor, other_name: str, other: Tensor) -> None:
    """Refuse two tensors of different shapes."""
    if value.shape != other.shape:
        raise UserError(f"{name}: got shape {tuple(value.shape)}, expected {tuple(other.shape)} as of {other_name}")


def integer_vector(name: str, value: Tensor, length: int | None = None) -> None:
    """Refuse anything but an integer (length,) tensor; any length when none is given."""
    if value.ndim != 1 or (length is not None and len(value) != length):
        expected = "(N,)" if length is None else f"({length},)"
        raise UserError(f"{name}: got shape {tuple(value.shape)}, expected {expected}")
    if value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
        raise UserError(f"{name}: got {value.dtype}, expected whole numbers")


def in_range(name: str, value: Tensor, low: int, high: int) -> None:
    """Refuse values outside [low, high)."""
    # Reading a value back from an accelerator would make every step wait for it; gather asserts on the device instead.
    if value.device.type != "cpu" or value.numel() == 0:
        return
    smallest, largest = int(value.min()), int(value.max())
    if smallest < low or largest >= high:
        wrong = smallest if smallest < low else largest
        raise UserError(f"{name}: got {wrong}, expected values from {low} to {high - 1}")


def class_labels(name: str, value: Tensor, logits: Tensor) -> None:
    """Refuse anything but one class of ``logits`` for each of its rows."""
    integer_vector(name, value, len(logits))
    in_range(name, value, 0, logits.shape[1])


def precise(value: Tensor) -> Tensor:
    """Detach, and widen to fp32 (float64 stays)."""
    value = value.detach()
    return value if value.dtype == torch.float64 else value.float()
