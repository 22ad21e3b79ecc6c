"""A task on a Ray cluster: the worker takes over the folders and threads of the program that gave it the task."""

import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from secrets import token_hex
from typing import Any

import torch

from limbeck.build.teacher_store import cache_folder
from limbeck.errors import RunError, UserError
from limbeck.processes import end_children_too
from limbeck.runs.machine import versions


@contextmanager
def marked(folders: Sequence[Path]) -> Iterator[tuple[Path, ...]]:
    """Put an empty file into each folder for the block, by which other machines recognize it.

    A folder of the same path is no proof: every machine has a ``/tmp`` of its own.

    Args:
        folders: Folders; one that does not exist is left out.

    Yields:
        The files.

    Raises:
        RunError: If one cannot be written.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with marked([folder, folder / "missing"]) as marks:
        ...     print([mark.is_file() for mark in marks])
        [True]
        >>> list(folder.iterdir())
        []
    """
    # Named as the temporary files are that the next holder of the folder's lock deletes.
    marks = tuple(folder.absolute() / f".ray-{os.getpid()}-{token_hex(4)}.partial" for folder in folders)
    marks = tuple(mark for mark in marks if mark.parent.is_dir())
    with ExitStack() as stack:
        for mark in marks:
            stack.callback(_remove, mark)
            try:
                mark.touch()
            except OSError as error:
                raise RunError(f"{mark.parent}: cannot be written ({error.strerror})") from None
        yield marks


def _remove(mark: Path) -> None:
    with suppress(OSError):
        mark.unlink(missing_ok=True)


@dataclass(frozen=True)
class Surroundings:
    """What a worker has in common with the program that gives it tasks.

    Attributes:
        marks: Files by which the worker recognizes the folders that it shares with the program.
        threads: How many threads it computes with.
        gpus: How many GPUs it has.
        folder: The working folder, in which relative paths of a recipe begin.
        cache: The default folder of teachers and logits.
        versions: Those of Python and of the packages that decide a run's numbers.

    Example:
        >>> Surroundings(threads=2).folder == Path.cwd()
        True
    """

    marks: tuple[Path, ...] = ()
    threads: int = 1
    gpus: float = 0.0
    folder: Path = field(default_factory=Path.cwd)
    cache: Path = field(default_factory=lambda: cache_folder().absolute())
    versions: Mapping[str, str] = field(default_factory=versions)

    def enter(self) -> None:
        """Make them those of this process.

        Raises:
            UserError: If this machine does not share the folders, or has other versions.
        """
        self._check()
        os.chdir(self.folder)
        os.environ["LIMBECK_CACHE"] = str(self.cache)
        if not self.gpus:
            # No GPU was reserved for it, so it takes none.
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        torch.set_num_threads(self.threads)
        _end_children_too()

    def _check(self) -> None:
        machine = f"on: the machine {platform.node()} of the cluster"
        for name, version in self.versions.items():
            if (present := versions().get(name)) != version:
                raise UserError(f"{machine} has {name} {present}, expected {version} as here")
        for place in (self.folder, *self.marks):
            if not place.exists():
                path = place.parent if place in self.marks else place
                expected = "expected the same path on all machines, on storage that they share"
                raise UserError(f"{machine} has not the folder {path} of this one, {expected}")


@cache
def _end_children_too() -> None:
    # Once a process: each call is registered for good.
    end_children_too()


def perform(surroundings: Surroundings, work: Callable[..., Any], task: tuple[Any, ...]) -> Any:
    """Do ``work(*task)`` in a worker of the cluster.

    Args:
        surroundings: What the worker takes over first.
        work: A function of a module that it can import.
        task: The arguments.

    Raises:
        UserError: As for :meth:`Surroundings.enter`.

    Example:
        >>> perform(Surroundings(versions={"torch": "0.1"}), sum, ([1, 2],))
        Traceback (most recent call last):
        limbeck.errors.UserError: on: the machine ... of the cluster has torch ..., expected 0.1 as here
    """
    surroundings.enter()
    return work(*task)
