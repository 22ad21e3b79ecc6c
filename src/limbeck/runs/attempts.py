"""The runs of a comparison: what is left of them is done, one after the other or several at a time."""

import logging
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from limbeck.build.teachers import BuiltTeacher, Reporting
from limbeck.data import Data
from limbeck.errors import RunError, UserError, shortened
from limbeck.recipes.schema import Recipe
from limbeck.runs.folder import RunFolder
from limbeck.runs.prefill import prefill, shared_caches
from limbeck.runs.provenance import check_unchanged, provenance
from limbeck.runs.resuming import check_same
from limbeck.runs.run import run
from limbeck.runs.workers import Workers

Tick = Callable[[int, int], None]
_log = logging.getLogger(__name__)
_REASON_LENGTH = 300


@dataclass(frozen=True)
class Planned:
    """One run of a comparison.

    Attributes:
        name: The method, as the comparison calls it.
        recipe: Its recipe.
        folder: Its folder.
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
        """Whether it came to the end of as many epochs as its recipe has now."""
        epochs = self.recipe.training.epochs
        return self.folder.finished and check_same(self.folder, self.recipe).training.epochs == epochs

    def check(self, data: Data, networks: Mapping[str, nn.Module]) -> None:
        """Raise ``UserError`` if its folder holds anything but this run, or one of fewer epochs, data and code alike.

        Args:
            data: The data.
            networks: What :func:`limbeck.runs.run.check_run` returns for the recipe.
        """
        self.folder.check_place()
        if not self.folder.begun:
            return
        check_same(self.folder, self.recipe)
        stored = self.folder.read_provenance()
        if stored is not None:
            check_unchanged(stored, provenance(self.recipe, data, networks), self.folder.path)


class Outcome(NamedTuple):
    """How a run of a comparison ended.

    Attributes:
        figure: The primary metric on the test split, in words; None if the run failed.
        reason: Why it failed, in one line.
    """

    figure: str | None
    reason: str = ""


def run_all(
    plans: Sequence[Planned],
    jobs: int,
    made: Mapping[Any, BuiltTeacher],
    data: Data,
    reporting: Reporting,
    tick: Tick | None,
) -> dict[str, str]:
    """Do what is left to do, and return the reasons of the runs that failed by their labels."""
    waiting = [plan for plan in plans if not plan.complete]
    shared = shared_caches([plan.recipe for plan in waiting])
    progress = _Overall(plans, reporting, tick)
    if jobs == 1:
        for cache in shared:
            prefill(cache, made, data, reporting.log, None)
        for plan in waiting:
            # The run itself reports its figure here.
            progress.ended(plan, attempt(plan.recipe, plan.folder.path, reporting), report=False)
        return progress.failed
    with Workers(jobs) as workers:
        for cache in shared:
            prefill(cache, made, data, reporting.log, workers)
        tasks = [(plan.recipe.model_dump(mode="json"), plan.folder.path) for plan in waiting]
        for finished in workers.finished(attempt, tasks):
            progress.moved()
            for number, outcome in finished.items():
                died = isinstance(outcome, Exception)
                progress.ended(waiting[number], Outcome(None, str(outcome)) if died else outcome)
    return progress.failed


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


def attempt(recipe: Recipe | Mapping[str, Any], folder: Path, reporting: Reporting | None = None) -> Outcome:
    """Do one run of a comparison; whatever fails in it is its outcome.

    Args:
        recipe: The run's recipe.
        folder: The run's folder.
        reporting: Where lines and progress go.
    """
    try:
        # What its recipe names was checked with the comparison's.
        done = run(recipe, out=folder, resume=True, reporting=reporting, trust=True)
    except (UserError, RunError) as error:
        return Outcome(None, shortened(str(error), _REASON_LENGTH, quoted=False))
    except Exception as error:
        _log.debug("%s failed", folder, exc_info=True)
        with suppress(RunError):
            RunFolder(folder).log(traceback.format_exc())
        return Outcome(None, shortened(f"{type(error).__name__}: {error}", _REASON_LENGTH, quoted=False))
    return Outcome(done.figure)


def _epochs_done(plan: Planned) -> int:
    path = plan.folder.path / "metrics.csv"
    return max(0, path.read_text().count("\n") - 1) if path.is_file() else 0
