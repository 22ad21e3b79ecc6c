"""The tasks that recipes and ``Distiller`` name: packaged, from plug-ins, or registered."""

import inspect

from limbeck.errors import UserError, shortened
from limbeck.registry import Registry
from limbeck.tasks.base import Task
from limbeck.tasks.classification import Classification
from limbeck.tasks.multilabel import MultiLabel


def _adopted(name: str, found: object) -> type[Task]:
    if inspect.isclass(found) and issubclass(found, Task):
        return found
    raise UserError(f"task {shortened(name)}: got {shortened(found)}, expected a class of limbeck.tasks.Task")


REGISTRY: Registry[type[Task]] = Registry(
    "task",
    "limbeck.tasks",
    lambda: {"classification": Classification, "multilabel": MultiLabel},
    _adopted,
    forms=("python:MODULE:CLASS",),
)
"""The tasks by name; :func:`register` adds to them for this process, installed plug-ins for every process."""


def names() -> tuple[str, ...]:
    """List the tasks.

    Example:
        >>> names()
        ('classification', 'multilabel')
    """
    return REGISTRY.names()


def register(name: str, task: type[Task], *, replace: bool = False) -> None:
    """Add a task under a name for this process.

    An installed package adds one for every process, by an entry point of the group ``limbeck.tasks``.

    Args:
        name: Letters, digits, ``_`` and ``-``, beginning with a letter.
        task: The class of the task.
        replace: Whether it may take the place of another one.

    Raises:
        UserError: If the name is malformed or taken, or the task is no such class.

    Example:
        >>> register("classification", Classification)
        Traceback (most recent call last):
        limbeck.errors.UserError: task 'classification': the name is taken, expected another name or replace=True
    """
    REGISTRY.register(name, _adopted(name, task), replace=replace)


def create(task: str | Task, num_classes: int | None = None) -> Task:
    """Make a task by its name; one that is made already is returned as it is.

    Args:
        task: A task, or the name of one: packaged, registered, of a plug-in, or ``python:MODULE:CLASS``.
        num_classes: The number of classes, where it is known.

    Raises:
        UserError: If there is none of that name.

    Example:
        >>> create("classification", 10).num_classes
        10
    """
    return task if isinstance(task, Task) else REGISTRY.get(task)(num_classes)
