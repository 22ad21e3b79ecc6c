"""The runs of a comparison: those that are not complete yet, one after the other or several at a time."""

import logging
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from limbeck.build.context import Context
from limbeck.build.reporting import Reporting
from limbeck.build.shared import Shared
from limbeck.build.teachers import BuiltTeacher
from limbeck.errors import RunError, UserError, shortened
from limbeck.recipes.loading import load_recipe
from limbeck.recipes.schema import Recipe
from limbeck.runs.executors import Executor
from limbeck.runs.folder import RunFolder
from limbeck.runs.pool import Pool
from limbeck.runs.prefill import prefill, shared_caches
from limbeck.runs.provenance import check_provenance
from limbeck.runs.resuming import check_same, is_complete
from limbeck.runs.run import distill
from limbeck.runs.workers import shared_in_worker
from limbeck.training.memory import free_memory

Tick = Callable[[int, int], None]
_log = logging.getLogger(__name__)
_REASON_LENGTH = 500


@dataclass(frozen=True)
class Planned:
    """One run of a comparison.

    Attributes:
        name: The method, with the label that it has in the comparison.
        recipe: The recipe of the run.
        folder: The run folder.
    """

    name: str
    recipe: Recipe
    folder: RunFolder

    @property
    def label(self) -> str:
        """Method and seed, for messages."""
        return f"{self.name}, seed {self.recipe.seed}"

    @property
    def complete(self) -> bool:
        """Whether it has reached the last of the epochs that its recipe has now, or was ended by its patience."""
        return is_complete(self.folder, self.recipe)

    def check(self, present: Callable[[], Mapping[str, Any]]) -> None:
        """Raise ``UserError`` if its folder holds anything but this run, or one of fewer epochs, data and code alike.

        Args:
            present: Returns the present provenance, which is the same for all seeds.
        """
        self.folder.check_place()
        if self.folder.begun:
            check_same(self.folder, self.recipe)
            check_provenance(self.folder, present())


class Outcome(NamedTuple):
    """How a run of a comparison ended.

    Attributes:
        figure: The primary metric on the test split, with its title; None if the run failed.
        reason: Why it failed, in one line.
    """

    figure: str | None
    reason: str = ""


def run_all(
    plans: Sequence[Planned],
    executor: Executor,
    folder: Path,
    teachers: Mapping[Any, BuiltTeacher],
    shared: Shared,
    reporting: Reporting,
    tick: Tick | None,
) -> dict[str, str]:
    """Train the runs that are not complete yet.

    Args:
        plans: All runs of the comparison.
        executor: What trains them, within its block.
        folder: The comparison's folder.
        teachers: The comparison's teachers, by source.
        shared: What this process has built for the comparison.
        reporting: Where lines and progress go.
        tick: Called with how many epochs of how many are done.

    Returns:
        The reasons of the runs that failed, by their labels.
    """
    waiting = [plan for plan in plans if not plan.complete]
    caches = shared_caches([plan.recipe for plan in waiting])
    progress = _Overall(plans, reporting, tick)
    with executor.pool(len(plans), folder) as pool:
        for cache in caches:
            prefill(cache, teachers, shared, reporting.log, pool)
        if pool is not None:
            _run_in_pool(pool, waiting, progress)
            return progress.failed
        for plan in waiting:
            # The run itself reports its figure here.
            outcome = attempt(Context(plan.recipe, shared), plan.folder, reporting)
            if outcome.figure is None:
                free_memory()
            progress.ended(plan, outcome, report=False)
    return progress.failed


def _run_in_pool(pool: Pool, plans: Sequence[Planned], progress: "_Overall") -> None:
    # What runs are compared with is the same for all, and no part of a run.
    tasks = [(transferable(plan.recipe), plan.folder.path) for plan in plans]
    for finished in pool.finished(attempt_in_worker, tasks):
        progress.moved()
        for number, outcome in finished.items():
            failed = isinstance(outcome, Exception)
            progress.ended(plans[number], Outcome(None, str(outcome)) if failed else outcome)


class _Overall:
    """How far the runs of a comparison have come, and which failed."""

    def __init__(self, plans: Sequence[Planned], reporting: Reporting, tick: Tick | None) -> None:
        self.plans, self.log, self.tick = plans, reporting.log, tick
        self.failed: dict[str, str] = {}

    def ended(self, plan: Planned, outcome: Outcome, *, report: bool = True) -> None:
        if outcome.figure is None:
            self.failed[plan.label] = outcome.reason
            self.log(f"{plan.label}: failed: {outcome.reason}")
        elif report:
            self.log(f"{plan.label}: {outcome.figure}")
        self.moved()

    def moved(self) -> None:
        if self.tick:
            plans = [plan for plan in self.plans if plan.label not in self.failed]
            self.tick(sum(map(_epochs_done, plans)), sum(plan.recipe.training.epochs for plan in plans))


def transferable(recipe: Recipe) -> dict[str, Any]:
    """Return the values of a run's recipe for another process, without defaults: a run records what its user gave.

    Example:
        >>> transferable(load_recipe({"data": "digits", "student": "resnet8"}))
        {'data': {'name': 'digits'}, 'student': {'name': 'resnet8'}}
    """
    return recipe.model_dump(mode="json", exclude={"compare"}, exclude_unset=True)


def attempt_in_worker(values: Mapping[str, Any], folder: Path) -> Outcome:
    """Train one run of a comparison in a worker process, with the data and the teachers that the process has.

    Args:
        values: The run's recipe, which the comparison has checked.
        folder: The run's folder.
    """
    outcome = attempt(Context(load_recipe(values, trust=True), shared_in_worker()), RunFolder(folder), Reporting())
    if outcome.figure is None:
        free_memory()
    return outcome


def attempt(context: Context, folder: RunFolder, reporting: Reporting) -> Outcome:
    """Train one run of a comparison, which has checked its method; an exception in it is its outcome.

    Args:
        context: The run.
        folder: The run's folder.
        reporting: Where lines and progress go.
    """
    try:
        done = distill(context, folder, reporting, resume=True, checked=True)
    except (UserError, RunError) as error:
        return Outcome(None, shortened(str(error), _REASON_LENGTH, quoted=False))
    except Exception as error:
        _log.debug("%s failed", folder.path, exc_info=True)
        with suppress(RunError):
            folder.log(traceback.format_exc())
        return Outcome(None, shortened(f"{type(error).__name__}: {error}", _REASON_LENGTH, quoted=False))
    return Outcome(done.figure)


def _epochs_done(plan: Planned) -> int:
    path = plan.folder.path / "metrics.csv"
    if plan.folder.ended_early:
        return plan.recipe.training.epochs
    return max(0, path.read_bytes().count(b"\n") - 1) if path.is_file() else 0
