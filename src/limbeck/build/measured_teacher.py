"""What a network teacher reaches on the run's own data, measured before the first epoch and kept by content."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from limbeck.build.data import Loaders
from limbeck.build.measured_store import read_measured, write_measured
from limbeck.build.teacher_settings import in_train_mode
from limbeck.build.teacher_store import cache_folder, source_hash
from limbeck.build.teacher_warnings import percent, teacher_warnings
from limbeck.cache import teacher_hash
from limbeck.cache.key import digest_of
from limbeck.data import Batch, Data, Samples, fingerprint
from limbeck.errors import RunError
from limbeck.randomness.hashing import random_bits
from limbeck.randomness.seeding import seed_everything
from limbeck.recipes.schema import Recipe
from limbeck.reporting import Log
from limbeck.teachers import Teacher
from limbeck.training import Measured, make_fabric, measure, uses_channels_last

TRAINING_IMAGES = 2000
# Raised whenever the same teacher and images would give other figures than before.
_FORMAT = 1
_ORDER_STREAM = 401
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

    Example:
        >>> row = Measured(0.9, None, 0.3, 0.02, 0.88, torch.tensor([1]))
        >>> print(MeasuredTeacher("teacher resnet8", {"test": row, "train": row}, (), 0).line)
        teacher resnet8: test accuracy 90.00 %, ECE 2.00 %, NLL 0.300, mean confidence 88.00 %; on 1 of the student's
        training images accuracy 90.00 %, mean confidence 88.00 %
    """

    label: str
    splits: dict[str, Measured]
    warnings: tuple[str, ...]
    seconds: float

    @property
    def line(self) -> str:
        """All figures in one line."""
        held_out = "; ".join(_figures(name, split) for name, split in self.splits.items() if name != "train")
        train = self.splits["train"]
        seen = f"on {len(train.predictions):,} of the student's training images accuracy {percent(train.accuracy)}"
        return f"{self.label}: {held_out}; {seen}, mean confidence {percent(train.confidence)}"

    @property
    def warning_lines(self) -> tuple[str, ...]:
        """The warnings, marked as such."""
        return tuple(f"warning: {warning}" for warning in self.warnings)

    def summary(self) -> dict[str, Any]:
        """Return the figures and warnings for ``summary.json``, such as ``teacher.test.accuracy``."""
        splits = self.splits.items()
        figures = {f"teacher.{name}.{key}": value for name, split in splits for key, value in split.numbers().items()}
        return {**figures, "teacher.warnings": list(self.warnings)}


def _figures(name: str, split: Measured) -> str:
    calibration = f"ECE {percent(split.ece)}, NLL {split.loss:.3f}, mean confidence {percent(split.confidence)}"
    return f"{name} accuracy {percent(split.accuracy)}, {calibration}"


def measure_teacher(
    recipe: Recipe, data: Data, teacher: Teacher | None, log: Log, *, test: bool = False
) -> MeasuredTeacher | None:
    """Measure a run's live or self-teacher as its student sees it: its inputs, adapter and precision.

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
    found, seconds = _Measurement(recipe, data, teacher, label, log).figures(_splits(data, test=test))
    warnings = teacher_warnings(recipe, data, found)
    measured = MeasuredTeacher(label, found, warnings, seconds)
    cost = f"measured in {seconds:.1f} s" if seconds else "measured before"
    for line in (f"{measured.line} ({cost})", *measured.warning_lines):
        log(line)
    return measured


def _label(recipe: Recipe) -> str:
    if recipe.source() == "self":
        return f"self-teacher {recipe.student.name}"
    members = len(recipe.teacher.members)
    return f"{members} teachers averaged by {recipe.teacher.average}" if members else f"teacher {recipe.teacher.name}"


def _splits(data: Data, *, test: bool) -> dict[str, Samples]:
    found = {"train": training_slice(data.train)}
    if data.validation is not None:
        found["validation"] = data.validation
    if test or data.validation is None:
        found["test"] = data.test
    return found


def training_slice(split: Samples) -> Samples:
    """Choose at most 2,000 images of a split, the same ones in every process.

    Example:
        >>> from limbeck.data import ImageSet
        >>> split = ImageSet(torch.zeros(3000, 1, 2, 2, dtype=torch.uint8), torch.arange(3000))
        >>> len(training_slice(split)), len(training_slice(split.select(torch.arange(9))))
        (2000, 9)
    """
    if len(split) <= TRAINING_IMAGES:
        return split
    return split.select(_shuffled(len(split))[:TRAINING_IMAGES].sort().values)


def _shuffled(count: int) -> Tensor:
    return random_bits(torch.arange(count), seed=0, epoch=0, stream=_ORDER_STREAM).argsort(stable=True)


class _Measurement:
    """One teacher and where its figures are kept."""

    def __init__(self, recipe: Recipe, data: Data, teacher: Teacher, label: str, log: Log) -> None:
        self.recipe, self.data, self.teacher, self.label, self.log = recipe, data, teacher, label, log
        self.fabric = make_fabric(recipe.training)
        self.loaders = Loaders(data, recipe.data, recipe.training, self.fabric, recipe.seed)
        self.in_train_mode = in_train_mode(recipe)
        self.folder = cache_folder(recipe.output.cache) / "measured"
        self.hash = self._hash()
        self.material = {
            "format": [_FORMAT, version("limbeck")],
            "teacher": [self.hash, *_described(recipe, teacher)],
            "classes": len(data.classes),
            "normalization": [list(data.mean), list(data.std)],
            "precision": [self.fabric.device.type, self.fabric.strategy.precision.precision],
            "batch_size": recipe.training.batch_size if self.in_train_mode else None,
        }

    def _hash(self) -> str | None:
        try:
            return teacher_hash(self.teacher)
        except (RuntimeError, TypeError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            self.log(f"{self.label}: its figures are not kept for later runs, as it cannot be hashed ({reason})")
            return None

    def figures(self, splits: dict[str, Samples]) -> tuple[dict[str, Measured], float]:
        """Return the figures by split, and for how many seconds the teacher ran."""
        paths = {} if self.hash is None else {name: self._path(name, split) for name, split in splits.items()}
        found = {name: measured for name, path in paths.items() if (measured := read_measured(path)) is not None}
        missing = {name: split for name, split in splits.items() if name not in found}
        if not missing:
            return found, 0.0
        start = time.perf_counter()
        counts = " and ".join(f"{len(split):,} {name.replace('train', 'training')}" for name, split in missing.items())
        self.log(f"measuring {self.label} on {counts} images")
        self._place()
        if self.in_train_mode:
            # Dropout draws: the figures are those of the teacher's seed, whatever was drawn before.
            seed_everything(self.recipe.teacher.seed)
        for name, split in missing.items():
            found[name] = self._measure(split)
            if name in paths:
                self._keep(paths[name], found[name])
        return {name: found[name] for name in splits}, time.perf_counter() - start

    def _path(self, name: str, split: Samples) -> Path:
        of_split = fingerprint(split) if name == "train" else self.data.fingerprints[name]
        return self.folder / f"{digest_of({**self.material, 'split': of_split})}.safetensors"

    def _place(self) -> None:
        self.teacher.to(self.fabric.device)
        if uses_channels_last(self.recipe.training, self.fabric.device.type):
            self.teacher.to(memory_format=torch.channels_last)

    def _measure(self, split: Samples) -> Measured:
        # A teacher in train mode normalizes by its batches, each of which would hold few classes in a folder's order.
        order = _shuffled(len(split)) if self.in_train_mode else torch.arange(len(split))
        shown = split.select(order) if self.in_train_mode else split
        precision = self.fabric.autocast()
        found = measure(torch.nn.Identity(), self._answers(shown), len(self.data.classes), precision=precision)
        return replace(found, predictions=found.predictions[order.argsort()])

    def _answers(self, split: Samples) -> Iterator[Batch]:
        """Yield a split's batches with the teacher's logits as their inputs."""
        # No larger than the training's, for which the teacher fits into memory.
        views = self.loaders.unaugmented(split, batch_size=self.recipe.training.batch_size)
        done, shown = 0, time.monotonic()
        for batch in views.epoch(0):
            yield batch._replace(inputs=self.teacher(batch.inputs, batch.labels))
            done += len(batch.labels)
            if time.monotonic() - shown > _QUIET_SECONDS:
                self.log(f"{self.label}: {done:,} of {len(split):,} images measured")
                shown = time.monotonic()

    def _keep(self, path: Path, measured: Measured) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_measured(path, measured)
        except (OSError, RunError) as error:
            self.log(f"{self.label}: its figures are not kept for later runs ({error})")


def _described(recipe: Recipe, teacher: Teacher) -> list[Any]:
    """List what decides a teacher's logits and is no part of its modules: a function's file, its options."""
    if recipe.source() == "self":
        return []
    networks = recipe.teacher.members or (recipe.teacher,)
    return [[network.name, network.options, source_hash(teacher, str(network.name))] for network in networks]
