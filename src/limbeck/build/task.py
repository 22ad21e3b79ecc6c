"""The task of a run."""

from limbeck import tasks
from limbeck.data import Data
from limbeck.recipes.schema import Recipe
from limbeck.tasks import Task


def task_of(recipe: Recipe, data: Data) -> Task:
    """Return the task that a run's networks are trained for and measured by.

    Args:
        recipe: The run's recipe.
        data: Its data, which has the classes.

    Raises:
        UserError: If the task does not take one of its settings.
    """
    task = tasks.create(recipe.task.name, len(data.classes), **recipe.task.options)
    task.class_names = data.classes
    return task


def row_classes(task: Task, data: Data) -> int:
    """Return the number of logits of a task's rows on some data.

    Example:
        >>> from limbeck.data import load
        >>> row_classes(tasks.Classification(10), load("fashion_mnist_sample", train_limit=10))
        10
    """
    return task.row_classes or len(data.classes)
