"""Students that are trained with labels alone, to be compared with a teacher, and kept beside trained teachers."""

from torch import nn

from limbeck import models
from limbeck.build.reporting import Reporting
from limbeck.build.teacher_training import Trained, trained
from limbeck.data import Data
from limbeck.errors import RunError
from limbeck.recipes.network_settings import NetworkTeacherSettings
from limbeck.recipes.schema import Recipe
from limbeck.training import TrainingSettings


def label_student_settings(recipe: Recipe, training: TrainingSettings, seed: int) -> NetworkTeacherSettings:
    """Return the settings of the recipe's student as a network that is trained before the run.

    Args:
        recipe: The run's recipe.
        training: How it is trained.
        seed: Of its initial weights and its training.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> recipe = load_recipe("quickstart")
        >>> label_student_settings(recipe, recipe.training, 3).name
        'resnet8'
    """
    student = recipe.student
    return NetworkTeacherSettings(
        name=student.name,
        options=student.options,
        weights=student.weights,
        weights_entry=student.weights_entry,
        freeze=student.freeze,
        training=training,
        seed=seed,
    )


def train_on_labels(
    recipe: Recipe, settings: NetworkTeacherSettings, network: nn.Module, data: Data, reporting: Reporting, role: str
) -> Trained:
    """Train a network with labels alone, unless that has been done before, and leave it in eval mode.

    Args:
        recipe: The run's recipe.
        settings: The network's.
        network: The network before the training; it gets the trained weights.
        data: What it learns from.
        reporting: Where lines and progress go.
        role: What it is called in lines.

    Raises:
        UserError: If the settings do not fit the data, or what is kept is damaged.
        RunError: If the training fails.
    """
    try:
        done = trained(recipe, settings, network, data, reporting, role=role)
    except RunError as error:
        raise RunError(f"{role}: {error}") from error
    models.load_weights(network, done.folder / "teacher.safetensors", name=role)
    network.eval()
    return done
