"""Checks of a loss: values, gradients, types, shapes, weights, the teacher and ``torch.compile``."""

import torch
from torch import Tensor

from limbeck.testing._loss_bounds import finite_at
from limbeck.testing._requirements import HALF, Device, Sides, drawn_sides, gradient_of, placed, require, require_close
from limbeck.testing.loss_case import LossCase

_SHAPES = ((7, 5), (1, 5), (2, 2), (33, 100))


def _expected(case: LossCase, sides: Sides, weight: Tensor | None) -> Tensor:
    student, teacher = (side.detach().double().cpu().numpy() for side in sides[:2])
    counted = torch.ones(len(student)) if weight is None else weight
    value = case.reference(student, teacher, sides[2].cpu().numpy(), counted.double().cpu().numpy())
    return torch.tensor(value, dtype=torch.float64)


def value(case: LossCase, device: Device, dtype: torch.dtype) -> None:
    """Equals the reference, for rows that all count, some of them, or each another amount."""
    for shape in _SHAPES:
        positions = torch.arange(shape[0], device=device)
        for weight in (None, positions % 2 == 0, positions + 0.5):
            for kind, rtol, atol in ((torch.float64, 1e-6, 1e-9), (dtype, 1e-4, 1e-6)):
                sides = placed(drawn_sides(*shape), device, kind)
                where = f"{shape}, {kind}, weight {None if weight is None else weight.tolist()}"
                found = case(*sides, weight).detach().double().cpu()
                require_close(found, _expected(case, sides, weight), where, rtol, atol)


def twin(case: LossCase, device: Device, dtype: torch.dtype) -> None:
    """Equals its module twin to the last bit."""
    sides = placed(drawn_sides(), device, dtype)
    weight = torch.arange(7, device=device) % 3 > 0
    value = case.twin(**case.settings)(*sides, weight) if case.twin else None
    require(value is not None and torch.equal(value, case(*sides, weight)), f"twin: got {value}")


def gradcheck(case: LossCase, device: Device, dtype: torch.dtype) -> None:
    """Has the gradient that finite differences have, in float64."""
    student, teacher, labels = placed(drawn_sides(), device, torch.float64)
    weight = torch.arange(7, dtype=torch.float64, device=device)
    torch.autograd.gradcheck(lambda logits: case(logits, teacher, labels, weight), student)


def half_precision(case: LossCase, device: Device, dtype: torch.dtype) -> None:
    """Computes in float32 whatever the logits' type, and gives the gradient in theirs."""
    for kind in (*HALF, torch.float32):
        student, teacher, labels = placed(drawn_sides(), device, kind)
        loss = case(student, teacher, labels)
        gradient = gradient_of(loss, student)
        require(loss.dtype == torch.float32, f"{kind}: got a loss in {loss.dtype}, expected torch.float32")
        require(gradient.dtype == kind, f"{kind}: got a gradient in {gradient.dtype}")
        wide = student.detach().double().requires_grad_(True)
        expected = case(wide, teacher.double(), labels)
        require_close(loss.detach(), expected.detach(), f"{kind}", 1e-4, 1e-6)
        require_close(gradient, gradient_of(expected, wide), f"gradient in {kind}", 1e-2, 1e-3)


def edge_shapes(case: LossCase, device: Device, dtype: torch.dtype) -> None:
    """Is finite for one row, two classes and, where it makes sense, one class."""
    for shape in ((1, 5), (4, 2), (1, 2), (4, 1)):
        if shape[1] >= case.least_classes:
            finite_at(case, placed(drawn_sides(*shape), device, dtype), f"{shape}")


def no_rows(case: LossCase, device: Device, dtype: torch.dtype) -> None:
    """Is a zero that is tied to the graph for a batch without rows, and where no row counts."""
    for rows, weight in ((0, None), (0, torch.ones(0)), (7, torch.zeros(7)), (7, torch.zeros(7) > 0)):
        student, teacher, labels = placed(drawn_sides(rows), device, dtype)
        loss = case(student, teacher, labels, None if weight is None else weight.to(device))
        require(loss == 0, f"{rows} rows, weight {weight}: got {loss.item()}, expected 0")
        gradient = gradient_of(loss, student)
        require((gradient == 0).all(), f"{rows} rows, weight {weight}: got a gradient that is not 0")


def row_weights(case: LossCase, device: Device, dtype: torch.dtype) -> None:
    """Leaves out rows without weight, whether masked or of weight 0, and ignores the weights' scale."""
    student, teacher, labels = placed(drawn_sides(), device, torch.float64)
    mask = torch.tensor([True, True, False, True, False, True, True], device=device)
    expected = case(student[mask], teacher[mask], labels[mask])
    for weight in (mask, mask.float(), 3 * mask.double()):
        found = case(student, teacher, labels, weight)
        require_close(found.detach(), expected.detach(), f"weight {weight.tolist()}", 1e-6, 1e-9)
        left_out = gradient_of(found, student)[~mask]
        require((left_out == 0).all(), f"weight {weight.tolist()}: got a gradient at rows without weight")


def teacher(case: LossCase, device: Device, dtype: torch.dtype) -> None:
    """Neither writes to the teacher's logits nor gives them a gradient."""
    student, teacher, labels = placed(drawn_sides(), device, dtype)
    before = teacher.clone()
    case(student, teacher.requires_grad_(True), labels).backward()  # type: ignore[no-untyped-call]
    require(torch.equal(teacher, before), "the teacher's logits were written to")
    require(teacher.grad is None, "the teacher's logits have a gradient")


def compiled(case: LossCase, device: Device, dtype: torch.dtype) -> None:
    """Compiles as one graph, with the same value and gradient."""
    torch.compiler.reset()
    compiled = torch.compile(case, fullgraph=True, backend="aot_eager")
    # At logits without spread an unbounded gradient is all rounding.
    for spread in (0.0, 0.5) if case.bounded else (0.5,):
        student, teacher, labels = drawn_sides()
        sides = placed((spread * student, teacher, labels), device, dtype)
        for weight in (None, torch.arange(7, device=device) % 3):
            found, expected = (loss(*sides, weight) for loss in (compiled, case))
            require_close(found.detach(), expected.detach(), f"student times {spread}", 1e-5, 1e-5)
            gradients = [gradient_of(loss, sides[0]) for loss in (found, expected)]
            atol = 1e-5 * (1 + gradients[1].abs().max().item())
            rtol = max(1e-4, torch.finfo(dtype).eps)
            require_close(gradients[0], gradients[1], f"gradient of the student times {spread}", rtol, atol)


def zero_at_teacher(case: LossCase, device: Device, dtype: torch.dtype) -> None:
    """Is zero for a student that equals its teacher."""
    student, _, labels = placed(drawn_sides(), device, dtype)
    loss = case(student, student.detach().clone(), labels)
    require(abs(loss.item()) < 1e-5, f"the student equals its teacher: got {loss.item()}, expected 0")
