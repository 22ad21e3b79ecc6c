"""``training.batch_size: auto`` of a comparison: one number for all of its runs."""

from collections.abc import Sequence
from dataclasses import replace

from limbeck.build.batch_size import with_batch_size
from limbeck.build.context import Context
from limbeck.build.shared import Shared
from limbeck.recipes.schema import Recipe
from limbeck.reporting import Log
from limbeck.runs.attempts import Planned
from limbeck.runs.comparison_folder import ComparisonFolder
from limbeck.runs.found_batch import with_number


def plans_with_number(
    recipe: Recipe, plans: Sequence[Planned], folder: ComparisonFolder, log: Log, jobs: int
) -> tuple[Recipe, list[Planned]]:
    """Return a comparison's recipe and runs with a number as their batch size, found for the largest of its methods.

    Args:
        recipe: The comparison's recipe.
        plans: Its runs.
        folder: Its folder.
        log: As for :func:`with_number`.
        jobs: As for that.

    Raises:
        UserError: As for :func:`with_number`.
        RunError: As for that.
    """

    def contexts() -> list[Context]:
        shared, of_method = Shared(), {plan.name: plan.recipe for plan in reversed(plans)}
        return [Context(first, shared) for first in of_method.values()]

    found = with_number(recipe, folder.path, contexts, log, resume=folder.resume, jobs=jobs)
    size = found.training.batch_size
    return found, [replace(plan, recipe=with_batch_size(plan.recipe, size)) for plan in plans]
