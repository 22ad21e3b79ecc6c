"""Checks of a run whose task runs networks part by part, the teacher on what the student found."""

import copy

import torch
from torch import nn

from limbeck.build.context import Context
from limbeck.build.task import row_classes
from limbeck.build.teacher_settings import in_train_mode
from limbeck.distiller.modes import evaluating
from limbeck.errors import UserError
from limbeck.teachers import VirtualTeacher


def check_by_parts(context: Context, student: nn.Module) -> None:
    """Check that a run does nothing that needs a teacher's output before the student's.

    Args:
        context: The run.
        student: Its student.

    Raises:
        UserError: If it measures or averages teachers, scores the training set by networks, or the teacher is
            in train mode or not one that can be paired with the student.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> context = Context(load_recipe("quickstart"))
        >>> check_by_parts(context, context.student().module)
    """
    if not context.task.by_parts:
        return
    _check_teacher(context, student)
    method = context.method
    for key, needing in (("tame", method.taming), ("weigh", method.weighing)):
        if needing is not None and needing.needs_measuring:
            expected = f"expected {key} with numbers given"
            raise UserError(
                f"method {method.name!r}: {key} measures the teacher before training, {_why(context)}, {expected}"
            )
    if method.selection is not None and method.selection.scorer != "random":
        got = f"scorer: got {method.selection.scorer!r}, which needs logits of the training set"
        raise UserError(f"method {method.name!r}: {got}, {_why(context)}, expected random")


def _check_teacher(context: Context, student: nn.Module) -> None:
    teacher = context.recipe.teacher
    if context.source in ("lightweight", "virtual"):
        # Either is a table of logits for each class.
        context.task.check_teacher(student, VirtualTeacher(row_classes(context.task, context.data)))
    if context.source != "live":
        return
    if teacher.members:
        raise UserError(f"teacher.members: got {len(teacher.members)}, {_why(context)}, expected one network")
    if in_train_mode(context.recipe):
        expected = "expected false: a detector in train mode returns losses"
        raise UserError(f"teacher.train_mode: got true in task {context.task.name!r}, {expected}")
    network = context.teacher_network("teacher").module
    context.task.check_teacher(student, network)
    _check_together(context, student, network)


def _check_together(context: Context, student: nn.Module, teacher: nn.Module) -> None:
    """Run the teacher on what a copy of the student finds in blank samples."""
    task, blank, trial = context.task, context.data.example(2), copy.deepcopy(student).train()
    with torch.no_grad(), torch.random.fork_rng(devices=[]), evaluating(teacher):
        task.call(teacher, task.teacher_inputs(blank, task.call(trial, blank)))


def _why(context: Context) -> str:
    return f"but in task {context.task.name!r} the teacher is run on what the student finds"
