"""Read the folders of runs and comparisons, without running anything of them."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from limbeck.errors import UserError
from limbeck.files import expanded
from limbeck.recipes.parsing import read_stored
from limbeck.report.page.about import About

Tensors = Mapping[str, NDArray[Any]]
_PICTURES = ("masks.png", "boxes.png")


@dataclass(frozen=True, eq=False)
class StoredRun:
    """A complete run as its folder holds it.

    Attributes:
        folder: The folder.
        method: The method's name in the table.
        seed: The seed.
        summary: ``summary.json``.
        epochs: ``metrics.csv``, a mapping an epoch; what an epoch lacks is left out.
        recipe: ``recipe.yaml``.
        tensors: ``predictions.safetensors``.
        about: What the numbers mean.
    """

    folder: Path
    method: str
    seed: int
    summary: Mapping[str, Any]
    epochs: Sequence[Mapping[str, float]]
    recipe: Mapping[str, Any]
    tensors: Tensors
    about: About

    def figure(self, name: str) -> float | None:
        """Return a figure on the test split; None where there is none."""
        value = self.summary.get(f"test.{name}")
        return float(value) if isinstance(value, int | float) else None

    @property
    def picture(self) -> Path | None:
        """The picture of masks or boxes, where the run has one."""
        return next((self.folder / name for name in _PICTURES if (self.folder / name).is_file()), None)


@dataclass(frozen=True, eq=False)
class Results:
    """What one part of a page is about: a run, a comparison, or runs on the same data.

    Attributes:
        title: What was trained on what.
        folders: Where the runs are.
        methods: The names of the methods, in their order.
        runs: The complete runs.
        recipe: The recipe that makes them again.
        teachers: The figures of each teacher on the test split, by its name in the table.
        teacher: What is stored of the teacher: ``teacher`` and ``teacher.DETAIL``.
        notes: Lines of the comparison's table.
        failures: Lines on runs that failed, and on what could not be read.
        compared: Whether it is a comparison.
    """

    title: str
    folders: tuple[Path, ...]
    methods: tuple[str, ...]
    runs: tuple[StoredRun, ...]
    recipe: Mapping[str, Any]
    teachers: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    teacher: Tensors = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    compared: bool = False

    @property
    def about(self) -> About:
        """What the numbers mean."""
        return self.runs[0].about

    def of(self, method: str) -> list[StoredRun]:
        """Return the runs of a method, by seed."""
        return sorted((run for run in self.runs if run.method == method), key=lambda run: run.seed)


def read_results(folders: Sequence[str | Path]) -> list[Results]:
    """Read the folders of runs and of comparisons.

    Args:
        folders: The folders. Single runs on the same data become one part.

    Returns:
        The parts of a page.

    Raises:
        UserError: If a folder holds neither a complete run nor a comparison with one.

    Example:
        >>> read_results(["nowhere"])
        Traceback (most recent call last):
        limbeck.errors.UserError: nowhere: holds no complete run and no comparison, expected the folder of one
    """
    if not folders:
        raise UserError("report: got no folder, expected that of a run or of a comparison")
    parts: list[Results] = []
    singles: dict[str, list[StoredRun]] = {}
    for folder in map(Path, folders):
        run = _run(expanded(folder))
        if run is None:
            parts.append(_comparison(expanded(folder)))
        else:
            singles.setdefault(_same_data(run), []).append(run)
    return [*parts, *map(_together, singles.values())]


def _same_data(run: StoredRun) -> str:
    stored = _json(run.folder / "provenance.json").get("data", {})
    test = stored.get("test") if isinstance(stored, dict) else None
    return f"{run.about.task} {run.about.data} {test or run.folder}"


def _comparison(folder: Path) -> Results:
    record, recipe = _record(folder / "comparison.json"), read_stored(folder / "recipe.yaml")
    names_of = {place: name for name, place in record.get("methods", {}).items() if isinstance(place, str)}
    places = [place for place in sorted(folder.glob("*/seed-*")) if (place / "recipe.yaml").is_file()]
    places = [place for place in places if _is_present(place, recipe, names_of)]
    found = {place: _run(place, names_of.get(place.parent.name, place.parent.name)) for place in places}
    runs = tuple(run for run in found.values() if run is not None)
    if not runs:
        table = folder / "final"
        expected = f"{table}, which a search leaves" if (table / "comparison.json").is_file() else "the folder of one"
        raise UserError(f"{folder}: holds no complete run and no comparison, expected {expected}")
    lines = _table_lines(folder / "table.md")
    missing = tuple(f"{p.parent.name}/{p.name}: is not complete and left out" for p, run in found.items() if not run)
    names = list(dict.fromkeys(run.method for run in runs))
    order = list(record.get("methods") or [name for name in _order(folder) if name in names])
    return Results(
        title=str(record.get("title") or (lines[0] if lines else folder.name)),
        folders=(folder,),
        methods=tuple(dict.fromkeys([*order, *names])),
        runs=runs,
        recipe=recipe,
        teachers=_teachers(record, runs),
        teacher=_tensors(folder / "teachers.safetensors") or _teacher_tensors(runs),
        notes=tuple(record.get("notes") or (line.removeprefix("- ") for line in lines[1:] if line.startswith("- "))),
        failures=(*record.get("failures", ()), *missing),
        compared=True,
    )


def _record(path: Path) -> dict[str, Any]:
    """Return what a comparison recorded of itself; an entry that is damaged counts as missing."""
    kinds = {"title": str, "methods": dict, "notes": list, "failures": list, "teachers": dict}
    stored = _json(path)
    found = {name: stored[name] for name in stored if isinstance(stored[name], kinds.get(name, object))}
    lines = {name: [str(line) for line in found[name]] for name in ("notes", "failures") if name in found}
    return found | lines


def _is_present(place: Path, recipe: Mapping[str, Any], folders: Collection[str]) -> bool:
    """Return whether a run is one of the comparison's last call, which may have left methods and seeds out."""
    first, compared = recipe.get("seed"), recipe.get("compare")
    count = compared.get("seeds", 1) if isinstance(compared, dict) else None
    if not folders or not isinstance(first, int) or not isinstance(count, int):
        return True
    seed = place.name.removeprefix("seed-")
    return place.parent.name in folders and seed.isdecimal() and first <= int(seed) < first + count


def _order(folder: Path) -> list[str]:
    compare = read_stored(folder / "recipe.yaml").get("compare", {})
    names = compare.get("methods", ()) if isinstance(compare, dict) else ()
    return [str(name) for name in names] if isinstance(names, list | tuple) else []


def _together(runs: Sequence[StoredRun]) -> Results:
    runs = _distinct(runs)
    first = runs[0]
    student = first.recipe.get("student")
    name = student.get("name") if isinstance(student, dict) else student
    return Results(
        title=f"{name} on {first.about.data}, {first.summary['epoch']} epochs",
        folders=tuple(run.folder for run in runs),
        methods=tuple(dict.fromkeys(run.method for run in runs)),
        runs=tuple(runs),
        recipe=first.recipe,
        teachers=_teachers({}, runs),
        teacher=_teacher_tensors(runs),
        notes=tuple(dict.fromkeys(f"warning: {line}" for run in runs for line in _warnings(run.summary))),
    )


def _warnings(summary: Mapping[str, Any]) -> Sequence[str]:
    stored = summary.get("teacher.warnings")
    return stored if isinstance(stored, list) else ()


def _distinct(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """Name runs of the same method and seed after their folders, too."""
    keys = [(run.method, run.seed) for run in runs]
    return [
        replace(run, method=f"{run.method} ({run.folder.name})") if keys.count(key) > 1 else run
        for run, key in zip(runs, keys, strict=True)
    ]


def _teachers(record: Mapping[str, Any], runs: Sequence[StoredRun]) -> dict[str, dict[str, float]]:
    stored = record.get("teachers")
    if isinstance(stored, dict):
        return {name: figures for name, figures in stored.items() if isinstance(figures, dict)}
    # All runs with the live teacher measured the same one.
    begin = "teacher.test."
    summaries = [run.summary for run in runs if run.summary.get("teacher") == "live"]
    figures = next((s for s in summaries if any(key.startswith(begin) for key in s)), {})
    values = {key.removeprefix(begin): value for key, value in figures.items() if key.startswith(begin)}
    return {"teacher": values} if values else {}


def _teacher_tensors(runs: Sequence[StoredRun]) -> Tensors:
    stored = [run.tensors for run in runs if run.summary.get("teacher") == "live"]
    whose = next((tensors for tensors in stored if any(name.startswith("teacher") for name in tensors)), {})
    return {name: tensor for name, tensor in whose.items() if name.startswith("teacher")}


def _run(folder: Path, method: str | None = None) -> StoredRun | None:
    summary, recipe = _json(folder / "summary.json"), read_stored(folder / "recipe.yaml")
    whole = isinstance(summary.get("epoch"), int) and isinstance(summary.get("seed", 0), int)
    if not whole or not any(key.startswith("test.") for key in summary):
        return None
    stored, network = (_metadata(folder / f"{name}.safetensors") for name in ("predictions", "student"))
    return StoredRun(
        folder=folder,
        # Of two variants of a method both runs have its plain name.
        method=method or str(summary.get("method", "student")),
        seed=int(summary.get("seed", 0)),
        summary=summary,
        epochs=list(_epochs(folder / "metrics.csv")),
        recipe=recipe,
        tensors=_tensors(folder / "predictions.safetensors"),
        about=About.of(stored, recipe, summary, network),
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_bytes()) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _epochs(path: Path) -> Iterator[dict[str, float]]:
    if not path.is_file():
        return
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                yield {name: float(value) for name, value in row.items() if value}
    except (OSError, TypeError, ValueError, csv.Error):
        return


def _tensors(path: Path) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        return {}
    try:
        with safe_open(path, "np") as file:
            return {name: np.asarray(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError):
        return {}


def _metadata(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        with safe_open(path, "np") as file:
            values = json.loads((file.metadata() or {}).get("limbeck", "{}"))
    except (OSError, RecursionError, SafetensorError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _table_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    except (OSError, ValueError):
        return []
