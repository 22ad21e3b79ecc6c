"""Many methods and seeds, one shared teacher, one table."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from limbeck import methods
from limbeck.data import Data
from limbeck.errors import UserError
from limbeck.files import write_atomically
from limbeck.report.plot import save_comparison_plot
from limbeck.report.table import MethodResult, TeacherResult, comparison_rows, to_csv, to_markdown
from limbeck.runs.ahead import fill_ahead, shared_caches
from limbeck.runs.folder import RunFolder, is_occupied
from limbeck.runs.loading import dump_recipe, load_recipe
from limbeck.runs.measured_teacher import MeasuredTeacher, measure_teacher
from limbeck.runs.recipe import MethodSettings, Recipe, unlabelled
from limbeck.runs.run import check_run, run
from limbeck.runs.setting import load_data
from limbeck.runs.teachers import Made, Reporting, make_teacher
from limbeck.training import resolve_device

Tick = Callable[[int, int], None]


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


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        folder: Holds ``table.md``, ``table.csv``, ``plot.png``, ``plot.svg`` and a run folder a method and seed.
        results: A result for each method.
        title: What was compared.
        notes: What the figures are, and lines about each teacher: what it is, its figures, and warnings.
        teacher_accuracy: The live teacher's test accuracy; None if no method has one.
        teachers: A row of the table for each teacher that was measured.
    """

    folder: Path
    results: tuple[MethodResult, ...]
    title: str
    notes: tuple[str, ...]
    teacher_accuracy: float | None
    teachers: tuple[TeacherResult, ...] = ()

    @property
    def rows(self) -> list[dict[str, str]]:
        """The cells of the table: the teachers that were measured, then the methods."""
        return comparison_rows(self.results, teachers=self.teachers)

    @property
    def markdown(self) -> str:
        """The table in Markdown."""
        notes = "".join(f"\n- {note}" for note in self.notes)
        return to_markdown(self.rows, f"{self.title}\n{notes}")


def compare(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    *,
    overrides: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    jobs: int | None = None,
    reporting: Reporting | None = None,
    tick: Tick | None = None,
    trust: bool = False,
) -> Comparison:
    """Run every method of the recipe's ``compare`` with every seed, and put the last epochs side by side.

    Teachers are made once, before the first run, and shared. Seed k of every method has the same initial student and
    the same order of the same views.

    Args:
        recipe: A YAML file, the name of a packaged recipe, a mapping, or a recipe.
        overrides: Values by dotted key, such as ``{"compare.seeds": 3}``.
        out: The folder; by default ``runs/NAME-compare``.
        resume: Keep the complete runs in the folder and go on with the others.
        jobs: Runs at a time, each a process with an equal share of the CPU cores; by default one a core on a CPU, and
            one on a GPU.
        reporting: Who is told what happens; nobody by default.
        tick: Told how many epochs of how many are done, about twice a second.
        trust: Whether the recipe may name any ``python:`` function, see :func:`limbeck.runs.trust.check_trust`.

    Returns:
        The comparison; its files are in ``folder``.

    Raises:
        UserError: If anything given cannot be used; no run has been started then.
        RunError: If a training fails.
    """
    recipe = load_recipe(recipe, overrides, trust=trust)
    reporting = reporting or Reporting()
    folder = Path(out or recipe.output.root / f"{recipe.name}-compare")
    plans = _plan(recipe, folder)
    _check_folder(folder, recipe, resume=resume)
    at_a_time, data = _jobs(jobs, plans), load_data(recipe.data)
    for plan in {plan.name: plan for plan in plans}.values():
        check_run(plan.recipe, data)
    RunFolder(folder).open(recipe)
    teachers = {plan.recipe.source(): plan.recipe for plan in plans}
    try:
        made = {source: make_teacher(of, data, reporting) for source, of in teachers.items()}
        measured = {
            source: measure_teacher(of, data, made[source].teacher, reporting.say, test=True)
            for source, of in teachers.items()
        }
    except UserError:
        RunFolder(folder).abandon()
        raise
    _run_all(plans, at_a_time, made, data, reporting, tick)
    comparison = _collect(recipe, folder, plans, made, measured, data)
    _write(comparison)
    return comparison


def _plan(recipe: Recipe, folder: Path) -> list[Planned]:
    planned = []
    # Seeds outside, so that a comparison that is stopped early holds every method.
    for seed in range(recipe.seed, recipe.seed + recipe.compare.seeds):
        for name in recipe.compare.methods:
            one = recipe.model_copy(update={"method": _method(recipe, name), "seed": seed})
            planned.append(Planned(name, one, RunFolder(folder / name / f"seed-{seed}")))
    return planned


def _method(recipe: Recipe, name: str) -> MethodSettings:
    # What the recipe's own method is set to holds here too, unless the comparison sets it otherwise.
    compared, own = recipe.compare.settings, recipe.method.name
    settings = {**compared, own: {**(recipe.method.model_extra or {}), **compared.get(own, {})}}
    return recipe.compare.model_copy(update={"settings": settings}).method(name)


def _check_folder(folder: Path, recipe: Recipe, *, resume: bool) -> None:
    stored = folder / "recipe.yaml"
    occupied = is_occupied(folder, "the comparison")
    if occupied and not stored.is_file():
        raise UserError(f"{folder}: is not empty and holds no comparison, expected another --out")
    if occupied and not resume:
        raise UserError(f"{folder}: holds a comparison, expected another --out, or --resume to go on with it")
    if occupied and stored.read_text() != dump_recipe(recipe):
        raise UserError(f"{folder}: holds a comparison by another recipe, expected the same to resume")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _jobs(wanted: int | None, plans: Sequence[Planned]) -> int:
    if wanted is not None and wanted < 1:
        raise UserError(f"jobs: got {wanted}, expected a whole number of at least 1")
    on_cpu = resolve_device(plans[0].recipe.training.device) == "cpu"
    return min(wanted or (_cores() if on_cpu else 1), len(plans))


def _run_all(
    plans: Sequence[Planned],
    jobs: int,
    made: Mapping[Any, Made],
    data: Data,
    reporting: Reporting,
    tick: Tick | None,
) -> None:
    waiting = [plan for plan in plans if not plan.folder.finished]
    shared = shared_caches([plan.recipe for plan in waiting])
    if jobs == 1:
        for cache in shared:
            fill_ahead(cache, made, data, reporting.say, None, 1)
        for plan in waiting:
            # What its recipe names was checked with the comparison's.
            run(plan.recipe, out=plan.folder.path, resume=True, reporting=reporting, trust=True)
        return
    with _one_share_each(jobs) as threads:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(jobs, context, initializer=_prepare_worker, initargs=(threads,)) as pool:
            try:
                for cache in shared:
                    fill_ahead(cache, made, data, reporting.say, pool, jobs)
                futures = {pool.submit(_work, p.recipe.model_dump(mode="json"), p.folder.path): p for p in waiting}
                _wait(futures, plans, reporting, tick)
            except BaseException:
                _stop(pool)
                raise


@contextmanager
def _one_share_each(jobs: int) -> Iterator[int]:
    """Give the processes started within an equal share of the cores: two that spin on the same ones crawl."""
    # No more than this process was given, by OMP_NUM_THREADS or torch.set_num_threads.
    threads = max(1, min(torch.get_num_threads(), _cores() // jobs))
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    try:
        yield threads
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _work(recipe: dict[str, Any], folder: Path) -> float:
    # The process that plans the comparison has checked what its recipe names.
    return float(run(recipe, out=folder, resume=True, trust=True).summary["test.accuracy"])


def _prepare_worker(threads: int) -> None:
    # Ctrl-C reaches the whole group: it is for the parent to stop its workers, without their tracebacks.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)


def _stop(pool: ProcessPoolExecutor) -> None:
    processes = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()


def _wait(
    futures: Mapping[Future[float], Planned], plans: Sequence[Planned], reporting: Reporting, tick: Tick | None
) -> None:
    pending = set(futures)
    while pending:
        done, pending = wait(pending, timeout=0.5, return_when="FIRST_COMPLETED")
        for future in done:
            reporting.say(f"{futures[future].label}: test accuracy {future.result():.2%}")
        if tick:
            tick(sum(_epochs_done(plan) for plan in plans), sum(plan.recipe.training.epochs for plan in plans))


def _epochs_done(plan: Planned) -> int:
    path = plan.folder.path / "metrics.csv"
    return max(0, path.read_text().count("\n") - 1) if path.is_file() else 0


def _collect(
    recipe: Recipe,
    folder: Path,
    plans: Sequence[Planned],
    made: Mapping[Any, Made],
    measured: Mapping[Any, MeasuredTeacher | None],
    data: Data,
) -> Comparison:
    live = measured.get("live")
    predictions = live.splits["test"].predictions if live else None
    results = []
    for name in recipe.compare.methods:
        folders = [plan.folder for plan in plans if plan.name == name]
        results.append(_result(name, folders, predictions))
    notes = (*_notes(made, measured, data), *_own_settings(recipe))
    accuracy = live.splits["test"].accuracy if live else None
    teachers = tuple(_teacher_result(one) for one in measured.values() if one)
    return Comparison(folder, tuple(results), _title(recipe, data), notes, accuracy, teachers)


def _teacher_result(measured: MeasuredTeacher) -> TeacherResult:
    test = measured.splits["test"]
    name = "self-teacher" if measured.label.startswith("self-") else "teacher"
    return TeacherResult(name, test.accuracy, test.ece, test.loss)


def _result(name: str, folders: Sequence[RunFolder], teacher: torch.Tensor | None) -> MethodResult:
    summaries = [folder.read_summary() for folder in folders]

    def column(key: str) -> tuple[float, ...]:
        return tuple(summary[key] for summary in summaries)

    agreement = None
    if teacher is not None:
        agreement = tuple(float((folder.read_predictions() == teacher).double().mean()) for folder in folders)
    return MethodResult(
        method=name,
        accuracies=column("test.accuracy"),
        ece=column("test.ece"),
        nll=column("test.loss"),
        agreement=agreement,
        seconds=column("training.seconds"),
        parameters=summaries[0]["student.parameters"],
        selected_share=summaries[0].get("selected"),
    )


def _title(recipe: Recipe, data: Data) -> str:
    epochs = recipe.training.epochs
    return f"{recipe.student.name} on {data.name}, {len(data.train):,} training images, {epochs} epochs"


def _notes(made: Mapping[Any, Made], measured: Mapping[Any, MeasuredTeacher | None], data: Data) -> tuple[str, ...]:
    figures = f"figures of the last epoch on all {len(data.test):,} test images, which nothing was chosen on"
    teachers = [one for one in measured.values() if one]
    # A teacher about which nothing is known but its name has that in its figures' line.
    labels = {"", *(one.label for one in teachers)}
    abouts = (one.about.partition(" (kept")[0] for one in made.values() if one.about not in labels)
    return (figures, *abouts, *(line for one in teachers for line in (one.line, *one.warning_lines)))


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
    write_atomically(folder / "table.csv", to_csv(comparison.results, comparison.teachers))
    save_comparison_plot(
        comparison.results, folder / "plot", title=comparison.title, teacher_accuracy=comparison.teacher_accuracy
    )
