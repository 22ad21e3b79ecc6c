"""Whether a run's data and task have what its trainings choose on."""

from limbeck.build.context import Context
from limbeck.errors import UserError
from limbeck.training.keeping import check_choosing


def check_choices(context: Context) -> None:
    """Check what the student's training chooses on the validation split.

    Args:
        context: The run.

    Raises:
        UserError: If there is no validation split, the task's primary metric has no direction, or its outputs are not
            logits that a temperature could divide.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> check_choices(Context(load_recipe("quickstart", {"training.patience": 3})))
        Traceback (most recent call last):
        limbeck.errors.UserError: training.patience: got 3, but fashion_mnist_sample has no validation split; ex...
    """
    task, training = context.task, context.recipe.training
    if training.temperature_scaling and task.by_parts:
        got = f"training.temperature_scaling: got true, but outputs of task {task.name!r} are no logits"
        raise UserError(f"{got}, expected false")
    check_choosing(training, task.primary, _without_validation(context))


def check_teacher_choices(context: Context) -> None:
    """Check what the trainings of a live teacher's networks choose on the validation split; see :func:`check_choices`.

    Args:
        context: The run, with a live teacher.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> check_teacher_choices(Context(load_recipe("quickstart")))
    """
    for key, settings in context.teacher_settings.items():
        if settings.training is not None:
            metric = context.task.primary
            check_choosing(settings.training, metric, _without_validation(context), f"{key}.training")


def _without_validation(context: Context) -> str | None:
    return context.data.name if context.data.validation is None else None
