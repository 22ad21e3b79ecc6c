"""Resume a comparison with the defaults that it began with."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from limbeck.recipes.schema import Recipe
from limbeck.reporting import Log
from limbeck.runs.attempts import Planned
from limbeck.runs.comparison_folder import ComparisonFolder
from limbeck.runs.continued import continued, kept_defaults, with_values

Plan = Callable[[Recipe, Path], list[Planned]]


def continued_plans(recipe: Recipe, folder: ComparisonFolder, plan: Plan, log: Log) -> tuple[Recipe, list[Planned]]:
    """Plan the runs of a comparison, with the defaults that the one to be resumed began with.

    Args:
        recipe: The recipe of the comparison.
        folder: Its folder.
        plan: Plans the runs of a recipe in a folder.
        log: Called with a line for each default that has changed since.

    Returns:
        The recipe, and its runs.

    Raises:
        UserError: If the folder cannot be used, or a run in it cannot be resumed by this version.
    """
    plans = plan(recipe, folder.path)
    folder.check()
    begun = next((planned for planned in plans if planned.folder.begun), None)
    if not folder.resume or begun is None:
        return recipe, plans
    kept, lines = kept_defaults(begun.folder, begun.recipe)
    # What the first run keeps of its method is its own.
    recipe = with_values(recipe, {key: value for key, value in kept.items() if not key.startswith("method.")})
    found = [(planned, *continued(planned.folder, planned.recipe)) for planned in plan(recipe, folder.path)]
    for line in dict.fromkeys((*lines, *(line for _, _, more in found for line in more))):
        log(line)
    return recipe, [replace(planned, recipe=own) for planned, own, _ in found]
