"""What a run began with beside its recipe: data, code, files and versions, compared when the run is resumed."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from limbeck.build.context import Context
from limbeck.build.origins import network_origin
from limbeck.build.teacher_settings import precision_by_network
from limbeck.errors import UserError
from limbeck.files import file_digest
from limbeck.methods import Method
from limbeck.runs.folder import RunFolder
from limbeck.runs.machine import all_versions, environment, machine, switches
from limbeck.training import decide

# The groups in which a change is an error, and the text of the error; elsewhere a change is a warning.
_DECIDES = {
    "data": "the {name} images are not those",
    "code": "the code of the {name} is not that",
    "files": "the content of {name} is not that",
    "training": "{name} is not that",
    "precision": "{name} is not that",
}


class Change(NamedTuple):
    """One value that is not as when the run began.

    Attributes:
        group: Such as ``"data"``.
        name: What of the group, such as ``"train"``.
        before: The stored value; None if there was none.
        now: The present value; None if there is none.
    """

    group: str
    name: str
    before: Any
    now: Any


def provenance(context: Context, student: nn.Module) -> dict[str, Any]:
    """Describe what a run begins with.

    Args:
        context: The run.
        student: Its student.

    Returns:
        Groups of values, which JSON can hold.

    Raises:
        UserError: If the teacher's network cannot be made, or the device or a precision is missing.
    """
    recipe, data = context.recipe, context.data
    origins = {"student": network_origin(student, recipe.student), **context.live_origins()}
    weights = {f"{role}.weights": origin.weights for role, origin in origins.items() if origin.weights is not None}
    training = decide(recipe.training, student, data.example(2))
    return {
        "data": dict(data.fingerprints),
        "code": {role: origin.code for role, origin in origins.items()},
        "files": {**weights, **dict(_method_files(context.method))},
        "training": training.model_dump(mode="json", include={"device", "precision", "channels_last"}),
        "precision": {f"{role}.precision": precision for role, precision in precision_by_network(recipe).items()},
        "seeds": _seeds(context),
        "versions": all_versions(),
        "threads": {"number": torch.get_num_threads()},
        "machine": machine(torch.device(training.device)),
        "environment": environment(),
        "switches": switches(),
    }


def _seeds(context: Context) -> dict[str, int]:
    recipe = context.recipe
    of_teachers = {f"{key}.seed": settings.seed for key, settings in context.teacher_settings.items()}
    shared = {"teacher.seed": recipe.teacher.seed} if context.source == "lightweight" else {}
    of_data = {"data.split_seed": recipe.data.split_seed, "data.view_seed": recipe.view_seed}
    return {"seed": recipe.seed, **of_data, **shared, **of_teachers}


def _method_files(method: Method) -> Iterator[tuple[str, str]]:
    for token, settings in method.settings.items():
        for key, value in settings.items():
            if isinstance(value, Path):
                yield f"method.{token}.{key}", file_digest(value) if value.is_file() else str(value)


def check_provenance(folder: RunFolder, present: Mapping[str, Any]) -> list[str]:
    """Compare what the run in a folder began with to what it would be resumed with.

    Args:
        folder: The run's folder.
        present: The present provenance.

    Returns:
        A line for each change that may alter the numbers a little, such as another version of a package, or for a
        provenance that is lost.

    Raises:
        UserError: If data, code, a file, the device, a precision or the memory format changed.

    Example:
        >>> check_provenance(RunFolder("runs/kd"), {})
        ['runs/kd: no provenance.json there, so that changed data or code would go unnoticed']
    """
    stored = folder.read_provenance()
    if stored is None:
        return [f"{folder.path}: no provenance.json there, so that changed data or code would go unnoticed"]
    changed = [change for change in changes(stored, present) if _matters(change)]
    for change in changed:
        if change.group in _DECIDES:
            raise UserError(_refusal(change, folder.path))
    return [
        f"{change.group}.{change.name}: the run in {folder.path} began with {change.before}, got {change.now}; the"
        " numbers may differ slightly"
        for change in changed
    ]


def _matters(change: Change) -> bool:
    # Seeds are compared with the recipe, and what the variables of threads do as the number of threads.
    return change.group != "seeds" and not change.name.endswith("_NUM_THREADS")


def is_same_start(stored: Mapping[str, Any] | None, present: Mapping[str, Any]) -> bool:
    """Return whether what a run began with is all there still, as far as it was recorded.

    Example:
        >>> is_same_start({"threads": {"number": 1}}, {"threads": {"number": 1}, "machine": {"libc": "glibc 2.39"}})
        True
    """
    return stored is not None and not any(_matters(change) for change in changes(stored, present))


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """List what is not as it was; what an earlier version did not record is left out, unless it decides.

    Example:
        >>> changes({"data": {"train": "a"}}, {"data": {"train": "b"}})
        [Change(group='data', name='train', before='a', now='b')]
    """
    changed = []
    for group, values in now.items():
        stored = before.get(group, {})
        names = dict.fromkeys([*stored, *values] if group in _DECIDES else stored)
        changed += [Change(group, n, stored.get(n), values.get(n)) for n in names if stored.get(n) != values.get(n)]
    return changed


def _refusal(change: Change, folder: Path) -> str:
    what = _DECIDES[change.group].format(name=change.name)
    line = f"{change.group}: {what} with which the run in {folder} began"
    if change.group in ("training", "precision"):
        key = change.name if change.group == "precision" else f"training.{change.name}"
        line = f"{key}: the run in {folder} has {change.before}, got {change.now}"
    return f"{line}; expected the same to resume, or --overwrite to begin again"
