"""The figures of a network teacher on the run's data, measured before the first epoch and kept by content."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from limbeck.build.context import Context
from limbeck.build.data import Loaders
from limbeck.build.measured_store import read_measured, write_measured
from limbeck.build.networks import placed
from limbeck.build.task import task_of
from limbeck.build.teacher_settings import in_train_mode
from limbeck.build.teacher_store import cache_folder, source_hash
from limbeck.build.teacher_warnings import teacher_warnings
from limbeck.cache import teacher_hash
from limbeck.cache.key import digest_of
from limbeck.data import Data, Samples, fingerprint
from limbeck.errors import RunError, first_line
from limbeck.randomness.hashing import random_bits
from limbeck.randomness.seeding import seed_everything
from limbeck.recipes.schema import Recipe
from limbeck.reporting import Log
from limbeck.tasks import Measured, Metric
from limbeck.teachers import Teacher
from limbeck.training import Wording, make_fabric
from limbeck.training.evaluate import measure_outputs
from limbeck.training.memory import memory_explained

TRAINING_IMAGES = 2000
# Raised whenever the same teacher and images would give other figures than before, or more of them.
_FORMAT = 2
_ORDER_STREAM = 401
# Details of measured networks that have a row for each sample.
_OF_SAMPLES = ("confidence", "labels")
_QUIET_SECONDS = 30.0


@dataclass(frozen=True)
class MeasuredTeacher:
    """A network teacher's figures on the run's data.

    Attributes:
        label: The teacher, such as ``"teacher resnet56"``.
        splits: What it reached by split: ``"train"`` (a slice of the training images, without augmentation), and
            ``"validation"`` or ``"test"``, or both.
        warnings: What is wrong with it, and what to do, in one line each.
        seconds: How long the measurement took now; 0 if all of it was kept.
        wording: The task's metrics, and what samples are called.
        seen: The number of training samples that it was measured on.

    Example:
        >>> from limbeck.tasks import Classification
        >>> measured, wording = Measured({"accuracy": 0.9, "loss": 0.3}), Wording(Classification.metrics, "images")
        >>> print(MeasuredTeacher("teacher resnet8", {"test": measured, "train": measured}, (), 0, wording, 2000).line)
        teacher resnet8: test accuracy 90.00 %, NLL 0.300; on 2,000 of the student's training images accuracy 90.00 %
    """

    label: str
    splits: dict[str, Measured]
    warnings: tuple[str, ...]
    seconds: float
    wording: Wording
    seen: int

    @property
    def line(self) -> str:
        """The figures in one line: those that are compared, and those that describe the teacher alone."""
        primary, *others = self.wording.metrics
        described = [metric for metric in others if metric.higher_is_better is None]
        shown = [primary, *(metric for metric in others if metric.compared or metric in described)]
        held_out = [f"{name} {_figures(m, shown)}" for name, m in self.splits.items() if name != "train"]
        seen = f"on {self.seen:,} of the student's training {self.wording.unit}"
        return f"{self.label}: {'; '.join(held_out)}; {seen} {_figures(self.splits['train'], [primary, *described])}"

    @property
    def warning_lines(self) -> tuple[str, ...]:
        """The warnings, marked as such."""
        return tuple(f"warning: {warning}" for warning in self.warnings)

    def summary(self) -> dict[str, Any]:
        """Return the figures and warnings for ``summary.json``, such as ``teacher.test.accuracy``."""
        splits = self.splits.items()
        figures = {f"teacher.{name}.{key}": value for name, split in splits for key, value in split.numbers().items()}
        return {**figures, "teacher.warnings": list(self.warnings)}


def _figures(measured: Measured, metrics: Sequence[Metric]) -> str:
    values = [(metric, measured.values[metric.name]) for metric in metrics if metric.name in measured.values]
    return ", ".join(f"{metric.title} {metric.text(value)}" for metric, value in values)


def measure_teacher(
    recipe: Recipe, data: Data, teacher: Teacher | None, log: Log, *, test: bool = False
) -> MeasuredTeacher | None:
    """Measure a run's live or self-teacher with the inputs, adapter and precision that it has in the training.

    One pass over at most 2,000 training images and one over the validation split, or over the test split where there
    is none. The figures are kept by the content of the teacher and of the images, so that a teacher is measured once.

    Args:
        recipe: The run's recipe.
        data: Its data.
        teacher: Its teacher itself, not a cache in front of it.
        log: Called with a line of the figures, and one for each warning.
        test: Measure the test split also where there is a validation split.

    Returns:
        The figures; None for a teacher that is no network, and for one that depends on the labels, whose figures on
        labeled images would mean nothing.
    """
    if teacher is None or recipe.source() not in ("live", "self"):
        return None
    label = _label(recipe)
    if teacher.needs_labels:
        log(f"{label}: is not measured, as its logits depend on the labels")
        return None
    splits, wording = _splits(data, test=test), Wording(task_of(recipe, data).metrics, data.unit)
    with memory_explained(f"measuring the {label}", recipe.training.batch_size, "training.batch_size"):
        figures, seconds = _Measurement(recipe, data, teacher, label, log).figures(splits)
    warnings = teacher_warnings(recipe, data, figures)
    measured = MeasuredTeacher(label, figures, warnings, seconds, wording, len(splits["train"]))
    _report(measured, log)
    return measured


def measured_for(context: Context, teacher: Teacher | None, log: Log) -> MeasuredTeacher | None:
    """Measure a run's teacher, or return what another run of the process with the same teacher measured.

    Args:
        context: The run.
        teacher: Its teacher itself, not a cache in front of it.
        log: As for :func:`measure_teacher`.

    Returns:
        As :func:`measure_teacher` on the validation split, or on the test split where there is none.
    """
    recipe, shared = context.recipe, context.shared
    if teacher is None or teacher.needs_labels:
        return measure_teacher(recipe, context.data, teacher, log)
    # A teacher in train mode is measured in the batches of the training.
    key = ("measured teacher", context.teacher_key, recipe.training.batch_size)
    is_shared = key in shared
    measured = shared.once(key, lambda: measure_teacher(recipe, context.data, teacher, log))
    if measured is None or not is_shared:
        return measured
    measured = replace(measured, seconds=0.0)
    _report(measured, log)
    return measured


def _report(measured: MeasuredTeacher, log: Log) -> None:
    cost = f"measured in {measured.seconds:.1f} s" if measured.seconds else "measured before"
    for line in (f"{measured.line} ({cost})", *measured.warning_lines):
        log(line)


def _label(recipe: Recipe) -> str:
    if recipe.source() == "self":
        return f"self-teacher {recipe.student.name}"
    members = len(recipe.teacher.members)
    return f"{members} teachers averaged by {recipe.teacher.average}" if members else f"teacher {recipe.teacher.name}"


def _splits(data: Data, *, test: bool) -> dict[str, Samples]:
    splits = {"train": training_slice(data.train)}
    if data.validation is not None:
        splits["validation"] = data.validation
    if test or data.validation is None:
        splits["test"] = data.test
    return splits


def training_slice(split: Samples) -> Samples:
    """Choose at most 2,000 images of a split, the same ones in every process.

    Example:
        >>> from limbeck.data import ImageSet
        >>> split = ImageSet(torch.zeros(3000, 1, 2, 2, dtype=torch.uint8), torch.arange(3000))
        >>> len(training_slice(split)), len(training_slice(split.select(torch.arange(9))))
        (2000, 9)
    """
    return split if len(split) <= TRAINING_IMAGES else split.select(training_positions(len(split), TRAINING_IMAGES))


def training_positions(count: int, most: int) -> Tensor:
    """Choose at most ``most`` of ``count`` samples by their positions, the same ones in every process.

    Example:
        >>> training_positions(3, 9), len(training_positions(3000, 9))
        (tensor([0, 1, 2]), 9)
    """
    return _shuffled(count)[:most].sort().values


def _shuffled(count: int) -> Tensor:
    return random_bits(torch.arange(count), seed=0, epoch=0, stream=_ORDER_STREAM).argsort(stable=True)


class _Measurement:
    """A teacher, and the files that its figures are kept in."""

    def __init__(self, recipe: Recipe, data: Data, teacher: Teacher, label: str, log: Log) -> None:
        self.recipe, self.data, self.teacher, self.label, self.log = recipe, data, teacher, label, log
        self.task, self.fabric = task_of(recipe, data), make_fabric(recipe.training)
        self.loaders = Loaders(data, recipe.data, recipe.training, self.fabric, recipe.seed)
        self.in_train_mode = in_train_mode(recipe)
        self.folder = cache_folder(recipe.output.cache) / "measured"
        self.hash = self._hash()
        self.material = {
            "format": [_FORMAT, version("limbeck")],
            "teacher": [self.hash, *_described(recipe, teacher)],
            "task": [self.task.name, len(data.classes), *([recipe.task.options] if recipe.task.options else [])],
            "normalization": [list(data.mean), list(data.std)],
            "precision": [self.fabric.device.type, self.fabric.strategy.precision.precision],
            "batch_size": recipe.training.batch_size if self.in_train_mode else None,
        }

    def _hash(self) -> str | None:
        try:
            return teacher_hash(self.teacher)
        except (RuntimeError, TypeError) as error:
            reason = f"it cannot be hashed ({first_line(error)[:200]})"
            self.log(f"{self.label}: its figures are not kept for later runs, as {reason}")
            return None

    def figures(self, splits: dict[str, Samples]) -> tuple[dict[str, Measured], float]:
        """Return the figures by split, and for how many seconds the teacher ran."""
        paths = {} if self.hash is None else {name: self._path(name, split) for name, split in splits.items()}
        figures = {name: measured for name, path in paths.items() if (measured := read_measured(path)) is not None}
        missing = {name: split for name, split in splits.items() if name not in figures}
        if not missing:
            return figures, 0.0
        start = time.perf_counter()
        counts = " and ".join(f"{len(split):,} {name.replace('train', 'training')}" for name, split in missing.items())
        self.log(f"measuring {self.label} on {counts} {self.data.unit}")
        placed(self.teacher, self.recipe.training, self.fabric.device)
        if self.in_train_mode:
            # Dropout draws: the figures are those of the teacher's seed, whatever was drawn before.
            seed_everything(self.recipe.teacher.seed)
        for name, split in missing.items():
            figures[name] = self._measure(split)
            if name in paths:
                self._keep(paths[name], figures[name])
        return {name: figures[name] for name in splits}, time.perf_counter() - start

    def _path(self, name: str, split: Samples) -> Path:
        of_split = fingerprint(split) if name == "train" else self.data.fingerprints[name]
        return self.folder / f"{digest_of({**self.material, 'split': of_split})}.safetensors"

    def _measure(self, split: Samples) -> Measured:
        # A teacher in train mode normalizes by its batches, each of which would hold few classes in a folder's order.
        order = _shuffled(len(split)) if self.in_train_mode else torch.arange(len(split))
        ordered = split.select(order) if self.in_train_mode else split
        measured = measure_outputs(self._outputs(ordered), self.task, precision=self.fabric.autocast())
        return _in_order(measured, order.argsort()) if self.in_train_mode else measured

    def _outputs(self, split: Samples) -> Iterator[tuple[Any, Any]]:
        """Yield the teacher's output for each batch of a split, and the batch's targets."""
        # No larger than the training's, for which the teacher fits into memory.
        views = self.loaders.unaugmented(split, batch_size=self.recipe.training.batch_size)
        done, logged = 0, time.monotonic()
        for batch in views.epoch(0):
            yield self.teacher(batch.inputs, batch.targets), batch.targets
            done += batch.size
            if time.monotonic() - logged > _QUIET_SECONDS:
                self.log(f"{self.label}: {done:,} of {len(split):,} {self.data.unit} measured")
                logged = time.monotonic()

    def _keep(self, path: Path, measured: Measured) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_measured(path, measured)
        except (OSError, RunError) as error:
            self.log(f"{self.label}: its figures are not kept for later runs ({error})")


def _in_order(measured: Measured, order: Tensor) -> Measured:
    """Put what a network gave sample by sample into another order."""
    details = {name: t[order] if name in _OF_SAMPLES else t for name, t in measured.details.items()}
    predictions = measured.predictions
    return replace(measured, predictions=None if predictions is None else predictions[order], details=details)


def _described(recipe: Recipe, teacher: Teacher) -> list[Any]:
    """List what decides a teacher's logits and is no part of its modules: a function's file, its options."""
    if recipe.source() == "self":
        return []
    networks = recipe.teacher.members or (recipe.teacher,)
    return [[network.name, network.options, source_hash(teacher, str(network.name))] for network in networks]
