"""Resume a run with the defaults that it began with: what a newer version has otherwise is named."""

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

from limbeck.errors import UserError
from limbeck.recipes.schema import Recipe
from limbeck.runs.changed_defaults import Recorded, at, first_default, in_words, put, recorded
from limbeck.runs.folder import RunFolder
from limbeck.runs.resuming import differences, meaning, method_meaning, stored_recipe
from limbeck.validation import validated

_METHOD = "method."


def continued(folder: RunFolder, recipe: Recipe) -> tuple[Recipe, tuple[str, ...]]:
    """Return a recipe with the defaults that the run in a folder began with, and a line for each that has changed.

    A key that neither this recipe nor that of the run gives has the run's value, also where the default is another one
    by now; a key that either gives is left to :func:`limbeck.runs.resuming.check_same`, which refuses another value.

    Args:
        folder: The folder; without a run in it the recipe stays as it is.
        recipe: What is to be resumed there.

    Raises:
        UserError: If the recipe there cannot be read, or gave a setting that does not exist any more.

    Example:
        >>> from limbeck.runs import load_recipe
        >>> continued(RunFolder("nowhere"), load_recipe("quickstart"))[1]
        ()
    """
    kept, lines = kept_defaults(folder, recipe)
    return with_values(recipe, kept), lines


def with_values(recipe: Recipe, kept: Mapping[str, Any]) -> Recipe:
    """Return a recipe with further values by dotted key.

    Example:
        >>> from limbeck.runs import load_recipe
        >>> with_values(load_recipe("quickstart"), {"training.clip_norm": 2.0}).training.clip_norm
        2.0
    """
    if not kept:
        return recipe
    values = recipe.model_dump(mode="json", exclude_unset=True)
    for key, value in kept.items():
        put(values, key, value)
    return validated(Recipe, values)


def kept_defaults(folder: RunFolder, recipe: Recipe) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the values of the run in a folder that were defaults, and are others now; and the lines of both.

    Args:
        folder: The folder; without a run in it there are none.
        recipe: What is to be resumed there.

    Raises:
        UserError: As for :func:`continued`.
    """
    if not folder.begun or not (folder.path / "recipe.yaml").is_file():
        return {}, ()
    provenance = folder.read_provenance()
    record = recorded(provenance)
    stored, gone = stored_recipe(folder)
    if record.method is not None and stored.method.name == recipe.method.name:
        settings = method_meaning(recipe)
        gone |= {f"{_METHOD}{key}": value for key, value in record.method.items() if key not in settings}
    lines = [*_gone_lines(folder, gone, record), *_new_lines(stored, recipe, record)]
    same_version = (provenance or {}).get("versions", {}).get("limbeck") == version("limbeck")
    # Without a record of what was given, the defaults of this very version cannot have changed.
    taken = {} if record.given is None and same_version else dict(_taken(folder, stored, recipe, record))
    for key, (before, now) in taken.items():
        lines.append(f"{key}: the default is {in_words(now)}, was {in_words(before)} in the run, which keeps it")
    return {key: before for key, (before, _) in taken.items()}, tuple(lines)


def _gone_lines(folder: RunFolder, gone: dict[str, Any], record: Recorded) -> Iterator[str]:
    for key, value in gone.items():
        if record.given is not None and any(name == key or name.startswith(f"{key}.") for name in record.given):
            got = f"the run in {folder.path} has {in_words(value)}, which is no setting any more"
            raise UserError(f"{key}: {got}; expected the version that it began with, or --overwrite to begin again")
        yield f"{key}: is no setting any more, was {in_words(value)} in the run"


def _new_lines(stored: Recipe, recipe: Recipe, record: Recorded) -> Iterator[str]:
    present, now, method = meaning(recipe), recipe.model_dump(mode="json"), record.method
    new = {}
    for key in present:
        if key.startswith(_METHOD):
            if method is not None and key != "method.name" and key.removeprefix(_METHOD) not in method:
                new[key] = present[key]
        elif (path := first_default(stored, key)) is not None:
            new[path] = at(now, path)
    for key, value in new.items():
        yield f"new since the run began: {key} = {in_words(value)}"


def _taken(
    folder: RunFolder, stored: Recipe, recipe: Recipe, record: Recorded
) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Yield the keys that are defaults now and were defaults then, with the value of the run and the present one."""
    before, now = stored.model_dump(mode="json"), recipe.model_dump(mode="json")
    found = differences(folder, stored, recipe)
    if stored.training.epochs != recipe.training.epochs:
        found["training.epochs"] = (stored.training.epochs, recipe.training.epochs)
    for key, (former, present) in found.items():
        if key.startswith(_METHOD):
            if former is not None and present is not None and _is_default_of_method(key, recipe, record):
                yield key, (former, present)
        elif (path := first_default(recipe, key)) is not None and not _was_given(path, record):
            values = at(before, path), at(now, path)
            if values[0] != values[1]:
                yield path, values


def _was_given(path: str, record: Recorded) -> bool:
    return record.given is not None and any(key == path or key.startswith(f"{path}.") for key in record.given)


def _is_default_of_method(key: str, recipe: Recipe, record: Recorded) -> bool:
    # A setting of a composition stands under its method, or beside the name.
    if key == "method.name":
        return "method" not in recipe.model_fields_set and not _was_given("method", record)
    _, *groups, last = key.split(".")
    names = {last, *groups[:1]}
    given = {name.split(".")[1] for name in record.given or () if name.startswith(_METHOD)}
    return not names & (recipe.method.model_fields_set | given)
