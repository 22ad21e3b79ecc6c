"""The runs of a comparison: their seeds, and the recipe of each."""

from limbeck.errors import UserError
from limbeck.recipes.method_settings import CompareSettings, MethodSettings, without_label
from limbeck.recipes.schema import Recipe
from limbeck.recipes.search_settings import SearchSettings

_NO_COMPARISON, _NO_SEARCH = CompareSettings(), SearchSettings()


def check_seeds(recipe: Recipe) -> None:
    """Raise ``UserError`` if a comparison has more seeds than there are from the recipe's on.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> check_seeds(load_recipe("quickstart", {"seed": 2**32 - 1, "compare.seeds": 2}))
        Traceback (most recent call last):
        limbeck.errors.UserError: compare.seeds: got 2 from seed 4294967295 on, expected seeds below 4294967296
    """
    seeds = recipe.compare.seeds
    if recipe.seed + seeds > 2**32:
        raise UserError(f"compare.seeds: got {seeds} from seed {recipe.seed} on, expected seeds below {2**32}")


def method_recipe(recipe: Recipe, name: str, seed: int) -> Recipe:
    """Return the recipe of a comparison's run.

    Args:
        recipe: That of the comparison.
        name: The method, with the label that it has there.
        seed: The run's seed.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> method_recipe(load_recipe("quickstart"), "kd", 3).method.name
        'kd'
    """
    # A run does not depend on what it is compared with, which may change when the comparison is resumed.
    changes = {"method": _method(recipe, name), "seed": seed, "compare": _NO_COMPARISON, "search": _NO_SEARCH}
    return _with_labels(recipe.model_copy(update=changes))


def _with_labels(recipe: Recipe) -> Recipe:
    """Leave ``data.unlabeled`` out of the run of a method without a network as teacher: the baseline with labels."""
    if recipe.source() in ("live", "self"):
        return recipe
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"unlabeled": None})})


def _method(recipe: Recipe, name: str) -> MethodSettings:
    # Settings of the recipe's method hold here too, except for the keys that the comparison sets otherwise.
    settings = recipe.method.model_extra if recipe.method.name == without_label(name) else None
    return recipe.compare.method(name, settings)
