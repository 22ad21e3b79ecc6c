"""Recipes from packaged ones, YAML files, mappings, and ``key=value`` overrides."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from limbeck.errors import UserError, shortened
from limbeck.recipes.packaged import read_recipe
from limbeck.recipes.parsing import check_values, parse_yaml
from limbeck.recipes.schema import Recipe
from limbeck.recipes.trust import check_trust
from limbeck.training.settings import named
from limbeck.validation import validated

_MAX_KEY_PARTS = 10


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    # Settings belong to their method: `method=kd` is kd with kd's defaults.
    key = "method" if key == "method.name" else key
    if key == "method" and isinstance(value, str):
        values["method"] = {"name": value}
        return
    *groups, last = key.split(".")
    if len(groups) >= _MAX_KEY_PARTS:
        raise UserError(f"{shortened(key, quoted=False)}: expected a key of at most {_MAX_KEY_PARTS} parts")
    got = f"{key}={shortened(value, quoted=False)}"
    for group in groups:
        former = values.get(group)
        values[group] = dict(former) if isinstance(former, Mapping) else ({} if former is None else named(former))
        values = values[group]
        if not isinstance(values, dict):
            raise UserError(f"{got}: {group} holds {shortened(values)}, expected a group of settings")
    former = values.get(last)
    # Text for a group replaces its name and leaves the rest, as `data=cifar10` should not drop `data.root`.
    if isinstance(former, Mapping) and isinstance(value, str) and "name" in former:
        values[last] = {**former, "name": value}
    else:
        values[last] = value


def parse_overrides(pairs: Sequence[str]) -> dict[str, Any]:
    """Read ``key=value`` pairs; values are YAML.

    Raises:
        UserError: If a pair has no ``=`` or no key.

    Example:
        >>> parse_overrides(["training.epochs=5", "data.augment.flip=true"])
        {'training.epochs': 5, 'data.augment.flip': True}
        >>> parse_overrides(["student=timm:"])
        {'student': 'timm:'}
    """
    values = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UserError(f"{shortened(pair)}: expected key=value, such as training.epochs=5")
        # In YAML text with a colon at its end is a key without a value; here it is an incomplete name.
        values[key] = value if value.endswith(":") else parse_yaml(value, pair)
    return values


def load_recipe(
    source: str | Path | Mapping[str, Any] | Recipe,
    overrides: Mapping[str, Any] | None = None,
    *,
    trust: bool = False,
) -> Recipe:
    """Read and validate a recipe; this runs no code that it names.

    Args:
        source: A YAML file, the name of a packaged recipe, a mapping, or a recipe.
        overrides: Values by dotted key, such as ``{"training.epochs": 5}``. A method by its name alone has that
            method's own defaults, whatever the recipe sets for its method.
        trust: Whether the recipe may name any ``python:`` function; without it see
            :func:`limbeck.recipes.trust.check_trust`.

    Returns:
        The recipe.

    Raises:
        UserError: If there is no such recipe, a key or value in it is wrong, or it names code that it must not run; the
            line names key, value and what is expected.

    Example:
        >>> load_recipe("quickstart", {"seed": 3}).seed
        3
    """
    values = _values(source)
    # Groups before their keys, so that `method.temperature=2 method=kd` is the same in either order.
    for key, value in sorted((overrides or {}).items(), key=lambda pair: pair[0].count(".")):
        _set(values, key, value)
    check_values(values, "recipe")
    recipe = validated(Recipe, values)
    if not trust:
        check_trust(recipe, source, overrides or {})
    return recipe


def _values(source: str | Path | Mapping[str, Any] | Recipe) -> dict[str, Any]:
    if isinstance(source, Recipe):
        return source.model_dump(mode="json")
    if isinstance(source, Mapping):
        return dict(source)
    stem, text = read_recipe(source)
    values = parse_yaml(text, str(source))
    if not isinstance(values, dict):
        name = shortened(str(source), quoted=False)
        raise UserError(f"recipe {name}: got {type(values).__name__}, expected keys such as data and student")
    return {"name": stem, **values}


def dump_recipe(recipe: Recipe) -> str:
    """Write a recipe as YAML, with every default in it.

    Example:
        >>> "epochs:" in dump_recipe(load_recipe("quickstart"))
        True
    """
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
