"""What trains the runs of a comparison or search: processes of this machine, or a Ray cluster."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from limbeck.build.teacher_store import cache_folder
from limbeck.errors import UserError
from limbeck.recipes.schema import Recipe
from limbeck.reporting import Log
from limbeck.runs.jobs import jobs_at_a_time
from limbeck.runs.local_names import local_names
from limbeck.runs.placement import Placement
from limbeck.runs.pool import Pool
from limbeck.runs.ray_cluster import Machine, connected, machines
from limbeck.runs.ray_task import Surroundings, marked
from limbeck.runs.ray_workers import RayWorkers
from limbeck.runs.workers import Workers
from limbeck.training import resolve_device


class Executor(Protocol):
    """What trains runs, ready within its block.

    Example:
        >>> with LocalExecutor(1) as executor, executor.pool(4, Path("runs")) as pool:
        ...     print(pool)
        None
    """

    def __enter__(self) -> Self:
        """Get ready."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what was started."""

    def pool(self, runs: int, folder: Path) -> AbstractContextManager[Pool | None]:
        """Return the processes for runs; None for this process alone.

        Args:
            runs: How many runs there are at most at a time.
            folder: The folder of their folders, which exists when the block begins.
        """


class LocalExecutor:
    """Trains runs in processes of this machine, or in this process.

    Args:
        jobs: How many at a time; 1 for this process alone.

    Example:
        >>> LocalExecutor(2).jobs
        2
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def pool(self, runs: int, folder: Path) -> AbstractContextManager[Pool | None]:  # noqa: ARG002
        """Return worker processes, if there are several."""
        count = min(self.jobs, runs)
        return Workers(count) if count > 1 else nullcontext()


class RayExecutor:
    """Trains runs as tasks of a Ray cluster, to which this process is connected within the block.

    Args:
        placement: Which cluster.
        most: How many tasks at a time; None for as many as the cluster takes.
        recipe: The recipe of the runs, which has what a task takes.
        log: Called with a line about the cluster.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> RayExecutor(Placement("ray"), None, load_recipe("quickstart", {"training.device": "cpu"}), print).gpus
        0.0
    """

    def __init__(self, placement: Placement, most: int | None, recipe: Recipe, log: Log) -> None:
        self.placement, self.most, self.log = placement, most, log
        self.cpus, self.threads = recipe.ray.cpus, recipe.ray.threads
        self.gpus = recipe.ray.gpus(resolve_device(recipe.training.device))
        self.cache = cache_folder(recipe.output.cache)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            started = stack.enter_context(connected(self.placement.address))
            self._report(machines(), started=started)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @contextmanager
    def pool(self, runs: int, folder: Path) -> Iterator[RayWorkers]:
        """Yield workers of the cluster."""
        count = max(1, min(self._room(machines()), runs))
        with marked([folder, self.cache]) as marks:
            surroundings = Surroundings(marks, self.threads, self.gpus)
            with RayWorkers(self.cpus, self.gpus, count, self.most, surroundings) as workers:
                yield workers

    def _room(self, found: list[Machine]) -> int:
        return sum(machine.room(self.cpus, self.gpus) for machine in found)

    def _report(self, found: list[Machine], *, started: bool) -> None:
        cpus, gpus = sum(machine.cpus for machine in found), sum(machine.gpus for machine in found)
        which = "a cluster started on this machine" if started else f"a cluster of {_count(len(found), 'machine')}"
        needed = f"{self.cpus:g} CPUs and {self.gpus:g} GPUs"
        line = f"ray: {which} with {cpus:g} CPUs and {gpus:g} GPUs; a run takes {needed}"
        room = self._room(found)
        if room:
            at_a_time = room if self.most is None else min(room, self.most)
            self.log(f"{line}, {at_a_time} at a time")
        elif started:
            raise UserError(f"ray: a run takes {needed}, but this machine has {cpus:g} and {gpus:g}, expected no more")
        else:
            # A cluster may grow by what tasks need.
            self.log(f"{line}, for which no machine has room: they wait until one joins")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("s" if number != 1 else "")


def executor_of(on: str, jobs: int | None, recipe: Recipe, runs: int, log: Log) -> Executor:
    """Choose what trains the runs of a comparison or search.

    Args:
        on: Where, see :meth:`limbeck.runs.placement.Placement.parse`.
        jobs: How many at a time, if that was given.
        recipe: The comparison's recipe.
        runs: How many runs there are.
        log: Called with lines about it.

    Raises:
        UserError: If what was given cannot be used, or runs that name what is registered in this process alone are to
            train elsewhere.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> executor_of("local", 2, load_recipe("quickstart"), 8, print).jobs
        2
    """
    placement = Placement.parse(on)
    if placement.engine == "local":
        return LocalExecutor(jobs_at_a_time(jobs, recipe, runs, log))
    most = placement.at_a_time(jobs)
    if local := local_names(recipe):
        reason = f"{', '.join(local)} was registered in this process, which other machines lack"
        advice = "an installed plug-in or python:MODULE:NAME works in every process"
        raise UserError(f"on: got {on!r}, but {reason}; expected local ({advice})")
    return RayExecutor(placement, most, recipe, log)
