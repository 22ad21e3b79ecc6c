"""The arguments of a distiller for methods that compare features."""

from typing import Any

from limbeck.data import Data
from limbeck.recipes.schema import Recipe


def feature_arguments(recipe: Recipe, data: Data) -> dict[str, Any]:
    """Return the arguments of :class:`limbeck.Distiller` that methods which compare features need.

    Args:
        recipe: Names the layers, or leaves them to be suggested.
        data: The data; a loss with a memory needs its number of training images.

    Returns:
        ``student_layers``, ``teacher_layers``, ``example`` and ``num_samples``.

    Example:
        >>> from limbeck.data import load
        >>> from limbeck.recipes.loading import load_recipe
        >>> arguments = feature_arguments(load_recipe("quickstart"), load("fashion_mnist_sample", train_limit=100))
        >>> arguments["num_samples"], arguments["example"].shape
        (100, torch.Size([2, 1, 28, 28]))
    """
    return {
        "student_layers": recipe.student.layers,
        "teacher_layers": recipe.teacher.layers,
        "example": data.example(2),
        "num_samples": len(data.train),
    }
