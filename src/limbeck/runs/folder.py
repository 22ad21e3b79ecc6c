"""The run folder: what is in it, and how it is written so that nothing half-written is ever read."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from limbeck.errors import UserError
from limbeck.runs.loading import dump_recipe
from limbeck.runs.recipe import Recipe
from limbeck.training.checkpoint import has_checkpoint


def write_atomically(path: Path, text: str) -> None:
    """Replace the file at ``path`` by ``text`` in one move.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "note.txt"
        >>> write_atomically(path, "all or nothing")
        >>> path.read_text()
        'all or nothing'
    """
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)


def save_network(path: Path, network: nn.Module, about: Mapping[str, Any]) -> None:
    """Write a network's weights as safetensors, with ``about`` as JSON in the metadata.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "student.safetensors"
        >>> save_network(path, nn.Linear(2, 2), {"name": "linear"})
        >>> sorted(load_file(path))
        ['bias', 'weight']
    """
    # Clones, since safetensors refuses tensors that share memory or are not laid out plainly.
    weights = {
        k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in network.state_dict().items()
    }
    partial = path.with_name(path.name + ".partial")
    save_file(weights, partial, metadata={"limbeck": json.dumps(about)})
    partial.replace(path)


def to_csv(rows: Sequence[Mapping[str, float]]) -> str:
    """Write rows with the union of their columns; a cell that a row lacks is empty.

    Example:
        >>> print(to_csv([{"epoch": 1}, {"epoch": 2, "test.accuracy": 0.5}]), end="")
        epoch,test.accuracy
        1,
        2,0.5
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def is_occupied(path: Path, what: str) -> bool:
    """Tell whether a folder for results has anything in it.

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
        return path.is_dir() and any(path.iterdir())
    except OSError as error:
        raise UserError(f"{str(path)[:80]}: cannot be used for {what} ({error.strerror})") from None


class RunFolder:
    """The files of one run.

    ``recipe.yaml`` (resolved), ``summary.json``, ``metrics.csv``, ``student.safetensors`` (the student alone),
    ``predictions.safetensors`` (of the test split), ``checkpoints/last`` and ``log.txt``.

    Args:
        path: The folder.

    Example:
        >>> RunFolder("runs/kd").checkpoint
        PosixPath('runs/kd/checkpoints/last')
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.checkpoint = self.path / "checkpoints" / "last"

    @property
    def finished(self) -> bool:
        """Whether the folder holds a run that came to its end."""
        return (self.path / "summary.json").is_file()

    @property
    def resumable(self) -> bool:
        """Whether the folder holds a run that was stopped after at least one epoch."""
        return has_checkpoint(self.checkpoint)

    def check(self, recipe: Recipe, *, resume: bool) -> None:
        """Raise ``UserError`` unless the folder can take this run: new, or the same recipe to be resumed."""
        occupied = is_occupied(self.path, "the run")
        if occupied and not self._stored():
            raise UserError(f"{self.path}: is not empty and holds no run, expected another --out")
        if not resume:
            if occupied:
                raise UserError(
                    f"{self.path}: already holds a run, expected another --out, or --resume to go on with it"
                )
        elif self._stored() and self._stored() != dump_recipe(recipe):
            raise UserError(
                f"{self.path}: holds a run of another recipe or other settings, expected the same to resume"
            )

    def _stored(self) -> str | None:
        path = self.path / "recipe.yaml"
        return path.read_text() if path.is_file() else None

    def open(self, recipe: Recipe) -> None:
        """Make the folder and write the resolved recipe.

        Raises:
            UserError: If the folder cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path / "recipe.yaml", dump_recipe(recipe))
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror})") from None

    def abandon(self) -> None:
        """Take away what :meth:`open` and the log wrote, if no epoch was trained: the next command starts afresh."""
        if self.resumable or self.finished or (self.path / "metrics.csv").exists():
            return
        for name in ("recipe.yaml", "log.txt"):
            (self.path / name).unlink(missing_ok=True)
        with suppress(OSError):
            self.path.rmdir()

    def log(self, line: str) -> None:
        """Append a line to ``log.txt``."""
        with (self.path / "log.txt").open("a") as file:
            file.write(line + "\n")

    def write_metrics(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Write ``metrics.csv``, one row an epoch."""
        write_atomically(self.path / "metrics.csv", to_csv(rows))

    def write_predictions(self, predictions: Tensor) -> None:
        """Write the predicted classes of the test split, in its order."""
        save_file({"test": predictions.to(torch.int32)}, self.path / "predictions.safetensors")

    def read_predictions(self) -> Tensor:
        """Read the predicted classes of the test split."""
        return load_file(self.path / "predictions.safetensors")["test"]

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write ``summary.json``; its presence says that the run is complete, so it is written last."""
        write_atomically(self.path / "summary.json", json.dumps(summary, indent=2) + "\n")

    def read_summary(self) -> dict[str, Any]:
        """Read ``summary.json``.

        Raises:
            UserError: If the run is not complete.
        """
        if not self.finished:
            raise UserError(f"{self.path}: no summary.json there, expected the folder of a complete run")
        summary: dict[str, Any] = json.loads((self.path / "summary.json").read_text())
        return summary
