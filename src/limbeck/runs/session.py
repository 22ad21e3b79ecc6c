"""One run: from a checked recipe and a folder to the trained student."""

import copy
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from limbeck.build.caching import with_cache
from limbeck.build.context import Context
from limbeck.build.data import Loaders
from limbeck.build.features import feature_arguments
from limbeck.build.measured_teacher import MeasuredTeacher, measured_for
from limbeck.build.method_warnings import method_warnings
from limbeck.build.networks import Network, describe, parameter_count, placed
from limbeck.build.reporting import Reporting
from limbeck.build.selection import selection_callback
from limbeck.build.teacher_scale import measuring_callback
from limbeck.build.teacher_settings import teacher_precisions
from limbeck.build.teachers import build_teacher
from limbeck.data import Batches
from limbeck.distiller import Distiller
from limbeck.models.saving import save_network
from limbeck.randomness.hashing import derived_seed
from limbeck.randomness.seeding import seed_everything
from limbeck.ranks import first_goes_ahead, is_first, processes_to_meet, rank, shared
from limbeck.runs.changed_defaults import record_of
from limbeck.runs.details import about_data, details_of_run
from limbeck.runs.folder import RunFolder
from limbeck.runs.pictures import save_picture
from limbeck.runs.provenance import check_provenance, is_same_start, provenance
from limbeck.runs.resuming import Start, method_meaning
from limbeck.runs.run_log import RunLog
from limbeck.runs.student_card import student_card
from limbeck.runs.summary import summarize
from limbeck.runs.trackers import RunTrackers, run_name
from limbeck.tasks import Task
from limbeck.training import (
    Engine,
    EpochMeter,
    EpochRecord,
    Measured,
    Position,
    Progress,
    Scaling,
    Wording,
    decide,
    epoch_line,
    in_words,
    scale,
    uses_channels_last,
)
from limbeck.training.processes import in_each_process, joined_fabric
from limbeck.training.sharding import is_sharded, whole_state

_PROCESS_STREAM = 40


@dataclass(frozen=True)
class Run:
    """A complete run.

    Attributes:
        folder: Where its files are.
        summary: What ``summary.json`` holds, such as ``summary["test.accuracy"]``.
        student: The trained student, on the CPU, in eval mode.
        task: What it was trained for.

    Example:
        >>> from limbeck.tasks import Classification
        >>> Run(Path("runs/kd"), {"test.accuracy": 0.9, "epoch": 30}, nn.Identity(), Classification()).line
        'test accuracy 90.00% after epoch 30 (runs/kd)'
    """

    folder: Path
    summary: Mapping[str, Any]
    student: nn.Module
    task: Task

    @property
    def figure(self) -> str:
        """The primary metric on the test split, such as ``"test accuracy 90.00%"``."""
        primary = self.task.primary
        return f"test {primary.title} {primary.text(self.summary[f'test.{primary.name}']).replace(' %', '%')}"

    @property
    def line(self) -> str:
        """The primary metric, the epoch and the folder."""
        last, chosen = self.summary["epoch"], self.summary.get("chosen_epoch")
        when = f"after epoch {last}" if chosen is None else f"of epoch {chosen}, the best of {last} on validation"
        return f"{self.figure} {when} ({self.folder})"


class Session:
    """One run, in this process or in several, which then all have a session of it.

    Args:
        context: The run.
        student: Its student.
        folder: Its folder, which no other process uses.
        reporting: Where lines and progress go.

    Raises:
        UserError: If the device or the precision is missing, or a batch is larger than the training set.
    """

    def __init__(self, context: Context, student: Network, folder: RunFolder, reporting: Reporting) -> None:
        self.context, self.student, self.folder = context, student, folder
        # Of several processes the first one writes and reports.
        self.reporting = reporting if is_first() else Reporting()
        self._run_log = RunLog(folder, self.reporting.log)
        self.recipe, self.data, self.task = context.recipe, context.data, context.task
        of_process = in_each_process(self.recipe.training, processes_to_meet())
        self.training = decide(of_process, student.module, self.data.example(2))
        self.fabric, data = joined_fabric(self.training), self.recipe.data
        self.loaders = Loaders(self.data, data, self.training, self.fabric, self.recipe.seed, data.view_seed)
        self.views = self.loaders.for_student()
        self.measured_teacher: MeasuredTeacher | None = None
        self.provenance = provenance(context, student.module)

    def complete(self, start: Start) -> Run:
        """Train the student and write everything that a complete run has.

        Args:
            start: How the run begins in its folder.

        Raises:
            UserError: If the teacher cannot be made, or the folder's run began with other data or code.
            RunError: If a training fails, or a file cannot be written.
        """
        began = time.perf_counter()
        self._open(start)
        with RunTrackers(self.recipe, self.folder.path, run_name(self.folder.path), self.log) as trackers:
            engine = self._engine(self.loaders.measured(), self.reporting.progress, trackers)
            if is_first():
                trackers.open()
            engine.fit(resume=start.resume)
            return self._finish(engine, trackers, began)

    def _finish(self, engine: Engine, trackers: RunTrackers, began: float) -> Run:
        network = self._whole_network(engine)
        if not is_first():
            return Run(self.folder.path, shared({}), network, self.task)
        self.folder.write_metrics(engine.record)
        scaling = self._scaling(engine)
        about = {
            **describe(self.recipe.student, network, self.data, self.recipe.task, self.training),
            **({"temperature": scaling.temperature} if scaling else {}),
        }
        file = self.folder.path / "student.safetensors"
        save_network(file, network, about)
        self._write_predictions(engine)
        self._draw(engine.measured["test"])
        seconds = time.perf_counter() - began
        summary = summarize(self.recipe, self.folder, engine, self.measured_teacher, seconds, scaling)
        if self.data.skipped:
            summary["skipped"] = len(self.data.skipped)
        self.folder.write_card(student_card(file, self.recipe, self.data, self.task, summary, about))
        trackers.curves(engine.record)
        trackers.summary(summary)
        self.folder.write_summary(summary)
        run = Run(self.folder.path, shared(summary), network, self.task)
        self.log(run.line)
        return run

    def _whole_network(self, engine: Engine) -> nn.Module:
        if not is_sharded(self.fabric):
            # A copy leaves the compiled form behind.
            return copy.deepcopy(engine.network).cpu().eval()
        network = self.context.student().module
        network.load_state_dict(whole_state(engine.network))
        return network.cpu().eval()

    def _scaling(self, engine: Engine) -> Scaling | None:
        if not self.recipe.training.temperature_scaling:
            return None
        if self.fabric.world_size > 1:
            # This process alone runs the student now.
            engine.splits = self.loaders.alone().measured()
        scaling = scale(engine)
        self.log(f"training.temperature_scaling: {scaling.line}")
        if scaling.warning:
            self.log(f"warning: training.temperature_scaling: {scaling.warning}")
        return scaling

    def _write_predictions(self, engine: Engine) -> None:
        measured = engine.measured["test"]
        teacher = self.measured_teacher.splits.get("test") if self.measured_teacher else None
        further = details_of_run(measured, teacher, self.data, engine.distiller.selected)
        self.folder.write_predictions(measured.predictions, further, about_data(self.data, self.task))

    def train_until(self, start: Start, epochs: int) -> list[dict[str, float]]:
        """Train the student to an epoch, measure it there alone, on the validation split alone, and leave it at that.

        The checkpoint of that epoch stays, from which a later call goes on as if the training had never stopped. The
        learning rate follows the schedule of all of the recipe's epochs. Of a complete run nothing is written.

        Args:
            start: How the run begins in its folder.
            epochs: The epoch to stop after, from 1; a checkpoint that is there is of an earlier one.

        Returns:
            The record, one row an epoch.

        Raises:
            UserError: As for :meth:`complete`.
            RunError: As for :meth:`complete`.
        """
        self._open(start)
        # The figures of the epochs before would be compared with nothing.
        self.training = self.training.model_copy(update={"evaluate_every": epochs})
        splits = {"validation": self.loaders.measured()["validation"]}
        engine = self._engine(splits, _Until(epochs, self.reporting.progress))
        with suppress(_ReachedError):
            engine.fit(resume=start.resume)
        return engine.record

    def _draw(self, measured: Measured) -> None:
        teacher = self.measured_teacher.splits.get("test") if self.measured_teacher else None
        primary, recipe = self.task.primary, self.recipe
        value = primary.text(measured.values.get(primary.name, float("nan")))
        title = f"{recipe.method.name}: {recipe.student.name} on {self.data.name}, test {primary.title} {value}"
        save_picture(self.folder.path, self.data, measured, teacher=teacher, title=title)

    def _open(self, start: Start) -> None:
        if not is_first():
            return
        warnings = check_provenance(self.folder, self.provenance) if start.resume else []
        # The checkpoint of a proxy cannot be resumed with other data or code.
        if start.clear or not (start.resume or is_same_start(self.folder.read_provenance(), self.provenance)):
            self.folder.clear()
        self.folder.open(self.recipe)
        if not start.resume:
            self.folder.write_provenance({**self.provenance, **record_of(self.recipe, method_meaning(self.recipe))})
        elif start.extends is not None:
            self.folder.note_extension(start.extends, self.provenance)
        of_method = (f"warning: {line}" for line in method_warnings(self.recipe))
        for line in (
            *start.notes,
            *warnings,
            self._headline(),
            *self.data.description,
            *self.student.notes,
            *of_method,
        ):
            self.log(line)
        self.folder.write_skipped(self.data.skipped)
        if self.data.skipped:
            self.log(f"samples left out by data.skip_bad: {len(self.data.skipped):,}, all of them in skipped.txt")

    def log(self, line: str) -> None:
        """Append a line to the run's log, and report it."""
        if not is_first():
            return
        self._run_log.append(line)
        self.reporting.log(line)

    def _headline(self) -> str:
        training, device = self.training, self.fabric.device.type
        layout = uses_channels_last(training, device)
        computing = f"student {in_words(training.precision, channels_last=layout)}"
        if precisions := teacher_precisions(self.recipe):
            computing += f", teacher {in_words('/'.join(precisions), channels_last=layout)}"
        parameters = parameter_count(self.student.module)
        processes = self.fabric.world_size
        each = f" in {processes} processes of {training.batch_size} {self.data.unit} a batch" if processes > 1 else ""
        return (
            f"{self.recipe.method.name}: {self.recipe.student.name} ({parameters:,} parameters) on"
            f" {self.data.name}, {len(self.data.train):,} training and {len(self.data.test):,} test"
            f" {self.data.unit}, {training.epochs} epochs, {device}{each}, {computing}, seed {self.recipe.seed}"
        )

    def _distiller(self) -> Distiller:
        recipe = self.recipe
        # A teacher is trained by the first process, and read by the others.
        with first_goes_ahead():
            built = build_teacher(self.context, Reporting(self.log, self.reporting.progress))
            teacher = with_cache(self.context, built.teacher, self.log)
        if is_first():
            self.measured_teacher = measured_for(self.context, built.teacher, self.log)
        seed_everything(recipe.seed)
        distiller = Distiller(
            self.student.module,
            teacher,
            self.context.method,
            task=self.task,
            seed=recipe.seed,
            epochs=recipe.training.epochs,
            **feature_arguments(recipe, self.data),
        )
        if not is_first():
            # The students are equal; what is drawn at random for their samples is not.
            seed_everything(derived_seed(recipe.seed, _PROCESS_STREAM + rank()) % 2**31)
        return placed(distiller, self.training, self.fabric.device)

    def _engine(
        self, splits: Mapping[str, Batches], progress: Progress | None, trackers: RunTrackers | None = None
    ) -> Engine:
        def after_epoch(record: list[EpochRecord]) -> None:
            if not is_first():
                return
            self.folder.write_metrics(record)
            if trackers is not None:
                trackers.curves(record)

        distiller = self._distiller()
        return Engine(
            distiller,
            self.views,
            self.training,
            fabric=self.fabric,
            splits=splits,
            checkpoint=self.folder.checkpoint,
            progress=_Logged(self._run_log, progress, Wording(self.task.metrics, self.data.unit))
            if is_first()
            else None,
            before_epoch=self._before_epoch(distiller),
            after_epoch=after_epoch,
            log=self.log,
        )

    def _before_epoch(self, distiller: Distiller) -> Callable[[int], None]:
        callbacks: list[Callable[[int], None]] = []
        reporting = Reporting(self.log, self.reporting.progress)
        # A selection may score the teacher's logits as they are after this.
        if distiller.teacher_scale.needs_measuring:
            callbacks.append(measuring_callback(self.context, distiller, self.loaders, reporting))
        if distiller.method.selection is not None:
            checkpoint = self.folder.proxy_checkpoint
            callbacks.append(selection_callback(self.recipe, distiller, self.loaders, self.log, checkpoint))

        def before_epoch(epoch: int) -> None:
            for callback in callbacks:
                callback(epoch)

        return before_epoch


class _Logged:
    """Write each epoch's line to the run's log, and forward steps and epochs to another progress."""

    def __init__(self, log: RunLog, progress: Progress | None, wording: Wording) -> None:
        self.log, self.progress, self.wording = log, progress, wording

    def step(self, position: Position, meter: EpochMeter) -> None:
        if self.progress:
            self.progress.step(position, meter)

    def epoch(self, row: dict[str, float], epochs: int) -> None:
        self.log.append(epoch_line(row, epochs, self.wording))
        if self.progress:
            self.progress.epoch(row, epochs)


class _ReachedError(Exception):
    """The epoch to stop after is done, and its checkpoint written."""


class _Until:
    """Forward steps and epochs to another progress, and end the training after an epoch."""

    def __init__(self, epochs: int, progress: Progress | None) -> None:
        self.epochs, self.progress = epochs, progress

    def step(self, position: Position, meter: EpochMeter) -> None:
        if self.progress:
            self.progress.step(position, meter)

    def epoch(self, row: dict[str, float], epochs: int) -> None:
        if self.progress:
            self.progress.epoch(row, epochs)
        if row["epoch"] >= self.epochs:
            raise _ReachedError
