"""Which code a recipe may name: ``python:`` runs it, so a recipe from elsewhere must not choose it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from limbeck.errors import UserError, shortened
from limbeck.imports import check_trusted, python_names
from limbeck.recipes.packaged import recipe_file
from limbeck.recipes.parsing import leaves
from limbeck.recipes.schema import Recipe


def check_trust(recipe: Recipe, source: object, overrides: Mapping[str, Any]) -> None:
    """Refuse every ``python:`` name that is not the user's own code, chosen by the user; nothing is imported.

    Such a name is allowed where its module lies in the current working folder, and it was chosen there too: by a recipe
    file in that folder or below it, by a mapping given from Python, or by an override.

    Args:
        recipe: The recipe, overrides included.
        source: What it was read from: a file, the name of a packaged one, a mapping or a recipe.
        overrides: What the user set beside it.

    Raises:
        UserError: If it names other code.

    Example:
        >>> recipe = {"data": "mnist", "student": "python:os:system"}
        >>> check_trust(Recipe.model_validate(recipe), recipe, {})
        Traceback (most recent call last):
        limbeck.errors.UserError: student.name: got 'python:os:system', but the working folder ... has no module ...
    """
    is_local, overridden = _is_local(source), {name for _, name in _names(dict(overrides))}
    for key, name in _names(recipe.model_dump(mode="json")):
        check_trusted(key, name, chosen_here=is_local or name in overridden, holder="recipe")


def check_imports_nothing(recipe: Recipe, command: str) -> None:
    """Refuse a recipe whose task, data, method or teacher is a ``python:`` name, for a command that only reads.

    Raises:
        UserError: If task, data, method or teacher could not be made without importing the user's code.

    Example:
        >>> check_imports_nothing(Recipe.model_validate({"data": "mnist", "student": "resnet8"}), "cache info")
    """
    for group in ("task", "data", "method"):
        _refuse_names(recipe, group, command)
    _refuse_names(recipe, "student" if recipe.source() == "self" else "teacher", command)


def _refuse_names(recipe: Recipe, group: str, command: str) -> None:
    for key, name in _names(recipe.model_dump(mode="json", include={group})):
        got = f"{command}: {key}: got {shortened(name)}"
        raise UserError(f"{got}, which this never imports; expected no recipe, which covers all caches")


def _is_local(source: object) -> bool:
    if not isinstance(source, str | Path):
        return True
    file = recipe_file(source)
    return file is None or file.resolve().is_relative_to(Path.cwd().resolve())


def _names(value: Any) -> Iterator[tuple[str, str]]:
    return ((key, name) for key, leaf in leaves(value) if isinstance(leaf, str) for name in python_names(leaf))
