"""The teacher that a distiller is given, as its method needs it."""

from torch import nn

from limbeck.distiller.checks import check_apart, class_count
from limbeck.errors import UserError
from limbeck.methods import Method
from limbeck.tasks import Task
from limbeck.teachers import LiveTeacher, Teacher, VirtualTeacher

_NEEDED = {
    "any": "pass teacher=, a trained network",
    "live": "pass teacher=, a trained network",
    "self": "pass teacher=, a trained copy of the student",
    "lightweight": "pass teacher=LightweightTeacher(train_lightweight(num_classes)) from limbeck.teachers",
}


def given_teacher(
    method: Method, teacher: nn.Module | None, task: Task, student: nn.Module, num_classes: int | None
) -> Teacher | None:
    """Return a method's teacher, made of what was given; None for a method without one.

    Args:
        method: The method.
        teacher: A network, a teacher, or None.
        task: Calls a network.
        student: It must share nothing with the teacher.
        num_classes: Number of classes, if it is known.

    Raises:
        UserError: If the method lacks its teacher, or that shares modules or parameters with the student.

    Example:
        >>> import limbeck
        >>> from limbeck.tasks import Classification
        >>> given_teacher(limbeck.methods.create("none"), nn.Linear(2, 2), Classification(), nn.Linear(2, 2), 2)
    """
    if method.teacher is None:
        return None
    if teacher is None and method.teacher == "virtual":
        teacher = VirtualTeacher(class_count(num_classes, task, student))
    if teacher is None:
        raise UserError(f"method {method.name!r}: needs a teacher, {_NEEDED[method.teacher]}")
    check_apart(student, teacher)
    task.check_teacher(student, teacher)
    return teacher if isinstance(teacher, Teacher) else LiveTeacher(teacher, call=task.call)
