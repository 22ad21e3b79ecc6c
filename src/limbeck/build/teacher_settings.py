"""The networks of a recipe's live or self-teacher: their settings and precisions, without any network."""

from limbeck.errors import UserError
from limbeck.precision import Precision
from limbeck.randomness.hashing import derived_seed
from limbeck.recipes.network_settings import NetworkTeacherSettings
from limbeck.recipes.schema import Recipe
from limbeck.training import resolve_device, resolve_precision

_SELF_TEACHER_STREAM = 3


def teacher_settings(recipe: Recipe) -> dict[str, NetworkTeacherSettings]:
    """Return the settings of each network of a recipe's live or self-teacher, by the key that they stand under.

    Empty for other sources of logits.

    Raises:
        UserError: If a self-teacher stands beside a student with weights.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> [(key, settings.name) for key, settings in teacher_settings(load_recipe("quickstart")).items()]
        [('teacher', 'resnet8x4')]
    """
    match recipe.source():
        case "live" if recipe.teacher.members:
            return {f"teacher.members.{number}": member for number, member in enumerate(recipe.teacher.members)}
        case "live":
            return {"teacher": recipe.teacher}
        case "self":
            return {"teacher": _self_settings(recipe)}
        case _:
            return {}


def _self_settings(recipe: Recipe) -> NetworkTeacherSettings:
    student = recipe.student
    if student.weights is not None:
        raise UserError(
            "student.weights: got a file, expected none beside a self-teacher, which is trained from scratch"
        )
    return NetworkTeacherSettings(
        name=student.name,
        options=student.options,
        # A teacher's logits are used as they are.
        training=recipe.training.model_copy(update={"temperature_scaling": False}),
        # Another seed than the student's: from the same one the student would repeat its teacher's training.
        seed=derived_seed(recipe.teacher.seed, _SELF_TEACHER_STREAM) % 2**32,
        precision=recipe.teacher.precision,
    )


def answer_precision(recipe: Recipe, settings: NetworkTeacherSettings, key: str) -> Precision:
    """Return the precision that a teacher's network computes its logits in.

    Args:
        recipe: The run's recipe.
        settings: The network's settings.
        key: The recipe's key of the network, for messages.

    Raises:
        UserError: If the device lacks the precision.
    """
    precision, key = settings.precision, f"{key}.precision"
    if precision == "auto":
        precision, key = recipe.training.precision, "training.precision"
    return resolve_precision(precision, resolve_device(recipe.training.device), key=key)


def precision_by_network(recipe: Recipe) -> dict[str, Precision]:
    """Return the precision that each network of a recipe's live or self-teacher computes its logits in, by its key.

    Empty for other sources of logits.

    Raises:
        UserError: If the device lacks one of them.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> precision_by_network(load_recipe("quickstart", {"teacher.precision": "fp32"}))
        {'teacher': 'fp32'}
    """
    return {key: answer_precision(recipe, settings, key) for key, settings in teacher_settings(recipe).items()}


def teacher_precisions(recipe: Recipe) -> list[Precision]:
    """List the precisions that the networks of a recipe's live or self-teacher compute in, each once.

    Raises:
        UserError: If the device lacks one of them.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> teacher_precisions(load_recipe("quickstart", {"teacher.precision": "fp32"}))
        ['fp32']
    """
    return list(dict.fromkeys(precision_by_network(recipe).values()))


def in_train_mode(recipe: Recipe) -> bool:
    """Return whether a network of a recipe's teacher is in train mode, so that its logits change with the batch.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> in_train_mode(load_recipe("quickstart"))
        False
    """
    return any(settings.train_mode for settings in teacher_settings(recipe).values())
