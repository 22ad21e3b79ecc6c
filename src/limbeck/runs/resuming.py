"""Whether and how a run resumes in its folder: recipes are compared by what they mean."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from limbeck.build.teacher_settings import teacher_settings
from limbeck.errors import UserError, shortened
from limbeck.recipes.schema import Recipe
from limbeck.runs.changed_defaults import readable, recorded
from limbeck.runs.folder import RunFolder
from limbeck.training.settings import WITHOUT_EFFECT

# Keys that change no number, or are compared by their content (see provenance.py).
_NOT_COMPARED = frozenset(
    {
        "name",
        "output",
        "compare",
        "search",
        "ray",
        "data.root",
        "data.download",
        "data.workers",
        "data.skip_bad",
        "student.weights",
        "teacher.weights",
        "teacher.precision",
        "teacher.device",
        "teacher.cache",
        "teacher.cache_limit_gb",
        "training.device",
        "training.precision",
        "training.channels_last",
        # What counts is the batch of all processes, see ``of_all_processes``.
        "training.batch_of",
        *(f"training.{key}" for key in WITHOUT_EFFECT),
        *(f"teacher.training.{key}" for key in WITHOUT_EFFECT),
    }
)
_FOLLOW_THE_EPOCHS = frozenset({"cosine", "one_cycle", "linear"})
_SHOWN = 60


@dataclass(frozen=True)
class Start:
    """How a run begins in its folder.

    Attributes:
        resume: From the checkpoint there, not from the first epoch.
        clear: What is in the folder is deleted first.
        extends: How many epochs the run there was to have, if the recipe has more now.
        notes: Lines for the log.

    Example:
        >>> Start().resume
        False
    """

    resume: bool = False
    clear: bool = False
    extends: int | None = None
    notes: tuple[str, ...] = ()

    def noting(self, line: str) -> "Start":
        """Return the same with a line more."""
        return replace(self, notes=(*self.notes, line))


def decide_start(folder: RunFolder, recipe: Recipe, *, resume: bool, overwrite: bool) -> Start:
    """Decide how a run begins in a folder that no other process uses.

    Args:
        folder: The folder.
        recipe: What is to be run there.
        resume: Whether a run that is there is resumed.
        overwrite: Whether a run that is there is replaced.

    Raises:
        UserError: If the folder holds files that are not of a run, or a run, and what to do with it was not given; or
            if it holds a run of another meaning than the one to be resumed.

    Example:
        >>> from limbeck.runs import load_recipe
        >>> decide_start(RunFolder("nowhere"), load_recipe("quickstart"), resume=True, overwrite=False)
        Start(resume=False, clear=True, extends=None, notes=())
    """
    if not folder.begun or overwrite:
        folder.check_no_foreign_files()
    if not folder.begun:
        # The checkpoint of a proxy of the same run may be there alone.
        return Start(clear=not (resume and _is_same(folder, recipe)))
    if overwrite:
        return Start(clear=True, notes=("replaces the run that was in this folder",))
    if not resume:
        raise UserError(
            f"{folder.path}: already holds a run, expected another --out, or --resume to continue it, or --overwrite"
            " to replace it"
        )
    stored = check_same(folder, recipe)
    if not folder.resumable:
        return Start(notes=("no checkpoint is there, so the run begins again",))
    notes = _epochs_note(stored, recipe)
    return Start(resume=True, extends=stored.training.epochs if notes else None, notes=notes)


def is_complete(folder: RunFolder, recipe: Recipe) -> bool:
    """Return whether a folder holds a complete run of a recipe: of as many epochs, or ended early by its patience.

    Raises:
        UserError: If it holds a complete run of another meaning.

    Example:
        >>> from limbeck.runs import load_recipe
        >>> is_complete(RunFolder("nowhere"), load_recipe("quickstart"))
        False
    """
    if not folder.finished:
        return False
    return check_same(folder, recipe).training.epochs == recipe.training.epochs or folder.ended_early


def check_same(folder: RunFolder, recipe: Recipe) -> Recipe:
    """Compare a recipe to that of the run in a folder, by what they mean, and return the stored one.

    Settings that change no number may differ, and the recipe may have more epochs.

    Raises:
        UserError: If another key differs; the line names it, with both values.
    """
    stored, _ = stored_recipe(folder)
    differing = differences(folder, stored, recipe)
    if differing:
        key, (before, now) = next(iter(differing.items()))
        more = f" (and {len(differing) - 1} more)" if len(differing) > 1 else ""
        expected = "expected the same to resume, another --out, or --overwrite to replace it"
        raise UserError(f"{key}: the run in {folder.path} has {_shown(before)}, got {_shown(now)}{more}; {expected}")
    _check_epochs(stored, recipe, folder.path)
    return stored


def stored_recipe(folder: RunFolder) -> tuple[Recipe, dict[str, Any]]:
    """Read the recipe of the run in a folder, and the keys of it that are no settings any more.

    Raises:
        UserError: If it cannot be read.
    """
    values = folder.read_recipe()
    try:
        # For comparison only: what it names is not imported, and what it was compared with does not count.
        return readable({key: value for key, value in values.items() if key != "compare"})
    except UserError as error:
        expected = "expected the recipe of a run of this version; --overwrite replaces the run"
        raise UserError(f"{folder.path / 'recipe.yaml'}: cannot be read ({error}), {expected}") from None


def _is_same(folder: RunFolder, recipe: Recipe) -> bool:
    try:
        return not differences(folder, stored_recipe(folder)[0], recipe)
    except UserError:
        return False


def differences(folder: RunFolder, stored: Recipe, recipe: Recipe) -> dict[str, tuple[Any, Any]]:
    """Return the keys in which a recipe differs from that of the run in a folder, with both values.

    Args:
        folder: The folder, which records the settings of the run's method that were defaults.
        stored: The recipe of the run.
        recipe: The recipe to compare.
    """
    before, now = meaning(stored), meaning(recipe)
    method = recorded(folder.read_provenance()).method
    if method is not None and before["method.name"] == now["method.name"]:
        # A setting that the method did not have then, or has no more, is named elsewhere.
        before |= {key: method.get(key.removeprefix("method."), value) for key, value in before.items()}
        before |= {f"method.{key}": method[key] for key in method if f"method.{key}" in now}
    keys = dict.fromkeys([*now, *before])
    return {key: (before.get(key), now.get(key)) for key in keys if before.get(key) != now.get(key)}


def _is_setting_of_method(key: str) -> bool:
    return key.startswith("method.") and key != "method.name"


def method_meaning(recipe: Recipe) -> dict[str, Any]:
    """Return the settings of a recipe's method with their defaults, as flat keys.

    Example:
        >>> from limbeck.runs import load_recipe
        >>> method_meaning(load_recipe("quickstart", {"method": "ttm"}))
        {'temperature': 10.0, 'beta': 45.0, 'ce_weight': 1.0}
    """
    values = meaning(recipe)
    return {key.removeprefix("method."): value for key, value in values.items() if _is_setting_of_method(key)}


def meaning(recipe: Recipe) -> dict[str, Any]:
    """Return what decides a run's numbers, as flat keys; ``training.epochs`` is left out, since it may grow.

    Example:
        >>> from limbeck.runs import load_recipe
        >>> kd, explicit = (load_recipe("quickstart", {"method": m}) for m in ("kd", {"name": "kd", "temperature": 4}))
        >>> meaning(kd) == meaning(explicit), meaning(kd)["method.temperature"]
        (True, 4.0)
    """
    values = recipe.model_dump(mode="json")
    values["teacher"], values["method"] = _teacher(recipe, values["teacher"]), _method(recipe)
    del values["training"]["epochs"]
    plain = json.loads(json.dumps(values, default=str))
    return {key: value for key, value in flat(plain) if not _is_not_compared(key)} | _measured_epochs(recipe)


def _measured_epochs(recipe: Recipe) -> dict[str, Any]:
    """Return how often trainings that choose an epoch are measured: only the measured ones are compared."""
    trainings = {"training": recipe.training}
    if recipe.source() == "live":
        trainings |= {f"{key}.training": s.training for key, s in teacher_settings(recipe).items() if s.training}
    return {f"{key}.evaluate_every": value.evaluate_every for key, value in trainings.items() if value.chooses}


def _teacher(recipe: Recipe, values: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that the kind of teacher of the run depends on."""
    source = recipe.source()
    if values["cache"] == "off":
        # What a cache stores in float32 is what the teacher computes.
        values |= {"cache_dtype": "float32", "cache_top_k": None}
    match source:
        case "live":
            keys = set(values) - {"source", "lightweight"}
        case "self":
            keys = {"seed", "layers", "cache_dtype", "cache_top_k"}
        case "lightweight":
            keys = {"seed", "lightweight"}
        case _:
            keys = set()
    return {"source": source, **{key: value for key, value in values.items() if key in keys}}


def _method(recipe: Recipe) -> dict[str, Any]:
    """Return the name, and every setting with its value: defaults count as if they were written."""
    method = recipe.method.composed
    settings = {
        # Without several processes ``gather`` changes nothing, and its default was another one before.
        token: {key: value for key, value in values.items() if not isinstance(value, Path) and key != "gather"}
        for token, values in method.settings.items()
    }
    return {"name": method.name, **(settings if len(settings) > 1 else next(iter(settings.values())))}


def flat(values: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values in nested dicts and lists with their dotted keys; an empty dict or list counts as a value.

    Example:
        >>> list(flat({"data": {"size": [28, 32]}}))
        [('data.size.0', 28), ('data.size.1', 32)]
    """
    group = dict(enumerate(values)) if isinstance(values, list) else values
    if not isinstance(group, dict) or not group:
        yield key, values
        return
    for name, value in group.items():
        yield from flat(value, f"{key}.{name}" if key else str(name))


def _is_not_compared(key: str) -> bool:
    parts = key.split(".")
    # A member of several teachers is set as a teacher alone is.
    if parts[:2] == ["teacher", "members"]:
        parts = ["teacher", *parts[3:]]
    return any(".".join(parts[:length]) in _NOT_COMPARED for length in range(1, len(parts) + 1))


def _check_epochs(stored: Recipe, recipe: Recipe, folder: Path) -> None:
    before, now = stored.training.epochs, recipe.training.epochs
    if now < before:
        raise UserError(f"training.epochs: the run in {folder} has {before}, got {now}; expected at least as many")
    if now > before and recipe.source() == "self":
        why = f"{before}, since its self-teacher is trained for as many"
        raise UserError(f"training.epochs: the run in {folder} has {before}, got {now}; expected {why}")


def _epochs_note(stored: Recipe, recipe: Recipe) -> tuple[str, ...]:
    before, now, schedule = stored.training.epochs, recipe.training.epochs, recipe.training.schedule.name
    if now == before:
        return ()
    line = f"training.epochs: {now} instead of {before}"
    if schedule in _FOLLOW_THE_EPOCHS:
        line += f"; from here on the learning rate follows the {schedule} schedule of {now} epochs"
    return (line,)


def _shown(value: Any) -> str:
    return "nothing" if value is None else shortened(value, _SHOWN, quoted=False)
