"""A run by a version with other defaults: which keys of a recipe its user gave, and what is new, changed or gone."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from limbeck.errors import UserError, shortened
from limbeck.recipes.schema import Recipe
from limbeck.validation import validated

_GROUP = "recipe"
_UNKNOWN = "extra_forbidden"


class Recorded(NamedTuple):
    """What a run's folder records of its recipe beside the values.

    Attributes:
        given: The keys that the user gave; None where a former version recorded none.
        method: The settings of the method with those that were defaults, as flat keys; None likewise.
    """

    given: frozenset[str] | None = None
    method: Mapping[str, Any] | None = None


def record_of(recipe: Recipe, method: Mapping[str, Any]) -> dict[str, Any]:
    """Return the group of ``provenance.json`` that :func:`recorded` reads.

    Args:
        recipe: The run's recipe.
        method: The flat settings of its method.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> recipe = load_recipe({"data": "digits", "student": "resnet8", "seed": 3})
        >>> record_of(recipe, {})["recipe"]["given"]
        ['data.name', 'student.name', 'seed']
    """
    return {_GROUP: {"given": list(given_keys(recipe)), "method": dict(method)}}


def recorded(provenance: Mapping[str, Any] | None) -> Recorded:
    """Read what :func:`record_of` wrote.

    Example:
        >>> recorded({"recipe": {"given": ["seed"], "method": {}}}).given
        frozenset({'seed'})
    """
    group = (provenance or {}).get(_GROUP, {})
    given, method = group.get("given"), group.get("method")
    return Recorded(
        frozenset(map(str, given)) if isinstance(given, list) else None, method if isinstance(method, dict) else None
    )


def given_keys(settings: BaseModel, key: str = "") -> Iterator[str]:
    """Yield the dotted keys that were given; a default counts as none, whatever its value.

    Example:
        >>> from limbeck.training import TrainingSettings
        >>> list(given_keys(TrainingSettings(optimizer={"lr": 0.1}, epochs=3)))
        ['epochs', 'optimizer.lr']
    """
    names = [*type(settings).model_fields, *(settings.model_extra or {})]
    for name in (name for name in names if name in settings.model_fields_set):
        path, value = (f"{key}.{name}" if key else name), getattr(settings, name)
        if isinstance(value, BaseModel):
            yield from given_keys(value, path)
        else:
            yield path


def first_default(settings: BaseModel, key: str) -> str | None:
    """Return how much of a dotted key names a default: up to its first part that was not given; None if all were.

    Example:
        >>> from limbeck.training import TrainingSettings
        >>> training = TrainingSettings(schedule={"name": "linear"})
        >>> [first_default(training, key) for key in ("schedule.name", "schedule.min_lr", "optimizer.lr")]
        [None, 'schedule.min_lr', 'optimizer']
    """
    parts = key.split(".")
    value: Any = settings
    for place, part in enumerate(parts):
        if isinstance(value, BaseModel):
            if part not in value.model_fields_set:
                return ".".join(parts[: place + 1])
            value = getattr(value, part)
        elif isinstance(value, list | tuple) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return None


def readable(values: Mapping[str, Any]) -> tuple[Recipe, dict[str, Any]]:
    """Read the recipe of a run that an earlier version may have written.

    Args:
        values: What its file holds.

    Returns:
        The recipe, and the keys that are no settings any more with their values.

    Raises:
        UserError: If a value is no valid one any more.

    Example:
        >>> values = {"data": "digits", "student": "resnet8", "training": {"epochs": 3, "speed": 9}}
        >>> recipe, gone = readable(values)
        >>> recipe.training.epochs, gone
        (3, {'training.speed': 9})
    """
    values, gone = _copied(values), {}
    while path := _unknown(values):
        *groups, last = path
        group: Any = values
        for part in groups:
            group = group[part]
        gone[".".join(map(str, path))] = group.pop(last)
    return validated(Recipe, values), gone


def _copied(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {key: _copied(value) for key, value in values.items()}
    return [_copied(value) for value in values] if isinstance(values, list) else values


def _unknown(values: Mapping[str, Any]) -> tuple[int | str, ...] | None:
    """Return the place of a key that is no setting; None if there is none, or if it is not one that can be left out."""
    try:
        Recipe.model_validate(values)
    except ValidationError as error:
        for entry in error.errors(include_url=False):
            if entry["type"] == _UNKNOWN and _is_there(values, entry["loc"]):
                return entry["loc"]
    except UserError:
        return None
    return None


def _is_there(values: Any, path: tuple[int | str, ...]) -> bool:
    # Names of union members and of types appear in the path of a finding too.
    for part in path:
        present = range(len(values)) if isinstance(values, list) else values if isinstance(values, dict) else ()
        if part not in present:
            return False
        values = values[part]
    return True


def at(values: Mapping[str, Any], key: str) -> Any:
    """Return the value at a dotted key of nested dicts and lists; None where there is none.

    Example:
        >>> at({"data": {"size": [28, 32]}}, "data.size.1")
        32
    """
    found: Any = values
    for part in key.split("."):
        if isinstance(found, list) and part.isdigit() and int(part) < len(found):
            found = found[int(part)]
        else:
            found = found.get(part) if isinstance(found, Mapping) else None
    return found


def put(values: dict[str, Any], key: str, value: Any) -> None:
    """Set the value at a dotted key of nested dicts and lists, which are there.

    Example:
        >>> values = {"data": {"size": 28}}
        >>> put(values, "data.size", 32)
        >>> values
        {'data': {'size': 32}}
    """
    *groups, last = key.split(".")
    group: Any = values
    for part in groups:
        group = group[int(part)] if isinstance(group, list) else group.setdefault(part, {})
    group[int(last) if isinstance(group, list) else last] = value


def in_words(value: Any) -> str:
    """Return a value for a line.

    Example:
        >>> in_words(None), in_words(0.5)
        ('nothing', '0.5')
    """
    return "nothing" if value is None else shortened(value, 60, quoted=False)
