"""Checks of a distiller: finite logits, networks that share nothing, the number of classes."""

from collections.abc import Mapping
from itertools import chain

from torch import Tensor, nn

from limbeck.errors import RunError, UserError
from limbeck.rows import Rows
from limbeck.tasks import Task


def check_finite_logits(logits: Tensor, whose: str) -> None:
    """Raise ``RunError`` if logits have nan or inf.

    Example:
        >>> import torch
        >>> check_finite_logits(torch.tensor([[1.], [torch.nan]]), "the student's logits")
        Traceback (most recent call last):
        limbeck.errors.RunError: the student's logits: nan or inf in 1 of the batch's 2 rows (1)
    """
    rows = (~logits.detach().isfinite()).any(dim=1).nonzero()[:, 0].tolist()
    if rows:
        listed = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
        raise RunError(f"{whose}: nan or inf in {len(rows)} of the batch's {len(logits)} rows ({listed})")


def check_student_rows(heads: Mapping[str, Rows], *, check_finite: bool) -> None:
    """Raise ``RunError`` if the student's logits have nan or inf, where that is to be checked.

    Example:
        >>> import torch
        >>> check_student_rows({"main": Rows(torch.tensor([[torch.nan]]))}, check_finite=False)
    """
    for rows in heads.values() if check_finite else ():
        check_finite_logits(rows.logits, "the student's logits")


def check_apart(student: nn.Module, teacher: nn.Module) -> None:
    """Raise ``UserError`` if the teacher shares a module, parameter or buffer with the student.

    Example:
        >>> student = nn.Linear(2, 2)
        >>> check_apart(student, student)
        Traceback (most recent call last):
        limbeck.errors.UserError: teacher: got the student itself, expected another network or a copy (copy.deepcopy)
    """
    expected = "expected another network or a copy (copy.deepcopy)"
    if teacher is student:
        raise UserError(f"teacher: got the student itself, {expected}")
    student_parts = {id(part) for part in chain(student.modules(), student.parameters(), student.buffers())}
    teacher_parts = chain(teacher.named_modules(), teacher.named_parameters(), teacher.named_buffers())
    shared = next((name for name, part in teacher_parts if id(part) in student_parts), None)
    if shared is not None:
        what = f"shares {shared!r} with the student" if shared else "is a part of the student"
        raise UserError(f"teacher: {what}, which would be frozen with it; {expected}")


def class_count(num_classes: int | None, task: Task, student: nn.Module) -> int:
    """Return the number of a row's logits: the task's, the given one, or that of the student's last linear layer.

    Raises:
        UserError: If there is none of these.

    Example:
        >>> from limbeck.tasks import Classification
        >>> class_count(None, Classification(), nn.Linear(8, 3))
        3
    """
    widths = [module.out_features for module in student.modules() if isinstance(module, nn.Linear)]
    count = task.row_classes or num_classes or next(reversed(widths), None)
    if count is None:
        raise UserError("num_classes: not given, and the student has no linear layer that has it")
    return count
