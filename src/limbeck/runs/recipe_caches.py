"""The logit caches of a recipe: one for all seeds, or one for each."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from limbeck.build.caching import RunCache, expected_spec, is_cached, logits_folder, stored_shape, why_uncached
from limbeck.build.context import Context
from limbeck.build.reporting import Reporting
from limbeck.build.shared import Shared
from limbeck.build.teachers import build_teacher, is_trained
from limbeck.errors import UserError
from limbeck.recipes.loading import load_recipe
from limbeck.recipes.schema import Recipe
from limbeck.recipes.trust import check_imports_nothing
from limbeck.reporting import Log

Source = str | Path | Mapping[str, Any] | Recipe
Overrides = Mapping[str, Any] | None


def cached_recipe(recipe: Source, overrides: Overrides, *, trust: bool = False, only_reads: bool = False) -> Recipe:
    """Load a recipe whose runs have a logit cache.

    Args:
        recipe: As for :func:`limbeck.runs.cache_commands.build_cache`.
        overrides: Values by dotted key.
        trust: Whether the recipe may name any ``python:`` function.
        only_reads: Whether nothing that it names is imported, so that no trust is needed.

    Raises:
        UserError: If it cannot be used, or its runs have none.

    Example:
        >>> cached_recipe("quickstart", {"method": "kd"}).teacher.cache
        'views'
    """
    recipe = load_recipe(recipe, overrides, trust=trust or only_reads)
    if only_reads:
        check_imports_nothing(recipe, "cache info and clear")
    if recipe.teacher.cache == "off":
        raise UserError("teacher.cache: got 'off', expected views or epochs, such as teacher.cache=views")
    if not is_cached(recipe):
        raise UserError(f"teacher.cache: nothing to store, as {why_uncached(recipe)}")
    return recipe


def contexts_of(recipe: Recipe, seeds: int) -> list[Context]:
    """Return a context for each cache that runs of the recipe with so many seeds have.

    Raises:
        UserError: If there are no seeds.

    Example:
        >>> len(contexts_of(cached_recipe("quickstart", None), seeds=3))
        1
    """
    if seeds < 1:
        raise UserError(f"seeds: got {seeds}, expected a whole number of at least 1")
    by_seed = recipe.teacher.cache == "epochs" and recipe.data.view_seed is None
    count, shared = seeds if by_seed else 1, Shared(keep_teachers=True)
    copies = (recipe.model_copy(update={"seed": recipe.seed + number}) for number in range(count))
    return [Context(copy, shared) for copy in copies]


def opened_cache(context: Context, reporting: Reporting) -> RunCache:
    """Open a cache after making its teacher, which is trained if it is not there; the cache is made likewise.

    Raises:
        UserError: If either is not possible.
        RunError: If the training fails.
    """
    return RunCache.open(context, build_teacher(context, reporting).teacher, reporting.log)


def existing_caches(recipe: Recipe, seeds: int, log: Log) -> Iterator[tuple[Context, Path]]:
    """Yield a recipe's caches that are there, and log the size of those that are not.

    Raises:
        UserError: If anything that the recipe names cannot be used.
    """
    for context in contexts_of(recipe, seeds):
        # A teacher that is not trained yet has no cache.
        teacher = build_teacher(context, Reporting()).teacher if is_trained(context) else None
        spec = expected_spec(context.recipe, context.data, teacher, stored_shape(context))
        folder = logits_folder(recipe) / spec.key
        if teacher is not None and folder.is_dir():
            yield context, folder
        else:
            log(f"logit cache: not there yet, would be {spec.estimate}")
