"""The tasks that recipes and ``Distiller`` name: packaged, from plug-ins, or registered."""

import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from limbeck.errors import UserError, shortened, unknown_name
from limbeck.registry import Registry
from limbeck.tasks.base import Task
from limbeck.tasks.classification import Classification
from limbeck.tasks.detection import Detection
from limbeck.tasks.multilabel import MultiLabel
from limbeck.tasks.segmentation import Segmentation
from limbeck.validation import arguments


def _adopted(name: str, found: object) -> type[Task]:
    if inspect.isclass(found) and issubclass(found, Task):
        return found
    raise UserError(f"task {shortened(name)}: got {shortened(found)}, expected a class of limbeck.tasks.Task")


_BUILT_IN: Mapping[str, type[Task]] = MappingProxyType(
    {
        "classification": Classification,
        "detection": Detection,
        "multilabel": MultiLabel,
        "segmentation": Segmentation,
    }
)
REGISTRY: Registry[type[Task]] = Registry(
    "task", "limbeck.tasks", lambda: _BUILT_IN, _adopted, forms=("python:MODULE:CLASS",)
)
"""The tasks by name; :func:`register` adds to them for this process, installed plug-ins for every process."""


def names() -> tuple[str, ...]:
    """List the tasks.

    Example:
        >>> names()
        ('classification', 'detection', 'multilabel', 'segmentation')
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


def create(task: str | Task, num_classes: int | None = None, **options: Any) -> Task:
    """Make a task by its name; one that is made already is returned as it is.

    Args:
        task: A task, or the name of one: packaged, registered, of a plug-in, or ``python:MODULE:CLASS``.
        num_classes: The number of classes, where it is known.
        **options: Further arguments of the task's class, such as ``ignore_index`` of segmentation.

    Raises:
        UserError: If there is none of that name, or it does not take an option.

    Example:
        >>> create("classification", 10).num_classes
        10
    """
    if isinstance(task, Task):
        return task
    return REGISTRY.get(task)(num_classes, **check_options(task, options))


def check_options(task: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as a task's class takes them, once it is checked that there is one of that name.

    Raises:
        UserError: If there is none, it does not take an option, or a value is of another type.

    Example:
        >>> check_options("segmentation", {"ignore": 11})
        Traceback (most recent call last):
        limbeck.errors.UserError: task segmentation: unknown option 'ignore'; did you mean 'ignore_index'? ...
    """
    parameters = inspect.signature(REGISTRY.get(task)).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return arguments(REGISTRY.get(task), options, "task")
    known = [p.name for p in parameters if p.kind is not p.VAR_POSITIONAL and p.name != "num_classes"]
    for option in options:
        if option not in known:
            raise UserError(f"task {shortened(task, quoted=False)}: {unknown_name('option', option, known)}")
    return arguments(REGISTRY.get(task), options, "task")
