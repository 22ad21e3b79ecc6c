"""One distillation, from a recipe to a run folder."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from limbeck import models
from limbeck.build.checks import check_run
from limbeck.build.context import Context
from limbeck.build.reporting import Reporting
from limbeck.errors import RunError, UserError
from limbeck.randomness.seeding import generators_kept
from limbeck.ranks import is_first, processes_to_meet, shared
from limbeck.recipes.loading import load_recipe
from limbeck.recipes.schema import Recipe
from limbeck.runs.continued import continued
from limbeck.runs.folder import RunFolder, folder_name
from limbeck.runs.found_batch import with_number
from limbeck.runs.provenance import check_provenance, provenance
from limbeck.runs.resuming import Start, decide_start, is_complete
from limbeck.runs.session import Run, Session
from limbeck.runs.signals import terminates_as_interrupt
from limbeck.runs.trackers import check_trackers
from limbeck.training.memory import memory_explained
from limbeck.training.processes import lost_processes


def run(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    *,
    overrides: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    reporting: Reporting | None = None,
    trust: bool = False,
) -> Run:
    """Distill one student by a recipe; this is what ``limbeck run`` calls.

    A run is a function of recipe and seed: the same machine gives the same numbers, and a run that was stopped and
    resumed gives those of one that never stopped. The random generators of Python, NumPy and torch are afterwards as
    they were. Ctrl-C, SIGTERM and SIGUSR1 end a training after its update, whose checkpoint is then written.

    Args:
        recipe: A YAML file, the name of a packaged recipe, a mapping, or a recipe.
        overrides: Values by dotted key, such as ``{"training.epochs": 5}``.
        out: The run folder; by default ``runs/NAME-METHOD-seedN``.
        resume: Resume a run that was stopped, or a complete one with more ``training.epochs``; a complete run of
            as many epochs, or one that ``training.patience`` ended, is only read. Settings, data and code have to be
            the same, as far as they decide numbers; of a default that has changed since, the run keeps its value.
        overwrite: Replace a run that is in the folder.
        reporting: Where lines and progress go; nowhere by default.
        trust: Whether the recipe may name any ``python:`` function, see :func:`limbeck.recipes.trust.check_trust`.

    Returns:
        The complete run.

    Raises:
        UserError: If anything given cannot be used; nothing has been written then.
        LockedError: If another process works in the run folder.
        RunError: If the training fails.

    Example:
        >>> import limbeck, tempfile
        >>> recipe = {"data": {"name": "fashion_mnist_sample", "train_limit": 100}, "student": "resnet8",
        ...           "method": "label_smoothing", "training": {"epochs": 1, "precision": "fp32"}}
        >>> done = limbeck.run(recipe, out=tempfile.mkdtemp())
        >>> 0 <= done.summary["test.accuracy"] <= 1
        True
    """
    if resume and overwrite:
        raise UserError("resume and overwrite: got both, expected one: the run in the folder is resumed or replaced")
    given = of_all_processes(load_recipe(recipe, overrides, trust=trust))
    folder = RunFolder(out or default_folder(given))
    kept, notes = continued(folder, given) if resume else (given, ())
    context = Context(kept)
    check_trackers(context.recipe)
    lines = list(notes)
    folder.check_place()
    if resume or overwrite or not folder.begun:
        found = with_number(context.recipe, folder.path, lambda: [context], lines.append, resume=resume)
        context = Context(found, context.shared)
    return distill(context, folder, reporting or Reporting(), resume=resume, overwrite=overwrite, notes=lines)


def distill(
    context: Context,
    folder: RunFolder,
    reporting: Reporting,
    *,
    resume: bool = False,
    overwrite: bool = False,
    checked: bool = False,
    notes: Sequence[str] = (),
) -> Run:
    """Distill one student in a folder, with what the process has built for other runs already.

    Args:
        context: The run.
        folder: Its folder.
        reporting: Where lines and progress go.
        resume: As for :func:`run`.
        overwrite: As for :func:`run`.
        checked: Whether a run that differs in its seed alone has passed :func:`limbeck.build.checks.check_run`.
        notes: Lines for the log.

    Returns:
        The complete run.

    Raises:
        UserError: As for :func:`run`.
        LockedError: As for :func:`run`.
        RunError: As for :func:`run`.
    """
    recipe = context.recipe
    folder.check_place()
    with terminates_as_interrupt(), generators_kept():
        if resume and is_complete(folder, recipe):
            complete = _complete(context, folder)
            for line in notes:
                reporting.log(line)
            early = ", ended early by training.patience" if folder.ended_early else ""
            reporting.log(f"{folder.path}: is complete already{early}")
            return complete
        # Of several processes the first one decides for all.
        with folder.held() if is_first() else nullcontext() as former:
            start = Start() if not is_first() else decide_start(folder, recipe, resume=resume, overwrite=overwrite)
            if former:
                start = start.noting(f"{former} ended while it worked in this folder")
            for line in notes:
                start = start.noting(line)
            student = context.student()
            if not checked:
                check_run(context, student.module)
            with lost_processes():
                return _train(Session(context, student, folder, reporting), start)


def of_all_processes(recipe: Recipe) -> Recipe:
    """Return a recipe with the batch of all of its processes, which is what its numbers depend on.

    Example:
        >>> of_all_processes(load_recipe("quickstart")).training.batch_size
        64
    """
    processes, training = processes_to_meet(), recipe.training
    if processes == 1 or training.batch_of == "global":
        return recipe
    whole = {"batch_size": training.batch_size * processes, "batch_of": "global"}
    return recipe.model_copy(update={"training": training.model_copy(update=whole)})


def _train(session: Session, start: Start) -> Run:
    folder, start = session.folder, shared(start)
    try:
        with memory_explained("the run", session.training.batch_size, "training.batch_size"):
            return session.complete(start)
    except UserError:
        # Some mistakes show only when a teacher is made or a proxy is trained: they leave nothing behind either.
        if is_first():
            folder.abandon()
        raise
    except (RunError, KeyboardInterrupt) as error:
        if not is_first():
            raise
        # A folder without its recipe, as where the disk is full, holds no run that could be resumed.
        if not (folder.path / "recipe.yaml").is_file():
            folder.abandon()
            raise
        with suppress(RunError):
            folder.log(f"failed: {error}" if isinstance(error, RunError) else f"stopped; {error}".removesuffix("; "))
        raise


def _complete(context: Context, folder: RunFolder) -> Run:
    student = context.student().module
    check_run(context, student)
    check_provenance(folder, provenance(context, student))
    models.load_weights(student, folder.path / "student.safetensors", name="student")
    return Run(folder.path, folder.read_summary(), student.eval(), context.task)


def default_folder(recipe: Recipe) -> Path:
    """Name the folder of a run.

    Example:
        >>> default_folder(load_recipe("quickstart", {"method": "kd"})).as_posix()
        'runs/quickstart-kd-seed0'
    """
    return recipe.output.root / f"{recipe.name}-{folder_name(recipe.method.name)}-seed{recipe.seed}"


def read_run(folder: str | Path) -> dict[str, Any]:
    """Read the summary of a complete run.

    Raises:
        UserError: If there is none.

    Example:
        >>> read_run("nowhere")
        Traceback (most recent call last):
        limbeck.errors.UserError: nowhere: no summary.json there, expected the folder of a complete run
    """
    return RunFolder(folder).read_summary()
