"""One distillation, from a recipe to a run folder."""

import copy
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from limbeck import models
from limbeck.build.caching import check_cache, with_cache
from limbeck.build.features import check_features, feature_arguments
from limbeck.build.measured_teacher import MeasuredTeacher, measure_teacher
from limbeck.build.networks import (
    Loaders,
    check_network,
    check_trains,
    describe,
    load_data,
    parameter_count,
    student_network,
)
from limbeck.build.selection import selection_callback
from limbeck.build.teachers import Reporting, build_teacher, check_teacher, teacher_precisions
from limbeck.data import Data
from limbeck.distiller import Distiller
from limbeck.errors import RunError, UserError
from limbeck.randomness.seeding import generators_kept, seed_everything
from limbeck.recipes.loading import load_recipe
from limbeck.recipes.schema import Recipe
from limbeck.runs.folder import RunFolder, check_storable, folder_name, save_network
from limbeck.runs.provenance import check_unchanged, provenance, versions
from limbeck.runs.resuming import Start, check_same, decide_start
from limbeck.runs.signals import terminates_as_interrupt
from limbeck.training import (
    Engine,
    EpochMeter,
    Position,
    Progress,
    build_optimizer,
    decide,
    in_words,
    make_fabric,
    uses_channels_last,
)


@dataclass(frozen=True)
class Run:
    """A complete run.

    Attributes:
        folder: Where its files are.
        summary: What ``summary.json`` holds, such as ``summary["test.accuracy"]``.
        student: The trained student, on the CPU, in eval mode.

    Example:
        >>> Run(Path("runs/kd"), {"test.accuracy": 0.9}, nn.Identity()).summary["test.accuracy"]
        0.9
    """

    folder: Path
    summary: Mapping[str, Any]
    student: nn.Module


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
    """Distill one student as a recipe says; this is what ``limbeck run`` calls.

    A run is a function of recipe and seed: the same machine gives the same numbers, and a run that was stopped and
    resumed gives those of one that never stopped. The random generators of Python, NumPy and torch are afterwards as
    they were. SIGTERM ends a run as Ctrl-C does.

    Args:
        recipe: A YAML file, the name of a packaged recipe, a mapping, or a recipe.
        overrides: Values by dotted key, such as ``{"training.epochs": 5}``.
        out: The run folder; by default ``runs/NAME-METHOD-seedN``.
        resume: Go on with a run that was stopped, or with a complete one to more ``training.epochs``; a complete run of
            as many epochs is only read. Settings, data and code have to be the same, as far as they decide numbers.
        overwrite: Replace a run that is in the folder.
        reporting: Who is told what happens; nobody by default.
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
        raise UserError("resume and overwrite: got both, expected one: the run in the folder goes on, or is replaced")
    recipe = load_recipe(recipe, overrides, trust=trust)
    reporting = reporting or Reporting()
    folder = RunFolder(out or default_folder(recipe))
    folder.check_place()
    with terminates_as_interrupt(), generators_kept():
        if resume and folder.finished and check_same(folder, recipe).training.epochs == recipe.training.epochs:
            complete = _complete(folder, recipe)
            reporting.log(f"{folder.path}: is complete already")
            return complete
        with folder.held() as former:
            start = decide_start(folder, recipe, resume=resume, overwrite=overwrite)
            if former:
                start = start.noting(f"{former} ended while it worked in this folder")
            return _train(recipe, folder, start, reporting)


def _train(recipe: Recipe, folder: RunFolder, start: Start, reporting: Reporting) -> Run:
    data = load_data(recipe.data)
    session = _Session(recipe, folder, data, check_run(recipe, data), reporting)
    try:
        return session.complete(start)
    except UserError:
        # Some mistakes show only when a teacher is made or a proxy is trained: they leave nothing behind either.
        folder.abandon()
        raise
    except (RunError, KeyboardInterrupt) as error:
        # What is left of a folder without its recipe, as where the disk is full, is no run to go on with.
        if not (folder.path / "recipe.yaml").is_file():
            folder.abandon()
            raise
        with suppress(RunError):
            folder.log(f"failed: {error}" if isinstance(error, RunError) else "stopped")
        raise


def default_folder(recipe: Recipe) -> Path:
    """Name the folder of a run.

    Example:
        >>> default_folder(load_recipe("quickstart", {"method": "kd"})).as_posix()
        'runs/quickstart-kd-seed0'
    """
    return recipe.output.root / f"{recipe.name}-{folder_name(recipe.method.name)}-seed{recipe.seed}"


def _complete(folder: RunFolder, recipe: Recipe) -> Run:
    data = load_data(recipe.data)
    _check_provenance(folder, provenance(recipe, data, check_run(recipe, data)))
    student = student_network(recipe, data)
    models.load_weights(student, folder.path / "student.safetensors", name="student")
    return Run(folder.path, folder.read_summary(), student.eval())


def check_run(recipe: Recipe, data: Data) -> dict[str, nn.Module]:
    """Find what can be found wrong with a recipe without training: networks, views, optimizer, layers, teacher, cache.

    Returns:
        The student and the live teachers as they are before anything is trained, by the recipe's key.

    Raises:
        UserError: If anything is wrong.
    """
    student, role = student_network(recipe, data), f"student {recipe.student.name}"
    check_network(student, data, role=role)
    check_trains(student, data, role=role)
    check_storable(student, role)
    Loaders(data, recipe.data, recipe.training, make_fabric(recipe.training), recipe.seed).train()
    build_optimizer(student.parameters(), recipe.training.optimizer)
    teachers = check_teacher(recipe, data)
    check_features(recipe, student, data)
    check_cache(recipe, data)
    method = recipe.method.create()
    method.check(len(data.classes))
    if method.selection is not None and method.selection.needs_training_set:
        models.head(student, len(data.classes))
    return {"student": student, **teachers}


def _check_provenance(folder: RunFolder, present: Mapping[str, Any]) -> list[str]:
    """Compare what a run in ``folder`` began with to what is there now, and return what deserves a warning."""
    stored = folder.read_provenance()
    if stored is None:
        return [f"{folder.path}: no provenance.json there, so that changed data or code would go unnoticed"]
    return check_unchanged(stored, present, folder.path)


class _Session:
    """A run under way."""

    def __init__(
        self,
        recipe: Recipe,
        folder: RunFolder,
        data: Data,
        networks: Mapping[str, nn.Module],
        reporting: Reporting,
    ) -> None:
        self.recipe, self.folder, self.data, self.reporting = recipe, folder, data, reporting
        self.about_student: list[str] = []
        self.student = student_network(recipe, data, self.about_student.append)
        self.training = decide(recipe.training, self.student, data.shape)
        self.fabric = make_fabric(self.training)
        self.loaders = Loaders(data, recipe.data, self.training, self.fabric, recipe.seed)
        self.views = self.loaders.train()
        self.measured_teacher: MeasuredTeacher | None = None
        self.provenance = provenance(recipe, data, networks)

    def complete(self, start: Start) -> Run:
        began = time.perf_counter()
        self._open(start)
        engine = self._engine()
        engine.fit(resume=start.resume)
        self.folder.write_metrics(engine.record)
        # A copy leaves the compiled form behind.
        student = copy.deepcopy(engine.network).cpu().eval()
        save_network(self.folder.path / "student.safetensors", student, describe(self.recipe.student, self.data))
        self.folder.write_predictions(engine.measured["test"].predictions)
        summary = self._summary(engine, time.perf_counter() - began)
        self.folder.write_summary(summary)
        self.log(f"test accuracy {summary['test.accuracy']:.2%} after epoch {summary['epoch']} ({self.folder.path})")
        return Run(self.folder.path, summary, student)

    def _open(self, start: Start) -> None:
        warnings = _check_provenance(self.folder, self.provenance) if start.resume else []
        # A proxy that is there to go on with is of no use with other data or code.
        if start.clear or not (start.resume or self.folder.read_provenance() == self.provenance):
            self.folder.clear()
        self.folder.open(self.recipe)
        if not start.resume:
            self.folder.write_provenance(self.provenance)
        elif start.extends is not None:
            self.folder.note_extension(start.extends, self.provenance)
        for line in (*start.notes, *warnings, self._headline(), *self.data.description, *self.about_student):
            self.log(line)

    def log(self, line: str) -> None:
        self.folder.log(line)
        self.reporting.log(line)

    def _headline(self) -> str:
        training, device = self.training, self.fabric.device.type
        layout = uses_channels_last(training, device)
        computing = f"student {in_words(training.precision, channels_last=layout)}"
        if precisions := teacher_precisions(self.recipe):
            computing += f", teacher {in_words('/'.join(precisions), channels_last=layout)}"
        return (
            f"{self.recipe.method.name}: {self.recipe.student.name} ({parameter_count(self.student):,} parameters) on"
            f" {self.data.name}, {len(self.data.train):,} training and {len(self.data.test):,} test images,"
            f" {training.epochs} epochs, {device}, {computing}, seed {self.recipe.seed}"
        )

    def _distiller(self) -> Distiller:
        recipe = self.recipe
        made = build_teacher(recipe, self.data, Reporting(self.log, self.reporting.progress))
        self.measured_teacher = measure_teacher(recipe, self.data, made.teacher, self.log)
        teacher = with_cache(recipe, self.data, made.teacher, self.log)
        seed_everything(recipe.seed)
        distiller = Distiller(
            self.student,
            teacher,
            recipe.method.create(),
            num_classes=len(self.data.classes),
            seed=recipe.seed,
            epochs=recipe.training.epochs,
            check_finite=recipe.training.check_finite,
            **feature_arguments(recipe, self.data),
        ).to(self.fabric.device)
        if uses_channels_last(self.training, self.fabric.device.type):
            distiller.to(memory_format=torch.channels_last)
        return distiller

    def _engine(self) -> Engine:
        distiller = self._distiller()
        before_epoch = None
        if distiller.method.selection is not None:
            before_epoch = selection_callback(
                self.recipe, distiller, self.loaders, self.log, self.folder.proxy_checkpoint
            )
        return Engine(
            distiller,
            self.views,
            self.training,
            fabric=self.fabric,
            splits=self.loaders.measured(),
            num_classes=len(self.data.classes),
            checkpoint=self.folder.checkpoint,
            progress=_Logged(self.folder, self.reporting.progress),
            before_epoch=before_epoch,
            after_epoch=self.folder.write_metrics,
            log=self.log,
        )

    def _summary(self, engine: Engine, seconds: float) -> dict[str, Any]:
        summary: dict[str, Any] = {
            "name": self.recipe.name,
            "method": self.recipe.method.name,
            "seed": self.recipe.seed,
        }
        summary["epoch"] = int(engine.record[-1]["epoch"])
        for name, measured in engine.measured.items():
            summary |= {f"{name}.{key}": value for key, value in measured.numbers().items()}
        summary["train.accuracy"] = engine.record[-1]["train.accuracy"]
        if "selected" in engine.record[-1]:
            summary["selected"] = engine.record[-1]["selected"]
        summary["student.parameters"] = parameter_count(self.student)
        summary["teacher"] = self.recipe.source() or "none"
        summary |= self.measured_teacher.summary() if self.measured_teacher else {}
        summary |= {"training.extended_from": epochs} if (epochs := self.folder.extended_from()) else {}
        summary["seconds"] = seconds
        summary["training.seconds"] = sum(row["seconds"] for row in engine.record)
        summary["threads"] = torch.get_num_threads()
        summary["device"], summary["precision"] = str(self.fabric.device), self.fabric.strategy.precision.precision
        return summary | {f"versions.{name}": text for name, text in versions().items()}


class _Logged:
    """Write each epoch's line to the log, and pass everything on."""

    def __init__(self, folder: RunFolder, progress: Progress | None) -> None:
        self.folder, self.progress = folder, progress

    def step(self, position: Position, meter: EpochMeter) -> None:
        if self.progress:
            self.progress.step(position, meter)

    def epoch(self, row: dict[str, float], epochs: int) -> None:
        self.folder.log(epoch_line(row, epochs))
        if self.progress:
            self.progress.epoch(row, epochs)


def epoch_line(row: Mapping[str, float], epochs: int) -> str:
    """Tell an epoch in one line.

    Example:
        >>> epoch_line({"epoch": 1, "train.loss": 0.5, "train.accuracy": 0.9, "images_per_second": 99, "seconds": 2}, 3)
        'epoch 1/3  loss 0.5000  train 90.00 %  99 images/s  2.0 s'
    """
    parts = [f"epoch {row['epoch']}/{epochs}", f"loss {row['train.loss']:.4f}"]
    named = {k.removeprefix("train."): v for k, v in row.items() if k.startswith("train.")}
    losses = {name: value for name, value in named.items() if name not in ("loss", "accuracy")}
    if len(losses) > 1:
        parts.append("(" + " ".join(f"{name} {value:.4f}" for name, value in losses.items()) + ")")
    parts.append(f"train {row['train.accuracy']:.2%}".replace("%", " %"))
    for split in ("validation", "test"):
        if f"{split}.accuracy" in row:
            parts.append(f"{split} {row[f'{split}.accuracy']:.2%}".replace("%", " %"))
    return "  ".join([*parts, f"{row['images_per_second']:.0f} images/s", f"{row['seconds']:.1f} s"])


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
