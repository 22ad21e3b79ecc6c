"""``training.batch_size: auto`` of a run and of a comparison: found once, and recorded as a number."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from limbeck.build.batch_size import find_batch_size, is_auto, with_batch_size
from limbeck.build.context import Context
from limbeck.recipes.schema import Recipe
from limbeck.reporting import Log


def with_number(
    recipe: Recipe, folder: Path, contexts: Callable[[], Sequence[Context]], log: Log, *, resume: bool, jobs: int = 1
) -> Recipe:
    """Return a recipe with a number as its batch size: that of the folder which is resumed, else the one found now.

    Args:
        recipe: With a number already, or ``auto``.
        folder: Of the run or the comparison.
        contexts: Returns the runs that it is found for.
        log: Called with one line about the number.
        resume: Whether what is in the folder is continued.
        jobs: How many runs at a time share the memory.

    Raises:
        UserError: As for :func:`limbeck.build.batch_size.find_batch_size`.
        RunError: As for that.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> recipe = load_recipe("quickstart")
        >>> with_number(recipe, Path("runs"), list, print, resume=False) is recipe
        True
    """
    if not is_auto(recipe):
        return recipe
    stored = _stored(folder) if resume else None
    if stored is not None:
        log(f"training.batch_size: auto is {stored}, as found before")
        return with_batch_size(recipe, stored)
    return with_batch_size(recipe, find_batch_size(contexts(), log, share=1 / jobs))


def _stored(folder: Path) -> int | None:
    try:
        values: Any = yaml.safe_load((folder / "recipe.yaml").read_bytes())
        size = values["training"]["batch_size"]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError):
        return None
    return size if isinstance(size, int) and size > 0 else None
