"""Checks of a loss at the ends: logits that are huge, constant or hardly vary."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from limbeck.targets import SemanticTarget, rectify_logits, truncate_logits
from limbeck.testing._requirements import HALF, Device, Sides, drawn_sides, gradient_of, placed, require
from limbeck.testing.loss_case import LossCase

_TEMPERATURES = (0.05, 1.0, 50.0)
# How far a student's logits vary: not at all, as those of a zero-initialized head, or next to nothing.
_SPREADS = (0.0, 1e-6, 1e-3)
_LARGEST_GRADIENT = 50.0


def _huge(logits: Tensor) -> Tensor:
    return torch.where(torch.arange(logits.numel()).view_as(logits) % 3 == 0, 1e4, -1e4)


def _one_constant_row(logits: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(logits[:1]), logits[1:]])


_EXTREMES: dict[str, Callable[[Tensor], Tensor]] = {
    "huge": _huge,
    "constant rows": torch.zeros_like,
    "one constant row": _one_constant_row,
    "small": lambda logits: logits * 1e-6,
}
# Who is extreme: the student, the teacher.
_WHOSE = ((True, False), (False, True), (True, True))


def finite_at(case: LossCase, sides: Sides, where: str, **settings: Any) -> None:
    """Require a finite loss and a finite gradient."""
    student, teacher, labels = sides
    loss = case(student, teacher, labels, **settings)
    gradient = gradient_of(loss, student)
    require(loss.isfinite(), f"{where}: got {loss.item()}, expected a finite loss")
    # A gradient beyond fp16's range is the format's limit; NaN never is.
    finite = ~gradient.isnan() if gradient.dtype == torch.float16 else gradient.isfinite()
    require(finite.all(), f"{where}: got a gradient that is not finite")


def extremes(case: LossCase, device: Device, dtype: torch.dtype) -> None:
    """Is finite, and so is its gradient, for logits that are huge, constant or tiny, at any temperature."""
    temperatures = [{"temperature": value} for value in _TEMPERATURES] if case.takes("temperature") else [{}]
    for name, change in _EXTREMES.items():
        for student, teacher in _WHOSE:
            drawn = drawn_sides()
            sides = (change(drawn[0]) if student else drawn[0], change(drawn[1]) if teacher else drawn[1], drawn[2])
            for settings in temperatures:
                finite_at(case, placed(sides, device, dtype), f"{name}, {settings}", **settings)
            # The loss is computed in fp32: half precision differs where a gradient is largest, when cold.
            for kind in HALF:
                finite_at(case, placed(sides, device, kind), f"{name}, {kind}", **temperatures[0])


def _certain(labels: Tensor, classes: int) -> Tensor:
    return 60 * F.one_hot(labels, classes).float() - 30


def _usual(labels: Tensor, classes: int) -> Tensor:
    # Right in all rows: label revision averages over the right ones, each of which counts for more where they are few.
    return rectify_logits(3 * torch.randn(len(labels), classes, generator=torch.Generator().manual_seed(1)), labels)


_TEACHERS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "certain": _certain,
    "wrong": lambda labels, classes: _certain((labels + 1) % classes, classes),
    "usual": _usual,
    "best class only": lambda labels, classes: truncate_logits(_usual(labels, classes), 1, rest="drop"),
    "semantic": lambda labels, classes: SemanticTarget(torch.eye(classes).roll(1, 0))(_usual(labels, classes), labels),
}


def _flat_students(rows: int, classes: int) -> list[Tensor]:
    """Logits that hardly vary, of rows that differ and of rows that are identical."""
    generator = torch.Generator().manual_seed(rows + classes)
    spread = [spread * torch.randn(rows, classes, generator=generator) for spread in _SPREADS]
    return [*spread, *(logits[:1].repeat(rows, 1) for logits in spread)]


def _bounded_for(case: LossCase, rows: int, classes: int, device: Device, dtype: torch.dtype) -> None:
    labels = torch.arange(rows) % classes
    zeros = torch.zeros(rows, classes, requires_grad=True)
    limit = _LARGEST_GRADIENT * gradient_of(F.cross_entropy(zeros, labels), zeros).norm().item()
    for name, teacher in _TEACHERS.items():
        for logits in _flat_students(rows, classes):
            student, target, right = placed((logits, teacher(labels, classes), labels), device, dtype)
            norm = gradient_of(case(student, target, right), student).double().norm().item()
            where = f"{rows} rows, {classes} classes, {dtype}, {name} teacher"
            require(norm <= limit, f"{where}: got a gradient of {norm:.3g}, expected at most {limit:.3g}")


def bounded(case: LossCase, device: Device, dtype: torch.dtype) -> None:
    """Has a first gradient of at most 50 times that of cross-entropy, however little the student's logits vary."""
    for classes in (2, 10, 100):
        for rows in (1, 16):
            _bounded_for(case, rows, classes, device, dtype)
    for kind in HALF:
        _bounded_for(case, 16, 10, device, kind)
