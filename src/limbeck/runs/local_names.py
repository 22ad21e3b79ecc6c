"""Names that are registered in this process alone: worker processes do not import the running script."""

import re

from limbeck.data.registry import REGISTRY as DATA
from limbeck.methods.registry import REGISTRY as METHODS
from limbeck.models.factory import REGISTRY as MODELS
from limbeck.recipes.schema import Recipe
from limbeck.runs.resuming import flat
from limbeck.tasks.registry import REGISTRY as TASKS

_REGISTRIES = (DATA, METHODS, MODELS, TASKS)


def local_names(recipe: Recipe) -> list[str]:
    """List the names in a comparison that were registered by a call in this process, such as ``methods.register``.

    Args:
        recipe: The comparison's recipe.

    Returns:
        The names in alphabetical order.

    Example:
        >>> from limbeck.runs import load_recipe
        >>> local_names(load_recipe("quickstart"))
        []
    """
    registered = frozenset[str]().union(*(registry.local_names() for registry in _REGISTRIES))
    groups = {"task", "data", "teacher", "student"}
    values = [recipe.model_dump(mode="json", include=groups & Recipe.model_fields.keys()), list(recipe.compare.methods)]
    # The parts of a composition, without a label.
    return sorted({part for _, value in flat(values) for part in re.split(r"[+@]", str(value))} & registered)
