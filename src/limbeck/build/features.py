"""What a recipe says about the features that its method compares, and whether that fits the networks."""

from typing import Any

import torch
from torch import nn

from limbeck.build.networks import create_network, input_adapter
from limbeck.data import Data
from limbeck.distiller.features import FeatureOptions, FeaturePairs
from limbeck.errors import UserError
from limbeck.recipes.schema import Recipe
from limbeck.teachers import LiveTeacher


def feature_arguments(recipe: Recipe, data: Data) -> dict[str, Any]:
    """Return the arguments of :class:`limbeck.Distiller` that methods which compare features need.

    Args:
        recipe: Names the layers, or leaves them to be suggested.
        data: The data; its number of training images is what a loss with a memory must know.

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
        "example": torch.zeros(2, *data.shape),
        "num_samples": len(data.train),
    }


def check_features(recipe: Recipe, student: nn.Module, data: Data) -> None:
    """Look whether the networks have the features that the recipe's method compares, without training anything.

    Raises:
        UserError: If the teacher is no single network, layers are unknown or cannot be suggested, or a loss cannot
            compare them.
    """
    method = recipe.method.create()
    terms = [term for term in method.terms if term.features]
    if not terms:
        return
    source = recipe.source()
    if source not in ("live", "self") or recipe.teacher.members:
        got = "several" if recipe.teacher.members else f"a {source} teacher"
        raise UserError(f"method {method.name!r}: compares features, needs one network as teacher, got {got}")
    settings = recipe.student if source == "self" else recipe.teacher
    network = create_network(settings, data, role="teacher", seed=0)
    adapter = input_adapter(recipe.teacher, data) if source == "live" else None
    sources = FeatureOptions(**{**feature_arguments(recipe, data), "num_samples": 1})
    feature_pairs = FeaturePairs(method, student, LiveTeacher(network, adapter=adapter), sources)
    for term in terms:
        feature_pairs.build(term)
