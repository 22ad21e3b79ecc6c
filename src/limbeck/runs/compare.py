"""Many methods and seeds, one shared teacher, one table."""

import logging
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from limbeck import methods
from limbeck.data import Data
from limbeck.errors import RunError, UserError, shortened
from limbeck.files import write_atomically
from limbeck.report.plot import save_comparison_plot
from limbeck.report.table import MethodResult, comparison_rows, to_csv, to_markdown
from limbeck.runs.ahead import fill_ahead, shared_caches
from limbeck.runs.comparison_folder import ComparisonFolder
from limbeck.runs.folder import RunFolder
from limbeck.runs.loading import load_recipe
from limbeck.runs.recipe import CompareSettings, MethodSettings, Recipe, unlabelled
from limbeck.runs.resuming import check_same
from limbeck.runs.run import check_run, run
from limbeck.runs.setting import Feed, load_data
from limbeck.runs.signals import terminates_as_interrupt
from limbeck.runs.teachers import Made, Reporting, make_teacher
from limbeck.runs.workers import Workers, cores
from limbeck.training import make_fabric, measure, resolve_device

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
        """Method and seed, for what is said."""
        return f"{self.name}, seed {self.recipe.seed}"

    @property
    def complete(self) -> bool:
        """Whether it came to the end of as many epochs as its recipe has now."""
        epochs = self.recipe.training.epochs
        return self.folder.finished and check_same(self.folder, self.recipe).training.epochs == epochs

    def check(self) -> None:
        """Raise ``UserError`` if its folder holds anything but this run, or one of fewer epochs."""
        self.folder.check_place()
        if self.folder.begun:
            check_same(self.folder, self.recipe)


class Outcome(NamedTuple):
    """How a run of a comparison ended.

    Attributes:
        accuracy: On the test split; None if the run failed.
        reason: Why it failed, in one line.
    """

    accuracy: float | None
    reason: str = ""


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        folder: Holds ``table.md``, ``table.csv``, ``plot.png``, ``plot.svg`` and a run folder a method and seed.
        results: A result for each method.
        title: What was compared.
        notes: What the figures are, and a line about each teacher.
        teacher_accuracy: The live teacher's test accuracy; None if no method has one.
        failures: A line for each run that failed; resuming the comparison tries these runs again.
    """

    folder: Path
    results: tuple[MethodResult, ...]
    title: str
    notes: tuple[str, ...]
    teacher_accuracy: float | None
    failures: tuple[str, ...] = ()

    @property
    def markdown(self) -> str:
        """The table in Markdown."""
        notes = "".join(f"\n- {note}" for note in (*self.notes, *self.failures))
        return to_markdown(comparison_rows(self.results), f"{self.title}\n{notes}")


def compare(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    *,
    overrides: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    jobs: int | None = None,
    reporting: Reporting | None = None,
    tick: Tick | None = None,
    trust: bool = False,
) -> Comparison:
    """Run every method of the recipe's ``compare`` with every seed, and put the last epochs side by side.

    Teachers are made once, before the first run, and shared. Seed k of every method has the same initial student and
    the same order of the same views. A run that fails is a row of the table with its reason; the others go on.

    Args:
        recipe: A YAML file, the name of a packaged recipe, a mapping, or a recipe.
        overrides: Values by dotted key, such as ``{"compare.seeds": 3}``.
        out: The folder; by default ``runs/NAME-compare``.
        resume: Keep the complete runs in the folder and go on with the others. Methods and seeds may have been added,
            left out or put into another order since, and epochs added; the table is of what is asked for now.
        overwrite: Delete the comparison in the folder, if there is one.
        jobs: Runs at a time, each a process with an equal share of the CPU cores; by default one a core on a CPU, and
            one on a GPU.
        reporting: Who is told what happens; nobody by default.
        tick: Called with how many epochs of how many are done, about twice a second; with one job after each run.
        trust: Whether the recipe may name any ``python:`` function, see :func:`limbeck.runs.trust.check_trust`.

    Returns:
        The comparison; its files are in ``folder``.

    Raises:
        UserError: If anything given cannot be used, or another process works in the folder; no run has been started.
        RunError: If the training of a teacher fails, or the results cannot be written.
    """
    recipe = load_recipe(recipe, overrides, trust=trust)
    reporting = reporting or Reporting()
    folder = ComparisonFolder(out or recipe.output.root / f"{recipe.name}-compare", resume=resume, overwrite=overwrite)
    plans = _plan(recipe, folder.path)
    folder.check()
    at_a_time, data = _jobs(jobs, plans), load_data(recipe.data)
    for plan in {plan.name: plan for plan in plans}.values():
        check_run(plan.recipe, data)
    if resume:
        for plan in plans:
            plan.check()
    with terminates_as_interrupt(), folder.held(recipe):
        comparison = _complete(recipe, folder.path, plans, data, at_a_time, reporting, tick)
        _write(comparison)
    return comparison


def _complete(
    recipe: Recipe,
    folder: Path,
    plans: Sequence[Planned],
    data: Data,
    jobs: int,
    reporting: Reporting,
    tick: Tick | None,
) -> Comparison:
    teachers = {plan.recipe.source(): plan.recipe for plan in plans}
    made = {source: make_teacher(of, data, reporting) for source, of in teachers.items()}
    failed = _run_all(plans, jobs, made, data, reporting, tick)
    return _collect(recipe, folder, plans, made, data, failed)


def _plan(recipe: Recipe, folder: Path) -> list[Planned]:
    planned = []
    # Seeds outside, so that a comparison that is stopped early holds every method.
    for seed in range(recipe.seed, recipe.seed + recipe.compare.seeds):
        for name in recipe.compare.methods:
            # A run does not depend on what it is compared with, which may change when the comparison is resumed.
            changes = {"method": _method(recipe, name), "seed": seed, "compare": CompareSettings()}
            one = recipe.model_copy(update=changes)
            planned.append(Planned(name, one, RunFolder(folder / name / f"seed-{seed}")))
    return planned


def _method(recipe: Recipe, name: str) -> MethodSettings:
    # What the recipe's own method is set to holds here too, but for the keys that the comparison sets otherwise.
    given, own = recipe.compare.settings, recipe.method
    settings = {**given, own.name: _merged(own.model_extra or {}, given.get(own.name, {}))}
    return recipe.compare.model_copy(update={"settings": settings}).method(name)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**below, **above}
    for key in below.keys() & above.keys():
        if isinstance(below[key], Mapping) and isinstance(above[key], Mapping):
            merged[key] = _merged(below[key], above[key])
    return merged


def _jobs(wanted: int | None, plans: Sequence[Planned]) -> int:
    if wanted is not None and wanted < 1:
        raise UserError(f"jobs: got {wanted}, expected a whole number of at least 1")
    on_cpu = resolve_device(plans[0].recipe.training.device) == "cpu"
    return min(wanted or (cores() if on_cpu else 1), len(plans))


def _run_all(
    plans: Sequence[Planned],
    jobs: int,
    made: Mapping[Any, Made],
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
            fill_ahead(cache, made, data, reporting.say, None)
        for plan in waiting:
            progress.ended(plan, attempt(plan.recipe, plan.folder.path, reporting))
        return progress.failed
    with Workers(jobs) as workers:
        for cache in shared:
            fill_ahead(cache, made, data, reporting.say, workers)
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
        self.plans, self.say, self.tick = plans, reporting.say, tick
        self.failed: dict[str, str] = {}

    def ended(self, plan: Planned, outcome: Outcome) -> None:
        if outcome.accuracy is None:
            self.failed[plan.label] = outcome.reason
            self.say(f"{plan.label}: failed: {outcome.reason}")
        else:
            self.say(f"{plan.label}: test accuracy {outcome.accuracy:.2%}")
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
        reporting: Who is told what happens.
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
    return Outcome(float(done.summary["test.accuracy"]))


def _epochs_done(plan: Planned) -> int:
    path = plan.folder.path / "metrics.csv"
    return max(0, path.read_text().count("\n") - 1) if path.is_file() else 0


def _collect(
    recipe: Recipe,
    folder: Path,
    plans: Sequence[Planned],
    made: Mapping[Any, Made],
    data: Data,
    failed: Mapping[str, str],
) -> Comparison:
    said = _teacher_predictions(recipe, made.get("live"), data)
    results = tuple(
        _result(name, [p for p in plans if p.name == name], failed, said) for name in recipe.compare.methods
    )
    accuracy = None if said is None else float((said == data.test.labels.cpu()).double().mean())
    notes = (*_notes(made, data), *_own_settings(recipe))
    failures = tuple(f"{label} failed: {reason}" for label, reason in failed.items())
    return Comparison(folder, results, _title(recipe, data), notes, accuracy, failures)


def _teacher_predictions(recipe: Recipe, live: Made | None, data: Data) -> torch.Tensor | None:
    # A teacher that is told the labels would be marked on a paper with the answers on it.
    if live is None or live.teacher is None or live.teacher.needs_labels:
        return None
    fabric, teacher = make_fabric(recipe.training), live.teacher
    network = teacher.to(fabric.device)
    views = Feed(data, recipe.data, recipe.training, fabric, recipe.seed).plain(data.test)

    def batches() -> Iterator[Any]:
        for batch in views.epoch(0):
            yield batch._replace(inputs=network(batch.inputs, batch.labels))

    with torch.no_grad():
        return measure(torch.nn.Identity(), batches(), len(data.classes)).predictions


def _result(name: str, plans: Sequence[Planned], failed: Mapping[str, str], said: torch.Tensor | None) -> MethodResult:
    folders = [plan.folder for plan in plans if plan.label not in failed]
    summaries = [folder.read_summary() for folder in folders]

    def column(key: str) -> tuple[float, ...]:
        return tuple(summary[key] for summary in summaries)

    agreement = None
    if said is not None:
        agreement = tuple(float((folder.read_predictions() == said).double().mean()) for folder in folders)
    first = summaries[0] if summaries else {}
    return MethodResult(
        method=name,
        accuracies=column("test.accuracy"),
        ece=column("test.ece"),
        nll=column("test.loss"),
        agreement=agreement,
        seconds=column("training.seconds"),
        parameters=first.get("student.parameters"),
        selected_share=first.get("selected"),
        failures=tuple(f"seed {p.recipe.seed}: {failed[p.label]}" for p in plans if p.label in failed),
    )


def _title(recipe: Recipe, data: Data) -> str:
    epochs = recipe.training.epochs
    return f"{recipe.student.name} on {data.name}, {len(data.train):,} training images, {epochs} epochs"


def _notes(made: Mapping[Any, Made], data: Data) -> tuple[str, ...]:
    measured = f"figures of the last epoch on all {len(data.test):,} test images, which nothing was chosen on"
    return (measured, *(one.about.partition(" (kept")[0] for one in made.values() if one.about))


def _own_settings(recipe: Recipe) -> list[str]:
    """Tell the settings of each method that are not its defaults."""
    told = []
    for name in recipe.compare.methods:
        chosen, usual = _method(recipe, name).create().settings, methods.create(unlabelled(name)).settings
        own = [f"{key} {value}" for one in chosen for key, value in chosen[one].items() if value != usual[one][key]]
        told += [f"{name}: {', '.join(own)}"] if own else []
    return told


def _write(comparison: Comparison) -> None:
    folder = comparison.folder
    write_atomically(folder / "table.md", comparison.markdown)
    write_atomically(folder / "table.csv", to_csv(comparison.results))
    if any(result.accuracies for result in comparison.results):
        save_comparison_plot(
            comparison.results, folder / "plot", title=comparison.title, teacher_accuracy=comparison.teacher_accuracy
        )
