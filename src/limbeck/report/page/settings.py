"""How to repeat what a page shows: the settings that differ from their defaults, and the command."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from limbeck.errors import UserError
from limbeck.imports import PREFIX
from limbeck.recipes.loading import load_recipe
from limbeck.recipes.packaged import packaged
from limbeck.recipes.parsing import leaves
from limbeck.recipes.schema import Recipe


def flat(values: Mapping[str, Any], beginning: str = "") -> dict[str, Any]:
    """Return plain values by dotted key; a list is one value.

    Example:
        >>> flat({"data": {"name": "mnist"}, "seed": 0})
        {'data.name': 'mnist', 'seed': 0}
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{beginning}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return found


def changed(recipe: Mapping[str, Any], *, compared: bool) -> dict[str, str]:
    """Return the settings of a recipe that are not their defaults, as they are written in overrides.

    Args:
        recipe: The recipe of a folder, with every setting.
        compared: Whether it is that of a comparison; a single run has no settings of one.

    Example:
        >>> changed({"data": {"name": "mnist"}, "student": {"name": "resnet8"}, "seed": 3}, compared=False)
        {'data.name': 'mnist', 'student.name': 'resnet8', 'seed': '3'}
    """
    blank = Recipe.model_validate({"data": "-", "student": "-"}).model_dump(mode="json")
    defaults = flat(blank)
    return {
        key: written(value)
        for key, value in flat(recipe).items()
        if (key not in defaults or defaults[key] != value) and (compared or not key.startswith("compare."))
    }


def written(value: Any) -> str:
    """Write a value as YAML and an override take it.

    Example:
        >>> written([1, None]), written("adamw"), written(True), written("true")
        ('[1, null]', 'adamw', 'true', '"true"')
    """
    plain = isinstance(value, str) and value and all(c.isalnum() or c in "_-./:+@" for c in value)
    words = ("true", "false", "null", "yes", "no", "on", "off")
    if plain and value.lower() not in words and not value[0].isdigit() and value[0] not in "-.+@":
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def command(recipe: Mapping[str, Any], folder: Path, *, compared: bool) -> str:
    """Return the command that does a stored run or comparison again.

    That of a packaged recipe names it with what differs; of any other it names the recipe in the folder.

    Args:
        recipe: The recipe of the folder.
        folder: The folder.
        compared: Whether it is that of a comparison.

    Example:
        >>> stored = load_recipe("quickstart", {"training.epochs": 5}).model_dump(mode="json")
        >>> command(stored, Path("runs/demo"), compared=True)
        'limbeck compare quickstart training.epochs=5'
    """
    word = "compare" if compared else "run"
    overrides = _overrides(recipe)
    if overrides is None:
        return shlex.join(["limbeck", word, str(folder / "recipe.yaml")])
    pairs = [f"{key}={written(value)}" for key, value in overrides.items()]
    return shlex.join(["limbeck", word, str(recipe["name"]), *pairs])


def _overrides(recipe: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what makes the recipe of the packaged one of its name; None where there is none, or it is no override."""
    name = recipe.get("name")
    own_code = any(isinstance(leaf, str) and PREFIX in leaf for _, leaf in leaves(recipe))
    if name not in packaged() or own_code:
        return None
    try:
        base, present = flat(load_recipe(name).model_dump(mode="json")), flat(recipe)
        overrides = {key: value for key, value in present.items() if key not in base or base[key] != value}
        again = flat(load_recipe(name, overrides).model_dump(mode="json"))
    except UserError:
        return None
    return overrides if again == present else None
