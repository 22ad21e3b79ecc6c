"""``limbeck evaluate``: what a student or a teacher reaches on labeled data, by class, by confidence and by sample."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from limbeck.build.context import Context
from limbeck.build.data import Loaders
from limbeck.build.networks import placed
from limbeck.build.reporting import Reporting
from limbeck.build.teacher_settings import in_train_mode
from limbeck.build.teachers import build_teacher, is_trained
from limbeck.data import Data
from limbeck.errors import UserError, shortened
from limbeck.files import expanded
from limbeck.randomness.seeding import generators_kept
from limbeck.recipes.loading import load_recipe
from limbeck.recipes.schema import Recipe
from limbeck.report.class_figures import ClassFigures, Pair
from limbeck.report.evaluation import Calibration, Evaluation
from limbeck.runs.folder import RunFolder
from limbeck.runs.labeled import data_for, in_data_pixels, labeled_batches, parts_of, sample_names
from limbeck.students import Student, load
from limbeck.students.collecting import Collected, Collector
from limbeck.students.record import FILE
from limbeck.tasks import Task
from limbeck.training import make_fabric

_RECIPE = "recipe.yaml"
_PAIRS = 100
RecipeSource = str | Path | Mapping[str, Any] | Recipe


class _Measured(NamedTuple):
    """What was measured, on which samples."""

    target: str
    data: Data
    names: Sequence[str | int]
    task: Task
    temperature: float
    collected: Collected
    notes: tuple[str, ...]


def evaluate(
    target: str | Path | Student | RecipeSource,
    data: RecipeSource | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    split: str = "test",
    teacher: bool = False,
    worst: int = 10,
    batch_size: int | None = None,
    task: str | None = None,
    trust: bool = False,
    reporting: Reporting | None = None,
) -> Evaluation:
    """Measure a student, or a recipe's teacher, on labeled data; this is what ``limbeck evaluate`` calls.

    Images are prepared as the student's file records, texts and rows of tables with its own tokenizer and numbers,
    whatever the data's own settings are. Classes are matched by name.

    Args:
        target: A run folder, the file of a student, a student; or with ``teacher`` a recipe, or a run folder.
        data: A recipe whose data are taken; by default a run folder's own.
        overrides: Values of the data by dotted key, such as ``{"data.root": "photos"}``; for a teacher of its recipe.
        split: ``"test"``, ``"validation"``, ``"train"``, or ``"all"`` for all samples that there are.
        teacher: Whether the teacher is measured, which must have been trained.
        worst: How many of the samples with the largest losses to return.
        batch_size: How many samples to compute at a time; by default what the run was measured with.
        task: As for :func:`limbeck.load`.
        trust: Whether file and recipe may name any ``python:`` function.
        reporting: Where lines about a teacher go; nowhere by default.

    Returns:
        The figures.

    Raises:
        UserError: If something given cannot be used, the data have a class that the student lacks, or the teacher is
            not trained yet.

    Example:
        >>> import limbeck, tempfile
        >>> recipe = {"data": {"name": "iris"}, "student": "mlp", "method": "none", "training": {"epochs": 2}}
        >>> done = limbeck.run(recipe, out=tempfile.mkdtemp())
        >>> found = evaluate(done.folder)
        >>> found.samples, found.figures["accuracy"] == done.summary["test.accuracy"]
        (30, True)
    """
    if worst < 0:
        raise UserError(f"worst: got {worst}, expected a whole number of at least 0")
    if batch_size is not None and batch_size < 1:
        raise UserError(f"batch_size: got {batch_size}, expected a whole number of at least 1")
    given = dict(overrides or {})
    with generators_kept():
        if teacher:
            if data is not None:
                raise UserError("data: got a recipe beside a teacher, expected its own, changed by data.KEY=VALUE")
            measured = _of_teacher(_recipe_of(target), given, split, batch_size, trust, reporting or Reporting())
        else:
            student = target if isinstance(target, Student) else _student(target, task=task, trust=trust)
            measured = _of_student(student, data, given, split, batch_size, trust)
    return _evaluation(measured, split, worst)


def _student(target: Any, *, task: str | None, trust: bool) -> Student:
    if not isinstance(target, str | Path):
        raise UserError(f"target: got {shortened(target)}, expected a run folder or {FILE}; a recipe with its teacher")
    place = expanded(target)
    if not place.exists() or place.suffix in (".yaml", ".yml"):
        got = f"{shortened(str(target), 200, quoted=False)}: is no run folder and no {FILE}"
        raise UserError(f"{got}; a recipe is evaluated with --teacher (in Python teacher=True)")
    return load(place, task=task, trust=trust)


def _recipe_of(target: Any) -> RecipeSource:
    if isinstance(target, Student):
        raise UserError("target: got a student, expected a recipe or a run folder, whose teacher is measured")
    if isinstance(target, str | Path) and expanded(target).is_dir():
        return _run_recipe(expanded(target))
    source: RecipeSource = target
    return source


def _run_recipe(folder: Path) -> Path:
    # Read here for its own message where it is missing.
    RunFolder(folder).read_recipe()
    return folder / _RECIPE


def _of_student(
    student: Student,
    source: RecipeSource | None,
    overrides: Mapping[str, Any],
    split: str,
    batch_size: int | None,
    trust: bool,
) -> _Measured:
    for key in overrides:
        if key.partition(".")[0] != "data":
            raise UserError(f"{shortened(key, quoted=False)}: got one for a student, expected keys of data alone")
    is_own = source is None and not overrides
    data = data_for(student, _data_recipe(student, source, overrides, trust).data, own=is_own)
    parts = parts_of(data, split)
    collector = Collector(student.task, student.temperature)
    for part in parts.values():
        done = 0
        for batch in labeled_batches(student, data, part, batch_size):
            output = student.output(batch.inputs)
            collector.update(in_data_pixels(output, batch.inputs, part, done), batch.targets)
            done += len(batch.targets)
    names = sample_names(parts)
    notes = (*student.notes, *data.notes)
    target = f"{student.path} ({student.name})"
    return _Measured(target, data, names, student.task, student.temperature, collector.collected(), notes)


def _data_recipe(student: Student, source: RecipeSource | None, overrides: Mapping[str, Any], trust: bool) -> Recipe:
    if source is not None:
        return load_recipe(source, overrides, trust=trust)
    if "data.name" in overrides or "data" in overrides:
        # Of this recipe the data alone are used.
        return load_recipe({"data": {}, "student": "resnet8", "method": "none"}, overrides, trust=trust)
    if not (student.path.parent / _RECIPE).is_file():
        got = f"{student.path}: does not lie in a run folder"
        raise UserError(f"{got}, expected data beside it, such as data.name=image_folder data.root=photos, or a recipe")
    return load_recipe(_run_recipe(student.path.parent), overrides, trust=trust)


def _of_teacher(
    source: RecipeSource,
    overrides: Mapping[str, Any],
    split: str,
    batch_size: int | None,
    trust: bool,
    reporting: Reporting,
) -> _Measured:
    context = Context(load_recipe(source, overrides, trust=trust))
    recipe = context.recipe
    if context.source not in ("live", "self"):
        got = f"method {recipe.method.name}: has no network as its teacher"
        raise UserError(f"{got}, expected a method with one, such as method=kd")
    if in_train_mode(recipe):
        raise UserError("teacher.train_mode: got true, with which logits depend on the batch, expected false")
    if not is_trained(context):
        raise UserError("teacher: is not trained yet, expected one that a run has trained: limbeck run, then this")
    teacher = build_teacher(context, reporting).teacher
    if teacher is None or teacher.needs_labels:
        raise UserError("teacher: its logits depend on the labels, expected a teacher that can be measured")
    data, fabric = context.data, make_fabric(recipe.training)
    loaders = Loaders(data, recipe.data, recipe.training, fabric, recipe.seed)
    placed(teacher, recipe.training, fabric.device)
    parts, collector = parts_of(data, split), Collector(context.task)
    # No larger than the training's, for which the teacher fits into memory.
    size = batch_size or recipe.training.batch_size
    with torch.no_grad(), fabric.autocast():
        for part in parts.values():
            for batch in loaders.unaugmented(part, batch_size=size).epoch(0):
                collector.update(teacher(batch.inputs, batch.targets), batch.targets)
    target = f"teacher {recipe.teacher.name or recipe.student.name} of {recipe.name}"
    return _Measured(target, data, sample_names(parts), context.task, 1.0, collector.collected(), data.notes)


def _evaluation(measured: _Measured, split: str, worst: int) -> Evaluation:
    collected, task = measured.collected, measured.task
    titled = [metric for metric in task.metrics if metric.name in collected.figures]
    matrix = None if collected.matrix is None else collected.matrix.tolist()
    return Evaluation(
        target=measured.target,
        data=measured.data.name,
        split=split,
        unit=measured.data.unit,
        task=task.name,
        samples=len(measured.names),
        temperature=measured.temperature,
        figures=collected.figures,
        line=", ".join(f"{metric.title} {metric.text(collected.figures[metric.name])}" for metric in titled),
        class_names=task.class_names,
        classes=tuple(collected.classes),
        matrix=matrix,
        confused=_confused(task.class_names, collected),
        calibration=None if collected.bins is None else Calibration.of(*collected.bins.tolist()),
        worst=_worst(measured.names, collected.samples, worst),
        notes=measured.notes,
    )


def _confused(names: tuple[str, ...], collected: Collected) -> tuple[Pair, ...]:
    if collected.matrix is None:
        return ()
    # The shares of each class that is right are not needed for the pairs.
    right = torch.zeros(len(names)).double().numpy()
    return tuple(ClassFigures(names, collected.matrix.numpy(), right).confused(_PAIRS))


def _worst(
    names: Sequence[str | int], samples: Sequence[Mapping[str, Any]], most: int
) -> tuple[Mapping[str, Any], ...]:
    rows = [{"sample": name, **row} for name, row in zip(names, samples, strict=bool(samples)) if row]
    return tuple(sorted(rows, key=lambda row: -float(row["loss"]))[:most])
