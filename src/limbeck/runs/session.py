"""A run under way: from a checked recipe and a folder to the trained student."""

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from limbeck.build.caching import with_cache
from limbeck.build.context import Context
from limbeck.build.data import Loaders
from limbeck.build.features import feature_arguments
from limbeck.build.measured_teacher import MeasuredTeacher, measure_teacher
from limbeck.build.networks import Network, describe, parameter_count
from limbeck.build.reporting import Reporting
from limbeck.build.selection import selection_callback
from limbeck.build.teacher_settings import teacher_precisions
from limbeck.build.teachers import build_teacher
from limbeck.distiller import Distiller
from limbeck.models.saving import save_network
from limbeck.randomness.seeding import seed_everything
from limbeck.runs.folder import RunFolder
from limbeck.runs.provenance import check_provenance, provenance
from limbeck.runs.resuming import Start
from limbeck.runs.summary import epoch_line, summarize
from limbeck.training import Engine, EpochMeter, Position, Progress, decide, in_words, make_fabric, uses_channels_last


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


class Session:
    """A run under way.

    Args:
        context: The run.
        student: Its student.
        folder: Its folder, which no other process uses.
        reporting: Where lines and progress go.

    Raises:
        UserError: If the device or the precision is missing, or a batch is larger than the training set.
    """

    def __init__(self, context: Context, student: Network, folder: RunFolder, reporting: Reporting) -> None:
        self.context, self.student, self.folder, self.reporting = context, student, folder, reporting
        self.recipe, self.data = context.recipe, context.data
        self.training = decide(self.recipe.training, student.module, self.data.shape)
        self.fabric = make_fabric(self.training)
        self.loaders = Loaders(self.data, self.recipe.data, self.training, self.fabric, self.recipe.seed)
        self.views = self.loaders.train()
        self.measured_teacher: MeasuredTeacher | None = None
        self.provenance = provenance(context, student.module)

    def complete(self, start: Start) -> Run:
        """Train the student to the last epoch and write everything that a complete run has.

        Args:
            start: How the run begins in its folder.

        Raises:
            UserError: If the teacher cannot be made, or the folder's run began with other data or code.
            RunError: If a training fails, or a file cannot be written.
        """
        began = time.perf_counter()
        self._open(start)
        engine = self._engine()
        engine.fit(resume=start.resume)
        self.folder.write_metrics(engine.record)
        # A copy leaves the compiled form behind.
        network = copy.deepcopy(engine.network).cpu().eval()
        save_network(self.folder.path / "student.safetensors", network, describe(self.recipe.student, self.data))
        self.folder.write_predictions(engine.measured["test"].predictions)
        seconds = time.perf_counter() - began
        summary = summarize(self.recipe, self.folder, engine, self.measured_teacher, seconds)
        self.folder.write_summary(summary)
        self.log(f"test accuracy {summary['test.accuracy']:.2%} after epoch {summary['epoch']} ({self.folder.path})")
        return Run(self.folder.path, summary, network)

    def _open(self, start: Start) -> None:
        warnings = check_provenance(self.folder, self.provenance) if start.resume else []
        # A proxy to go on with is of no use with other data or code.
        if start.clear or not (start.resume or self.folder.read_provenance() == self.provenance):
            self.folder.clear()
        self.folder.open(self.recipe)
        if not start.resume:
            self.folder.write_provenance(self.provenance)
        elif start.extends is not None:
            self.folder.note_extension(start.extends, self.provenance)
        for line in (*start.notes, *warnings, self._headline(), *self.data.description, *self.student.notes):
            self.log(line)

    def log(self, line: str) -> None:
        """Append a line to the run's log, and report it."""
        self.folder.log(line)
        self.reporting.log(line)

    def _headline(self) -> str:
        training, device = self.training, self.fabric.device.type
        layout = uses_channels_last(training, device)
        computing = f"student {in_words(training.precision, channels_last=layout)}"
        if precisions := teacher_precisions(self.recipe):
            computing += f", teacher {in_words('/'.join(precisions), channels_last=layout)}"
        parameters = parameter_count(self.student.module)
        return (
            f"{self.recipe.method.name}: {self.recipe.student.name} ({parameters:,} parameters) on"
            f" {self.data.name}, {len(self.data.train):,} training and {len(self.data.test):,} test images,"
            f" {training.epochs} epochs, {device}, {computing}, seed {self.recipe.seed}"
        )

    def _distiller(self) -> Distiller:
        recipe = self.recipe
        built = build_teacher(self.context, Reporting(self.log, self.reporting.progress))
        self.measured_teacher = measure_teacher(recipe, self.data, built.teacher, self.log)
        teacher = with_cache(self.context, built.teacher, self.log)
        seed_everything(recipe.seed)
        distiller = Distiller(
            self.student.module,
            teacher,
            self.context.method,
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


class _Logged:
    """Write each epoch's line to the run's log, and pass everything on."""

    def __init__(self, folder: RunFolder, progress: Progress | None) -> None:
        self.folder, self.progress = folder, progress

    def step(self, position: Position, meter: EpochMeter) -> None:
        if self.progress:
            self.progress.step(position, meter)

    def epoch(self, row: dict[str, float], epochs: int) -> None:
        self.folder.log(epoch_line(row, epochs))
        if self.progress:
            self.progress.epoch(row, epochs)
