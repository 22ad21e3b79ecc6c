"""The run folder: what is in it, and how it is written so that nothing half-written is ever read."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from limbeck.errors import RunError, UserError
from limbeck.files import csv_text, expanded, remove_leftovers, write_atomically
from limbeck.locking import locked
from limbeck.models.saving import save_tensors
from limbeck.recipes.loading import dump_recipe
from limbeck.recipes.parsing import read_stored
from limbeck.recipes.schema import Recipe
from limbeck.tasks.metrics import narrowed
from limbeck.training.checkpoint import has_checkpoint

LOCK = ".lock"
# What trackers write in the folder of a run or of a comparison.
OF_TRACKERS = ("trackers.json", "tensorboard", "wandb", "mlflow.db", "mlflow.db-journal", "mlartifacts")
# Everything that a run writes; the recipe comes last, so that a folder that is half deleted is still that of a run.
_FILES = (
    "summary.json",
    "metrics.csv",
    "predictions.safetensors",
    "student.safetensors",
    "student.card.md",
    "provenance.json",
    "log.txt",
    "skipped.txt",
    "checkpoints",
    "classes.png",
    "masks.png",
    "boxes.png",
    "report.html",
    *OF_TRACKERS,
    "recipe.yaml",
)

# What a summary cannot be without, beside figures of the test split.
_NEEDED = {"epoch", "training.seconds"}


def is_occupied(path: Path, what: str) -> bool:
    """Return whether a folder for results has anything in it; a lock, and what killed processes left, do not count.

    Raises:
        UserError: If there is a file in its place or on the way to it, or the path cannot be looked at.

    Example:
        >>> is_occupied(Path("nowhere"), "the run")
        False
    """
    try:
        for place in (path, *path.parents):
            if place.exists() and not place.is_dir():
                raise UserError(f"{place}: is a file, expected a folder for {what}")
        return path.is_dir() and any(not _is_temporary(entry.name) for entry in path.iterdir())
    except OSError as error:
        raise UserError(f"{str(path)[:80]}: cannot be used for {what} ({error.strerror})") from None


def _is_temporary(name: str) -> bool:
    return name.startswith(LOCK) or (name.startswith(".") and name.endswith(".partial"))


def folder_name(method: str) -> str:
    """Return the name of a method's folders: the method's name, with ``-`` for what a file system may refuse.

    Example:
        >>> folder_name("lr+dist@hot"), folder_name("revise+python:lab.losses:focal")
        ('lr+dist@hot', 'revise+python-lab.losses-focal')
    """
    return re.sub(r"[^\w.+@ -]", "-", method)


def remove(path: Path) -> None:
    """Delete a file, or a folder with what is in it; one that is not there counts as deleted.

    Raises:
        OSError: If it cannot be deleted.

    Example:
        >>> remove(Path("nowhere"))
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


class RunFolder:
    """The files of one run.

    ``recipe.yaml`` (resolved), ``provenance.json``, ``summary.json``, ``metrics.csv``, ``student.safetensors`` (the
    student alone), ``student.card.md`` (what it is, and how to use it), ``predictions.safetensors`` (of the test
    split), ``checkpoints/last``, ``log.txt``, and ``classes.png`` of classification, ``masks.png`` of segmentation,
    ``boxes.png`` of detection.

    Args:
        path: The folder; ``~`` is the user's home.

    Example:
        >>> RunFolder("runs/kd").checkpoint
        PosixPath('runs/kd/checkpoints/last')
    """

    def __init__(self, path: str | Path) -> None:
        self.path = expanded(path)
        self.checkpoint = self.path / "checkpoints" / "last"
        self.proxy_checkpoint = self.path / "checkpoints" / "proxy"
        self.lock = self.path / LOCK

    @property
    def finished(self) -> bool:
        """Whether the folder holds a run that is complete, or has a summary but no checkpoint to resume from."""
        return self._summary() is not None and (self._has_results() or not self.resumable)

    def _has_results(self) -> bool:
        student = self.path / "student.safetensors"
        try:
            self.read_predictions()
            if not student.is_file():
                return False
            with safe_open(student, "pt"):
                return True
        except (OSError, SafetensorError, UserError):
            return False

    def _summary(self) -> dict[str, Any] | None:
        summary = _read_json(self.path / "summary.json")
        whole = summary is not None and summary.keys() >= _NEEDED and any(key.startswith("test.") for key in summary)
        return summary if whole else None

    @property
    def resumable(self) -> bool:
        """Whether the folder holds a run that was stopped after at least one epoch."""
        return has_checkpoint(self.checkpoint)

    @property
    def ended_early(self) -> bool:
        """Whether the folder holds the summary of a run that ``training.patience`` ended before its last epoch."""
        return bool((self._summary() or {}).get("stopped_early"))

    @property
    def begun(self) -> bool:
        """Whether the folder holds a run with at least one epoch, complete or not."""
        return self.resumable or any((self.path / name).exists() for name in ("metrics.csv", "summary.json"))

    @contextmanager
    def held(self) -> Iterator[str | None]:
        """Make the folder, and keep other processes from using it until the block ends.

        If there is nothing in the folder then, it is removed again.

        Yields:
            The process that held the folder before, if it ended without releasing it, else None.

        Raises:
            LockedError: If another process holds the folder.
            UserError: If the folder cannot be made or locked.
        """
        created = self._make()
        try:
            with locked(self.lock, str(self.path)) as former:
                for folder in (self.path, self.checkpoint, self.proxy_checkpoint):
                    remove_leftovers(folder)
                try:
                    yield former
                finally:
                    self._release(created)
        finally:
            _remove_empty(created)

    def _make(self) -> list[Path]:
        """Make the folder, and return it and its parents as far as they were missing."""
        try:
            missing = [place for place in (self.path, *self.path.parents) if not place.exists()]
            self.path.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"{str(self.path)[:80]}: cannot be written ({reason})") from None
        return missing

    def _release(self, created: Sequence[Path]) -> None:
        """Delete the lock of a folder that will be removed."""
        if created and self.path.is_dir() and not is_occupied(self.path, "the run"):
            self.lock.unlink(missing_ok=True)

    def check_place(self) -> None:
        """Raise ``UserError`` if the folder holds anything but a run."""
        if is_occupied(self.path, "the run") and not (self.path / "recipe.yaml").is_file():
            raise UserError(f"{self.path}: is not empty and holds no run, expected another --out")

    def check_no_foreign_files(self) -> None:
        """Raise ``UserError`` if the folder holds a file or folder that no run makes."""
        names = {entry.name for entry in self.path.iterdir()} if self.path.is_dir() else set()
        foreign = sorted(name for name in names - set(_FILES) if not _is_temporary(name))
        if foreign:
            got = f"{self.path}: holds {foreign[0][:80]!r}, which is no file of a run"
            raise UserError(f"{got}, so it is not replaced; expected another --out")

    def read_recipe(self) -> dict[str, Any]:
        """Read ``recipe.yaml``.

        Raises:
            UserError: If it holds no recipe.
        """
        path = self.path / "recipe.yaml"
        values = read_stored(path)
        if not values:
            raise UserError(f"{path}: holds no recipe, expected that of the run; --overwrite replaces the run")
        return values

    def open(self, recipe: Recipe) -> None:
        """Make the folder and write the resolved recipe.

        Raises:
            UserError: If the folder cannot be made.
        """
        self._make()
        # A run with more epochs than before is no longer complete.
        (self.path / "summary.json").unlink(missing_ok=True)
        write_atomically(self.path / "recipe.yaml", dump_recipe(recipe))

    def clear(self) -> None:
        """Delete every file of a run, and nothing else."""
        for name in _FILES:
            with suppress(OSError):
                remove(self.path / name)

    def abandon(self) -> None:
        """Delete the files of a run of which no epoch was trained: the next command starts afresh."""
        if self.begun:
            return
        self.clear()
        with suppress(OSError):
            self.path.rmdir()

    def log(self, line: str) -> None:
        """Append a line to ``log.txt``.

        Raises:
            RunError: If it cannot be written.
        """
        path = self.path / "log.txt"
        try:
            with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(line + "\n")
        except OSError as error:
            raise RunError(f"{path}: cannot be written ({error.strerror})") from None

    def write_skipped(self, lines: Sequence[str]) -> None:
        """Write ``skipped.txt``, a line for each sample that ``data.skip_bad`` left out; no file for none."""
        path = self.path / "skipped.txt"
        if lines:
            write_atomically(path, "".join(f"{line}\n" for line in lines).encode(errors="backslashreplace"))
        else:
            path.unlink(missing_ok=True)

    def write_metrics(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Write ``metrics.csv``, one row an epoch."""
        write_atomically(self.path / "metrics.csv", csv_text(rows))

    def write_predictions(
        self,
        predictions: Tensor | None,
        further: Mapping[str, Tensor] | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the predictions of the test split, in its order.

        Args:
            predictions: What the student predicts; None for a task without predictions.
            further: What a page of figures is drawn from beside them, by name.
            about: What the numbers mean, as JSON takes it; it is stored as the file's metadata.
        """
        tensors = {} if predictions is None else {"test": narrowed(predictions)}
        metadata = {"limbeck": json.dumps(about)} if about else None
        save_tensors(self.path / "predictions.safetensors", {**tensors, **(further or {})}, metadata)

    def write_card(self, card: str) -> None:
        """Write ``student.card.md``, a page about the student."""
        write_atomically(self.path / "student.card.md", card)

    def read_predictions(self) -> Tensor | None:
        """Read the predictions of the test split; None if the task has no predictions.

        Raises:
            UserError: If they are not there, or damaged.
        """
        path = self.path / "predictions.safetensors"
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: is no regular file, expected the file of a complete run")
        try:
            return load_file(path).get("test")
        except (OSError, SafetensorError) as error:
            raise UserError(
                f"{path}: cannot be read ({str(error)[:200]}), expected the file of a complete run"
            ) from None

    def write_provenance(self, provenance: Mapping[str, Any]) -> None:
        """Write ``provenance.json``, what the run began with beside its recipe."""
        write_atomically(self.path / "provenance.json", json.dumps(provenance, indent=2) + "\n")

    def read_provenance(self) -> dict[str, Any] | None:
        """Read ``provenance.json``; None if it is not there, or damaged."""
        groups = _read_json(self.path / "provenance.json")
        return groups if groups and all(isinstance(group, dict) for group in groups.values()) else None

    def note_extension(self, epochs: int, present: Mapping[str, Any]) -> None:
        """Add to ``provenance.json`` that the run was to have ``epochs`` epochs before it was extended.

        Where that file was lost, ``present``, what the run is resumed with, takes its place.
        """
        stored = self.read_provenance() or present
        self.write_provenance({**stored, "extended": {"from": [*self.extended_from(), epochs]}})

    def extended_from(self) -> list[int]:
        """Return how many epochs the run was to have before each of its extensions."""
        former = (self.read_provenance() or {}).get("extended", {}).get("from", [])
        return [int(epochs) for epochs in former]

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write ``summary.json``; a folder with it is that of a complete run, so it is written last."""
        write_atomically(self.path / "summary.json", json.dumps(summary, indent=2) + "\n")

    def read_summary(self) -> dict[str, Any]:
        """Read ``summary.json``.

        Raises:
            UserError: If the run is not complete.
        """
        path = self.path / "summary.json"
        summary = self._summary()
        if summary is None and path.exists():
            raise UserError(f"{path}: is damaged, expected the summary of a complete run; --resume writes it again")
        if summary is None:
            raise UserError(f"{self.path}: no summary.json there, expected the folder of a complete run")
        return summary


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(path.read_bytes()) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def _remove_empty(folders: Sequence[Path]) -> None:
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()
