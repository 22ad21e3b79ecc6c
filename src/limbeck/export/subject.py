"""What is exported or measured: a student, and the run that it comes from as far as that is there."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from limbeck.build.context import Context
from limbeck.data import Data
from limbeck.data.batch import Batch
from limbeck.errors import UserError
from limbeck.files import expanded
from limbeck.recipes.loading import load_recipe
from limbeck.recipes.schema import Recipe
from limbeck.runs.downloads import without_downloads
from limbeck.runs.folder import RunFolder
from limbeck.students.loading import load
from limbeck.students.record import FILE
from limbeck.students.student import Student

# Runs of a comparison lie in METHOD/seed-N.
_SEED = re.compile(r"seed-\d+")


@dataclass(frozen=True, eq=False)
class Subject:
    """A student with its run.

    Attributes:
        student: The student, on the CPU.
        folder: The run's folder; None for a file without one.
        summary: The run's figures.
        trust: Whether the run's recipe may name any ``python:`` function.
        task: The task that was given for a file of an earlier version.
    """

    student: Student
    folder: Path | None = None
    summary: Mapping[str, Any] = field(default_factory=dict)
    trust: bool = False
    task: str | None = None

    @property
    def name(self) -> str:
        """What it is called in tables: the folder's name, of a comparison's run with its method, or the file's name."""
        if self.folder is None:
            return self.student.path.stem
        folder = self.folder.resolve()
        is_compared = _SEED.fullmatch(folder.name) and folder.parent.name
        return f"{folder.parent.name}-{folder.name}" if is_compared else folder.name

    @cached_property
    def recipe(self) -> Recipe:
        """The run's recipe.

        Raises:
            UserError: If there is no run.
        """
        if self.folder is None:
            raise UserError(f"{self.student.path}: is a file without its run, so that its data are not known")
        return load_recipe(self.folder / "recipe.yaml", trust=self.trust)

    @cached_property
    def context(self) -> Context:
        """What is built from the recipe; its data are neither downloaded nor stored.

        Raises:
            UserError: If there is no run.
        """
        data = without_downloads(self.recipe)[0].data
        return Context(self.recipe.model_copy(update={"data": data}))

    @property
    def data(self) -> Data:
        """The run's data.

        Raises:
            UserError: If they are not there.
        """
        return self.context.data

    def batch(self, split: str, size: int) -> Batch:
        """Return some samples of a split as the run measures them, drawn at random with a fixed seed.

        Args:
            split: ``"test"`` or ``"train"``.
            size: The largest number of samples.

        Raises:
            UserError: If the data are not there.
        """
        return next(iter(self.shuffled(split, size)))

    def shuffled(self, split: str, size: int) -> Iterator[Batch]:
        """Yield all samples of a split in a random order with a fixed seed, ``size`` at a time."""
        samples = getattr(self.data, split)
        batches = self.data.batches(samples, batch_size=min(size, len(samples)), shuffle=True, seed=0)
        yield from map(Batch.of, batches.epoch(0))

    def test_batches(self) -> Iterator[Batch]:
        """Yield the whole test split, in its order."""
        data = self.data
        batches = data.batches(data.test, batch_size=min(data.measuring_batch, len(data.test)))
        yield from map(Batch.of, batches.epoch(0))


def read_subject(path: str | Path, *, task: str | None = None, trust: bool = False) -> Subject:
    """Load the student of a run's folder, or of a student's file, beside which its run may lie.

    Args:
        path: The folder or the file.
        task: The task, for files of earlier versions.
        trust: Whether file and recipe may name any ``python:`` code.

    Raises:
        UserError: If it is neither, or the run is not complete.

    Example:
        >>> read_subject("nowhere")
        Traceback (most recent call last):
        limbeck.errors.UserError: nowhere: does not exist, expected student.safetensors or the folder of a run
    """
    given = expanded(path)
    if given.is_dir():
        summary = RunFolder(given).read_summary()
        return Subject(load(given, task=task, trust=trust), given, summary, trust, task)
    student = load(given, task=task, trust=trust)
    run = RunFolder(given.parent)
    if given.name == FILE and run.finished:
        return Subject(student, given.parent, run.read_summary(), trust, task)
    return Subject(student, trust=trust, task=task)
