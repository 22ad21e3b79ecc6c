"""Read recipes: packaged ones, YAML files, mappings, and ``key=value`` overrides."""

import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from limbeck.errors import UserError, unknown_name
from limbeck.runs.recipe import Recipe
from limbeck.training.settings import named
from limbeck.validation import validated


def packaged() -> tuple[str, ...]:
    """List the packaged recipes.

    Example:
        >>> "quickstart" in packaged()
        True
    """
    folder = resources.files("limbeck.recipes")
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")))


def read_recipe(source: str | Path) -> tuple[str, str]:
    """Return the name and the text of a recipe: of a YAML file, or of a packaged one.

    Raises:
        UserError: If there is none.

    Example:
        >>> read_recipe("quickstart")[0]
        'quickstart'
    """
    path = Path(source)
    if path.is_file():
        try:
            return path.stem, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise UserError(f"recipe {source}: is no text in UTF-8, expected YAML") from None
    if str(source) in packaged():
        return str(source), (resources.files("limbeck.recipes") / f"{source}.yaml").read_text()
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        raise UserError(f"recipe {source}: no such file; packaged recipes: {', '.join(packaged())}")
    raise unknown_name("recipe", source, packaged())


class _Loader(yaml.SafeLoader):
    """YAML as people write it: 5e-4 is a number, which YAML 1.1 without a dot takes for a word."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+"), list("-+.0123456789")
)


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except ValueError as error:
        raise UserError(f"{where}: no valid YAML ({error})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(f"{where}{place}: no valid YAML ({problem})") from None


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    *groups, last = key.split(".")
    for group in groups:
        inside = values.get(group)
        values[group] = dict(inside) if isinstance(inside, Mapping) else ({} if inside is None else named(inside))
        values = values[group]
        if not isinstance(values, dict):
            raise UserError(f"{key}={value}: {group} holds {values!r}, expected a group of settings")
    inside = values.get(last)
    # A plain word for a group replaces its name and leaves the rest, as `data=cifar10` should not drop `data.root`.
    if isinstance(inside, Mapping) and isinstance(value, str) and "name" in inside:
        values[last] = {**inside, "name": value}
    else:
        values[last] = value


def parse_overrides(pairs: Sequence[str]) -> dict[str, Any]:
    """Read ``key=value`` words; values are YAML.

    Raises:
        UserError: If a word has no ``=`` or no key.

    Example:
        >>> parse_overrides(["training.epochs=5", "data.augment.flip=true"])
        {'training.epochs': 5, 'data.augment.flip': True}
        >>> parse_overrides(["student=timm:"])
        {'student': 'timm:'}
    """
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UserError(f"{pair!r}: expected key=value, such as training.epochs=5")
        # To YAML a word with a colon at its end is a key without a value; a user means a name that is not finished.
        found[key] = value if value.endswith(":") else _parse(value, pair)
    return found


def load_recipe(source: str | Path | Mapping[str, Any] | Recipe, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read and validate a recipe.

    Args:
        source: A YAML file, the name of a packaged recipe, a mapping, or a recipe.
        overrides: Values by dotted key, such as ``{"training.epochs": 5}``.

    Returns:
        The recipe.

    Raises:
        UserError: If there is no such recipe, or a key or value in it is wrong; the line names key, value and what is
            expected.

    Example:
        >>> load_recipe("quickstart", {"seed": 3}).seed
        3
    """
    if isinstance(source, Recipe):
        values: Any = source.model_dump(mode="json")
    elif isinstance(source, Mapping):
        values = dict(source)
    else:
        stem, text = read_recipe(source)
        values = _parse(text, str(source))
        if not isinstance(values, dict):
            raise UserError(f"recipe {source}: got {type(values).__name__}, expected keys such as data and student")
        values.setdefault("name", stem)
    for key, value in (overrides or {}).items():
        _set(values, key, value)
    return validated(Recipe, values)


def dump_recipe(recipe: Recipe) -> str:
    """Write a recipe as YAML, with every default in it.

    Example:
        >>> "epochs:" in dump_recipe(load_recipe("quickstart"))
        True
    """
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
