"""The tasks that recipes and ``Distiller`` name."""

from limbeck.errors import unknown_name
from limbeck.tasks.base import Task
from limbeck.tasks.classification import Classification

_TASKS: dict[str, type[Task]] = {"classification": Classification}


def names() -> tuple[str, ...]:
    """List the tasks.

    Example:
        >>> names()
        ('classification',)
    """
    return tuple(_TASKS)


def register(name: str, task: type[Task]) -> None:
    """Add a task under a name."""
    _TASKS[name] = task


def create(task: str | Task, num_classes: int | None = None) -> Task:
    """Make a task by its name; one that is made already is returned as it is.

    Raises:
        UserError: If there is none of that name.

    Example:
        >>> create("classification", 10).num_classes
        10
    """
    if isinstance(task, Task):
        return task
    if task not in _TASKS:
        raise unknown_name("task", task, _TASKS)
    return _TASKS[task](num_classes)
