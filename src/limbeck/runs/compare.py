"""Many methods and seeds, one shared teacher, one table."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from limbeck.build.checks import check_method, check_student
from limbeck.build.context import Context
from limbeck.build.measured_teacher import MeasuredTeacher, measure_teacher
from limbeck.build.method_warnings import method_warnings
from limbeck.build.proxies import has_proxies, trained_proxies
from limbeck.build.reporting import Reporting
from limbeck.build.shared import Shared
from limbeck.build.task import task_of
from limbeck.build.teachers import BuiltTeacher, build_teacher
from limbeck.data import Data
from limbeck.files import write_atomically
from limbeck.models.saving import save_tensors
from limbeck.randomness.seeding import generators_kept
from limbeck.recipes.loading import load_recipe
from limbeck.recipes.schema import Recipe
from limbeck.report.controls import control_notes
from limbeck.report.page import PAGE, write_page
from limbeck.report.plot import save_comparison_plot
from limbeck.report.results import MethodResult, TeacherResult
from limbeck.report.table import comparison_rows, to_csv, to_markdown
from limbeck.runs.attempts import Planned, Tick, run_all
from limbeck.runs.choice_notes import choice_notes
from limbeck.runs.comparison_folder import ComparisonFolder
from limbeck.runs.continued_plans import continued_plans
from limbeck.runs.details import about_data, named_tensors
from limbeck.runs.executors import Executor, executor_of
from limbeck.runs.folder import RunFolder, folder_name
from limbeck.runs.method_recipes import check_seeds, method_recipe
from limbeck.runs.plan_notes import changed_settings, controls_among, extended_runs
from limbeck.runs.plans_batch import plans_with_number
from limbeck.runs.provenance import provenance
from limbeck.runs.signals import terminates_as_interrupt
from limbeck.runs.trackers import RunTrackers, check_trackers, comparison_recipe
from limbeck.runs.workers import cores
from limbeck.tasks import Metric
from limbeck.training import TrainingSettings
from limbeck.training.scaling import with_scaled

# The names of the measured teachers' rows in the table, by the source of the logits.
_ROWS = {"live": "teacher", "self": "self-teacher"}


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        folder: Holds ``table.md``, ``table.csv``, ``plot.png``, ``plot.svg`` and a run folder a method and seed.
        results: A result for each method.
        title: What was compared.
        notes: What the figures are, and lines about each teacher: what it is, its figures, and warnings.
        metrics: The task's metrics; the first is the one that methods are compared by.
        teachers: A row of the table for each teacher that was measured.
        failures: A line for each run that failed; resuming the comparison tries these runs again.
    """

    folder: Path
    results: tuple[MethodResult, ...]
    title: str
    notes: tuple[str, ...]
    metrics: tuple[Metric, ...]
    teachers: tuple[TeacherResult, ...] = ()
    failures: tuple[str, ...] = ()

    @property
    def rows(self) -> list[dict[str, str]]:
        """The cells of the table: the teachers that were measured, then the methods."""
        return comparison_rows(self.results, self.metrics, teachers=self.teachers)

    @property
    def teacher_figure(self) -> float | None:
        """The live teacher's primary metric on the test split; None if no method has one."""
        live = next((teacher for teacher in self.teachers if teacher.name == _ROWS["live"]), None)
        return live.figures.get(self.metrics[0].name) if live else None

    @property
    def markdown(self) -> str:
        """The table in Markdown."""
        notes = "".join(f"\n- {note}" for note in (*self.notes, *self.failures))
        return to_markdown(self.rows, f"{self.title}\n{notes}")


def compare(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    *,
    overrides: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    jobs: int | None = None,
    on: str = "local",
    reporting: Reporting | None = None,
    tick: Tick | None = None,
    trust: bool = False,
) -> Comparison:
    """Run every method of the recipe's ``compare`` with every seed, and put their figures side by side.

    Teachers are made once, before the first run, and shared. Seed k of every method has the same initial student and
    the same order of the same views. A run that fails is a row of the table with its reason; the others are trained.

    Args:
        recipe: A YAML file, the name of a packaged recipe, a mapping, or a recipe.
        overrides: Values by dotted key, such as ``{"compare.seeds": 3}``.
        out: The folder; by default ``runs/NAME-compare``.
        resume: Keep the complete runs in the folder and resume the others. Methods and seeds may have been added,
            left out or put into another order since, and epochs added; the table has the present ones.
        overwrite: Delete the comparison in the folder, if there is one.
        jobs: Runs at a time, each a process with an equal share of the CPU cores; by default one a core on a CPU, and
            one on a GPU.
        on: Where runs train: ``local``, in processes of this machine, or on a Ray cluster (``ray``, ``ray://HOST:PORT``;
            see :meth:`limbeck.runs.placement.Placement.parse`), each as a task with the recipe's ``ray.num_cpus`` and
            ``ray.num_gpus``. That needs the extra ``limbeck[ray]``, and the working folder, the results and
            ``output.cache`` on storage that all machines share.
        reporting: Where lines and progress go; nowhere by default.
        tick: Called with how many epochs of how many are done, about twice a second; with one job after each run.
        trust: Whether the recipe may name any ``python:`` function, see :func:`limbeck.recipes.trust.check_trust`.

    Returns:
        The comparison; its files are in ``folder``.

    Raises:
        UserError: If anything given cannot be used, or another process works in the folder; no run has been started.
        RunError: If the training of a teacher fails, or the results cannot be written.
    """
    recipe = load_recipe(recipe, overrides, trust=trust)
    reporting = reporting or Reporting()
    check_trackers(recipe)
    folder = ComparisonFolder(out or recipe.output.root / f"{recipe.name}-compare", resume=resume, overwrite=overwrite)
    recipe, plans = continued_plans(recipe, folder, _plan, reporting.log)
    notes: list[str] = []
    recipe, plans = plans_with_number(recipe, plans, folder, notes.append, jobs or min(cores(), len(plans)))
    with terminates_as_interrupt(), executor_of(on, jobs, recipe, len(plans), reporting.log) as executor:
        return compare_planned(recipe, folder, plans, executor, reporting, tick, notes)


def compare_planned(
    recipe: Recipe,
    folder: ComparisonFolder,
    plans: Sequence[Planned],
    executor: Executor,
    reporting: Reporting,
    tick: Tick | None = None,
    notes: Sequence[str] = (),
) -> Comparison:
    """Train planned runs and put the last epochs side by side; they may differ in more than a comparison's recipe has.

    Args:
        recipe: The recipe of the comparison, which is written to its folder.
        folder: The folder; it has been checked.
        plans: The runs, on the same data.
        executor: What trains them, within its block.
        reporting: Where lines and progress go.
        tick: As for :func:`compare`.
        notes: Further lines for the table.

    Raises:
        UserError: As for :func:`compare`.
        RunError: As for :func:`compare`.
    """
    shared = Shared(keep_teachers=True)
    _check(plans, shared, resume=folder.resume)
    with terminates_as_interrupt(), generators_kept(), folder.held(recipe):
        tracked = comparison_recipe(recipe, folder.path, reporting.log)
        plans = [_tracked(plan, tracked) for plan in plans]
        comparison = _complete(tracked, folder.path, plans, shared, executor, reporting, tick, notes)
        _write(comparison)
        if any(result.seeds for result in comparison.results):
            write_page([folder.path], folder.path / PAGE, data=Context(recipe, shared).data)
        with RunTrackers(tracked, folder.path, folder.path.name, reporting.log) as trackers:
            trackers.open()
            trackers.table(comparison.rows, comparison.markdown)
    return comparison


def _tracked(plan: Planned, tracked: Recipe) -> Planned:
    output = plan.recipe.output.model_copy(update={"trackers": tracked.output.trackers})
    return replace(plan, recipe=plan.recipe.model_copy(update={"output": output}))


def _complete(
    recipe: Recipe,
    folder: Path,
    plans: Sequence[Planned],
    shared: Shared,
    executor: Executor,
    reporting: Reporting,
    tick: Tick | None,
    notes: Sequence[str],
) -> Comparison:
    data = Context(recipe, shared).data
    of_methods = {plan.name: method_warnings(plan.recipe) for plan in plans}
    for line in (*data.description, *(f"warning: {name}: {text}" for name, ws in of_methods.items() for text in ws)):
        reporting.log(line)
    contexts = {plan.recipe.source(): Context(plan.recipe, shared) for plan in plans}
    teachers = {source: build_teacher(context, reporting) for source, context in contexts.items()}
    measured = {
        source: measure_teacher(context.recipe, data, teachers[source].teacher, reporting.log, test=True)
        for source, context in contexts.items()
    }
    # Runs at the same time would wait for those that the first of them trains.
    weighing = next((plan for plan in plans if has_proxies(plan.recipe)), None)
    if weighing is not None:
        trained_proxies(Context(weighing.recipe, shared), reporting)
    failed = run_all(plans, executor, folder, teachers, shared, reporting, tick)
    comparison = _collect(recipe, folder, plans, teachers, measured, data, failed)
    comparison = replace(comparison, notes=(*comparison.notes, *notes))
    _write_details(comparison, measured, about_data(data, task_of(recipe, data)))
    return comparison


def _check(plans: Sequence[Planned], shared: Shared, *, resume: bool) -> None:
    """Check each method once before any run begins, and with ``resume`` the folder of each run."""
    first = Context(plans[0].recipe, shared)
    # Students of other seeds differ in their weights alone.
    student = first.student().module
    check_student(first, student)
    for name in dict.fromkeys(plan.name for plan in plans):
        of_method = [plan for plan in plans if plan.name == name]
        context = Context(of_method[0].recipe, shared)
        check_method(context, student)
        for plan in of_method if resume else ():
            plan.check(partial(provenance, context, student))


def _plan(recipe: Recipe, folder: Path) -> list[Planned]:
    check_seeds(recipe)
    plans = []
    # Seeds outside, so that a comparison that is stopped early holds every method.
    for seed in range(recipe.seed, recipe.seed + recipe.compare.seeds):
        for name in recipe.compare.methods:
            run_folder = RunFolder(folder / folder_name(name) / f"seed-{seed}")
            plans.append(Planned(name, method_recipe(recipe, name, seed), run_folder))
    return plans


def _collect(
    recipe: Recipe,
    folder: Path,
    plans: Sequence[Planned],
    teachers: Mapping[Any, BuiltTeacher],
    measured: Mapping[Any, MeasuredTeacher | None],
    data: Data,
    failed: Mapping[str, str],
) -> Comparison:
    live = measured.get("live")
    predictions = live.splits["test"].predictions if live else None
    metrics = task_of(recipe, data).metrics
    metrics = with_scaled(metrics) if recipe.training.temperature_scaling else metrics
    unlabeled = f" and {len(data.unlabeled):,} unlabeled" if data.unlabeled is not None else ""
    size = f"{len(data.train):,} training{unlabeled} {data.unit}"
    names = dict.fromkeys(plan.name for plan in plans)
    by_name = {name: [plan for plan in plans if plan.name == name] for name in names}
    results = tuple(_result(name, runs, metrics, failed, predictions) for name, runs in by_name.items())
    controls = control_notes(results, controls_among(plans), metrics[0])
    return Comparison(
        folder,
        results=results,
        title=f"{recipe.student.name} on {data.name}, {size}, {_epochs(recipe.training)}",
        notes=(
            *choice_notes(recipe.training, metrics[0], data, _summaries(by_name, failed)),
            *_notes(teachers, measured),
            *_of_labels(recipe, plans),
            *changed_settings(plans),
            *controls,
            *extended_runs(plans),
        ),
        metrics=metrics,
        teachers=tuple(
            TeacherResult(_ROWS[source], teacher.splits["test"].numbers())
            for source, teacher in measured.items()
            if teacher
        ),
        failures=tuple(f"{label} failed: {reason}" for label, reason in failed.items()),
    )


def _epochs(training: TrainingSettings) -> str:
    return f"{training.epochs} epochs" if training.patience is None else f"at most {training.epochs} epochs"


def _summaries(
    by_name: Mapping[str, Sequence[Planned]], failed: Mapping[str, str]
) -> dict[str, list[Mapping[str, Any]]]:
    complete = {name: [plan for plan in plans if plan.label not in failed] for name, plans in by_name.items()}
    return {name: [plan.folder.read_summary() for plan in plans] for name, plans in complete.items()}


def _result(
    name: str,
    plans: Sequence[Planned],
    metrics: Sequence[Metric],
    failed: Mapping[str, str],
    teacher: torch.Tensor | None,
) -> MethodResult:
    folders = [plan.folder for plan in plans if plan.label not in failed]
    summaries = [folder.read_summary() for folder in folders]
    measured = [metric.name for metric in metrics if all(f"test.{metric.name}" in summary for summary in summaries)]
    first = summaries[0] if summaries else {}
    return MethodResult(
        method=name,
        figures={name: tuple(summary[f"test.{name}"] for summary in summaries) for name in measured},
        agreement=_agreement(folders, teacher),
        seconds=tuple(summary["training.seconds"] for summary in summaries),
        parameters=first.get("student.parameters"),
        selected_share=first.get("selected"),
        failures=tuple(f"seed {p.recipe.seed}: {failed[p.label]}" for p in plans if p.label in failed),
    )


def _agreement(folders: Sequence[RunFolder], teacher: torch.Tensor | None) -> tuple[float, ...] | None:
    """Return the shares of the test samples for which student and teacher predict the same class, where both do."""
    if teacher is None or teacher.is_floating_point():
        return None
    students = [predictions for folder in folders if (predictions := folder.read_predictions()) is not None]
    if len(students) < len(folders) or any(student.shape != teacher.shape for student in students):
        return None
    return tuple(float((student == teacher).double().mean()) for student in students)


def _notes(teachers: Mapping[Any, BuiltTeacher], measured: Mapping[Any, MeasuredTeacher | None]) -> tuple[str, ...]:
    described = [teacher for teacher in measured.values() if teacher]
    # A teacher that is described by its name alone has the name in the line of its figures.
    labels = {"", *(teacher.label for teacher in described)}
    abouts = (built.about.partition(" (kept")[0] for built in teachers.values() if built.about not in labels)
    return (*abouts, *(line for teacher in described for line in (teacher.line, *teacher.warning_lines)))


def _of_labels(recipe: Recipe, plans: Sequence[Planned]) -> tuple[str, ...]:
    alone = dict.fromkeys(plan.name for plan in plans if plan.recipe.data.unlabeled is None)
    if recipe.data.unlabeled is None or not alone:
        return ()
    return (f"{', '.join(alone)}: trained on the labeled images alone",)


def _write_details(
    comparison: Comparison, measured: Mapping[Any, MeasuredTeacher | None], about: Mapping[str, Any]
) -> None:
    """Write what pages are made of and the table does not have."""
    teachers = {_ROWS[source]: teacher.splits["test"] for source, teacher in measured.items() if teacher}
    tensors = {key: t for name, split in teachers.items() for key, t in named_tensors(name, split).items()}
    save_tensors(comparison.folder / "teachers.safetensors", tensors)
    record = {
        "title": comparison.title,
        "methods": {result.method: folder_name(result.method) for result in comparison.results},
        "teachers": {name: split.numbers() for name, split in teachers.items()},
        "notes": comparison.notes,
        "failures": comparison.failures,
        "about": about,
    }
    write_atomically(comparison.folder / "comparison.json", json.dumps(record, indent=1) + "\n")


def _write(comparison: Comparison) -> None:
    folder = comparison.folder
    write_atomically(folder / "table.md", comparison.markdown)
    write_atomically(folder / "table.csv", to_csv(comparison.results, comparison.metrics, comparison.teachers))
    primary = comparison.metrics[0]
    if any(result.figures.get(primary.name) for result in comparison.results):
        teacher, title = comparison.teacher_figure, comparison.title
        save_comparison_plot(comparison.results, folder / "plot", title=title, metric=primary, teacher=teacher)
