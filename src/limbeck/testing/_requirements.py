"""What the checks share: logits to compute with, and requirements that name what was measured."""

import torch
from torch import Tensor

Device = torch.device | str
Sides = tuple[Tensor, Tensor, Tensor]
HALF = (torch.bfloat16, torch.float16)


def require(condition: bool | Tensor, message: str) -> None:
    """Raise ``AssertionError`` unless a condition holds."""
    if not condition:
        raise AssertionError(message)


def require_close(found: Tensor, expected: Tensor, where: str, rtol: float, atol: float) -> None:
    """Raise ``AssertionError`` unless two tensors are within the tolerances; NaN is never close."""
    difference = (found.double() - expected.double()).abs()
    message = f"{where}: got {found.tolist()}, expected {expected.tolist()}" if found.ndim == 0 else where
    furthest = difference.max().item() if difference.numel() else 0.0
    # Two infinities of one sign are equal.
    close = (found == expected) | (difference <= atol + rtol * expected.double().abs())
    require(close.all(), f"{message}: {furthest:.2g} apart")


def drawn_sides(rows: int = 7, classes: int = 5, seed: int = 0) -> Sides:
    """Draw a student's and a teacher's (rows, classes) logits in float64, and labels, the same on every machine."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (3 * torch.randn(rows, classes, generator=generator, dtype=torch.float64) for _ in range(2))
    return student, teacher, torch.randint(classes, (rows,), generator=generator)


def placed(sides: Sides, device: Device, dtype: torch.dtype) -> Sides:
    """Put logits and labels on a device, the logits in a type; the student's is a leaf that takes a gradient."""
    student, teacher, labels = sides
    return (
        student.detach().to(device, dtype, copy=True).requires_grad_(True),
        teacher.to(device, dtype),
        labels.to(device),
    )


def gradient_of(loss: Tensor, student: Tensor) -> Tensor:
    """Return the loss's gradient with respect to the student's logits."""
    return torch.autograd.grad(loss, student)[0]
