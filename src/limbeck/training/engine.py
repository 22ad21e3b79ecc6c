"""The training loop: epochs, their record, and the checkpoints."""

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from limbeck.data.batch import Batch, Epochs, batches_from, kept_workers
from limbeck.distiller import Distiller
from limbeck.errors import RunError, UserError
from limbeck.randomness.seeding import generator_states, set_generator_states
from limbeck.ranks import barrier, gathered, is_first, rank, share_buffers, shared
from limbeck.reporting import Log, no_log
from limbeck.tasks import Measured, Task
from limbeck.teachers import LabelTeacher
from limbeck.training.checkpoint import load_checkpoint, restoring, save_checkpoint
from limbeck.training.evaluate import measure
from limbeck.training.interrupting import Interrupted, StopRequest, stop_requests
from limbeck.training.keeping import EpochRecord, Keeping
from limbeck.training.memory import memory_explained
from limbeck.training.meter import EpochMeter
from limbeck.training.progress import Position, Progress, Silent
from limbeck.training.settings import TrainingSettings
from limbeck.training.shares import groups
from limbeck.training.stops import named_stops
from limbeck.training.under_way import CheckpointDue, UnderWay
from limbeck.training.updates import Updates
from limbeck.training.wording import Wording

# In how many batches a teacher is searched for logits that are not finite, once the loss is not: a fault of weights or
# of normalization shows in the first.
_SEARCHED_BATCHES = 100
_REMEDY = "try a lower learning rate or clip_norm"
# Columns of records that earlier versions wrote under another name.
_RENAMED = {"images_per_second": "samples_per_second"}


class Engine:
    """Train a distiller's student, epoch by epoch, and keep the record.

    Args:
        distiller: Student, teacher and method.
        views: The training set: its batches, as many an epoch as it is long; see :class:`limbeck.data.Epochs`. They may
            be on any device, and plain tuples ``(inputs, targets, indices)``. Where it is a context manager, it is
            entered for the training. Its attribute ``unit``, if it has one, is the name of its samples.
        settings: Epochs, optimizer, schedule and the like.
        fabric: Device and precision.
        splits: The splits to measure by name, such as ``"test"``: their batches, or as the training set.
        num_classes: Number of classes, where the distiller's task does not have it.
        checkpoint: Folder of the checkpoints; None keeps none.
        progress: Receives every step and epoch.
        before_epoch: Called with every epoch's number (from 0) before it begins, such as to make a selection.
        after_epoch: Called with the record so far after every epoch.
        log: Called with one line about what is set but not possible, such as a CUDA graph on a CPU.

    Raises:
        UserError: If there are splits, and the number of classes is needed to measure them but not given; or if an
            epoch is to be chosen without a split ``"validation"``.

    Attributes:
        task: The distiller's task, with its number of classes.
        record: One row an epoch: learning rate, means over the training batches, and the figures of the splits.
        measured: The splits' figures when last measured: after :meth:`fit` those of the network that is kept.
        keeping: Which epoch is kept, and whether the training ended early.

    Example:
        A plain loop with the same steps needs only :class:`limbeck.Distiller`; see its example.
    """

    def __init__(
        self,
        distiller: Distiller,
        views: Epochs,
        settings: TrainingSettings,
        *,
        fabric: Fabric,
        splits: Mapping[str, Iterable[Batch] | Epochs],
        num_classes: int | None = None,
        checkpoint: Path | None = None,
        progress: Progress | None = None,
        before_epoch: Callable[[int], None] | None = None,
        after_epoch: Callable[[list[EpochRecord]], None] | None = None,
        log: Log = no_log,
    ) -> None:
        self.distiller, self.views, self.settings, self.fabric = distiller, views, settings, fabric
        self.splits, self.checkpoint = splits, checkpoint
        self.task = _with_classes(distiller.task, num_classes)
        self.wording = Wording(self.task.metrics, getattr(views, "unit", "samples"))
        self.progress: Progress = progress or Silent()
        self.before_epoch, self.after_epoch, self._log = before_epoch, after_epoch, log
        self.record: list[EpochRecord] = []
        self.measured: dict[str, Measured] = {}
        self.keeping = Keeping(settings, self.task, splits)
        self._checkpoint_due = CheckpointDue(settings)
        self._under_way: UnderWay | None = None
        if splits:
            # A missing number of classes is an error here, and not after the first epoch.
            self.task.evaluator()
        self._steps = -(-len(views) // settings.accumulate)
        self.updates = Updates(distiller, settings, fabric=fabric, task=self.task, steps=self._steps, log=log)
        self.updates.start(lambda: next(self._batches(views, 0)).inputs)

    def _batches(self, source: Iterable[Batch] | Epochs, epoch: int, start: int = 0) -> Iterator[Batch]:
        batches = batches_from(source, epoch, start) if isinstance(source, Epochs) else source
        return (Batch.of(batch).to(self.fabric.device) for batch in batches)

    @property
    def _several(self) -> bool:
        return self.fabric.world_size > 1

    @property
    def network(self) -> nn.Module:
        """The network that is measured and kept: the student, or its moving average."""
        ema = self.updates.ema
        averaged: nn.Module = self.distiller.student if ema is None else ema.module
        return averaged

    def fit(self, *, resume: bool = False) -> list[EpochRecord]:
        """Train to the last epoch, or until ``patience`` ends it, and return the record.

        Afterwards :attr:`network` and :attr:`measured` are those of the epoch that is kept.

        Args:
            resume: Begin at the newest checkpoint that can be read, be it in the middle of an epoch, instead of at the
                first epoch. The settings may have more epochs than before; rates and temperatures are theirs from the
                resumed update on.

        Raises:
            RunError: If a loss, a gradient or the teacher's logits are not finite, or the memory is full.
            UserError: If there is no checkpoint to resume from, none can be read, or it has more epochs than these.
            Interrupted: If SIGINT or SIGTERM came, and the checkpoint is written; without ``checkpoint`` they interrupt
                at once.
        """
        stops = named_stops(self.updates.watch, self.settings.batch_size, self.checkpoint)
        with kept_workers(self.views, *self.splits.values()), stops:
            return self._fit(resume=resume)

    def _fit(self, *, resume: bool) -> list[EpochRecord]:
        if resume:
            assert self.checkpoint is not None
            with restoring(self.checkpoint):
                self._restore()
        for epoch in range(len(self.record), self.settings.epochs):
            # Also where the checkpoint that was read is that of the end.
            if self.keeping.ends(self.record):
                break
            self._end_epoch(epoch, self._epoch(epoch))
            self.progress.epoch(self.record[-1], self.settings.epochs)
        self._conclude()
        return self.record

    def _end_epoch(self, epoch: int, row: EpochRecord) -> None:
        """Record an epoch and write its checkpoint; a signal meanwhile ends the training behind it."""
        with self._stop_requests() as request:
            # Times are those of the first process.
            self.record.append(shared(row) if self._several else row)
            self.keeping.after_epoch(self.record, self.network)
            if self.after_epoch:
                self.after_epoch(self.record)
            if stopped := request.agreed(1, 1, several=self._several):
                request.requested = False
        if stopped or self._due(epoch, self.settings.checkpoint_every) or self.keeping.ends(self.record):
            self._save()
        if stopped:
            raise self._interrupted(f"epoch {len(self.record)}")

    def _stop_requests(self) -> AbstractContextManager[StopRequest]:
        return stop_requests() if self.checkpoint else nullcontext(StopRequest())

    def _conclude(self) -> None:
        for line in self.keeping.lines(self.record):
            self._log(line)
        if self.keeping.restore(self.record, self.network) or not self.measured:
            self._measure()

    def _due(self, epoch: int, every: int) -> bool:
        return (epoch + 1) % every == 0 or epoch + 1 == self.settings.epochs

    def _epoch(self, epoch: int) -> EpochRecord:
        # That of a checkpoint in the middle of the epoch has its preparations behind it.
        under_way = self._under_way = self._under_way or self._prepared(epoch)
        meter = self.train_epoch(epoch)
        if self._several:
            meter.gather()
        means, seconds = meter.means(), under_way.seconds
        if not all(map(math.isfinite, means.values())):
            raise RunError(f"epoch {epoch + 1}: {self._why_not_finite(epoch, means['loss'])}")
        row: EpochRecord = {"epoch": epoch + 1, "lr": under_way.lr}
        row |= {f"train.{name}": value for name, value in means.items()}
        if self.distiller.selected is not None:
            row["selected"] = float(self.distiller.selected.float().mean())
        row["samples_per_second"] = float(meter.samples) / seconds
        if self._due(epoch, self.settings.evaluate_every):
            row.update(self._measured_or_saved(under_way))
        row["seconds"] = under_way.before + under_way.seconds
        return row

    def _prepared(self, epoch: int) -> UnderWay:
        start = time.perf_counter()
        if self.before_epoch:
            self.before_epoch(epoch)
        return self._beginning(epoch, before=time.perf_counter() - start)

    def _beginning(self, epoch: int, before: float = 0.0) -> UnderWay:
        lr = float(self.updates.schedule.get_last_lr()[0])
        return UnderWay(epoch, self._steps, lr, self.wording, before)

    def _measured_or_saved(self, under_way: UnderWay) -> EpochRecord:
        """Measure the splits; an interrupt meanwhile does not cost the epoch."""
        generators = generator_states()
        try:
            return self._measure()
        except KeyboardInterrupt:
            # Several processes are at different places then.
            if not self.checkpoint or self._several:
                raise
            set_generator_states(generators)
            raise self._stopped(under_way) from None

    @torch.no_grad()
    def _why_not_finite(self, epoch: int, loss: float) -> str:
        teacher = self.distiller.teacher
        # Logits that are made from labels alone depend on no weights and no inputs.
        alone = not isinstance(teacher, LabelTeacher) and not self.task.by_parts
        batches = self._batches(self.views, epoch) if alone else ()
        for batch in islice(batches, 0 if teacher is None else _SEARCHED_BATCHES):
            assert teacher is not None
            with self.fabric.autocast():
                heads = self.task.rows(teacher.answer(batch, epoch), batch.targets)
            finite = torch.cat([rows.logits.isfinite().all(dim=1) for rows in heads.values()])
            if not finite.all():
                rows = f"nan or inf in {int((~finite).sum())} of a batch's {len(finite)} rows"
                return f"the teacher's logits: {rows}; check its weights, its normalization and teacher.precision"
        return f"the loss is {loss}; {_REMEDY}"

    def train_epoch(self, epoch: int) -> EpochMeter:
        """Go once through the batches of ``epoch`` and return its sums; nothing is measured or recorded."""
        under_way, self._under_way = self._under_way or self._beginning(epoch), None
        meter, steps, done = under_way.meter, under_way.steps, under_way.step
        batches = self._batches(self.views, epoch, done * self.settings.accumulate)
        with self.updates.epoch(epoch, meter) as update, self._stop_requests() as request:
            if done == steps:
                self.progress.step(Position(epoch, self.settings.epochs, done, steps), meter)
            for step, group in enumerate(groups(batches, self.settings.accumulate), start=done + 1):
                update(group, step)
                under_way.step = step
                self._after_update(under_way, request)
                self.progress.step(Position(epoch, self.settings.epochs, step, steps), meter)
        return meter

    def _after_update(self, under_way: UnderWay, request: StopRequest) -> None:
        epoch, step, steps = under_way.epoch, under_way.step, under_way.steps
        if not self.checkpoint:
            return
        if request.agreed(step, steps, several=self._several):
            raise self._stopped(under_way)
        # After the last update of an epoch follows its own checkpoint.
        if step < steps and self._checkpoint_due(epoch * steps + step, several=self._several):
            self._save(under_way)

    def _stopped(self, under_way: UnderWay) -> Interrupted:
        """Write a checkpoint, and return what ends the training."""
        self._save(under_way)
        return self._interrupted(under_way.text)

    def _interrupted(self, place: str) -> Interrupted:
        return Interrupted(f"saved after {place} of {self.settings.epochs} ({self.checkpoint})")

    def _save(self, under_way: UnderWay | None = None) -> None:
        if not self.checkpoint:
            return
        # An interrupt meanwhile waits for the end of the writing.
        with stop_requests() as request:
            state = self._state(under_way)
            if is_first():
                save_checkpoint(self.checkpoint, state)
            stopped, request.requested = request.requested, False
        if self._several:
            barrier()
        self._checkpoint_due.written()
        if stopped:
            raise self._interrupted(under_way.text if under_way else f"epoch {len(self.record)}")

    def _measure(self) -> EpochRecord:
        if self._several:
            # Each process has seen batches of its own; one network is measured, the one that is kept.
            share_buffers(self.network)
        for name, split in self.splits.items():
            # A measurement is no reason to compile again, for its mode and its batches.
            with torch.compiler.set_stance("force_eager") if self.settings.compile else nullcontext():
                batches = self._batches(split, 0)
                precision = self.fabric.autocast()
                with memory_explained(f"measuring the {name} split", key=""):
                    measured = measure(self.network, batches, self.task, precision=precision, gather=self._several)
            for metric, value in measured.numbers().items():
                if not math.isfinite(value):
                    raise RunError(f"the {metric} on the {name} split is {value}; {_REMEDY}")
            self.measured[name] = measured
        return {f"{name}.{key}": v for name, m in self.measured.items() for key, v in m.numbers().items()}

    def _state(self, under_way: UnderWay | None) -> dict[str, Any]:
        return {
            "record": self.record,
            **self.updates.state(),
            "generators": generator_states(),
            **({"generators_of_processes": gathered(generator_states())} if self._several else {}),
            **self.keeping.state(),
            "under_way": None if under_way is None else under_way.state(several=self._several),
        }

    def _restore(self) -> None:
        assert self.checkpoint is not None
        state = load_checkpoint(self.checkpoint, log=self._log)
        # A checkpoint by an earlier version is that of an epoch's end.
        begun = state.get("under_way")
        epochs = len(state["record"]) + (begun is not None)
        if epochs > self.settings.epochs:
            got = f"{self.checkpoint}: holds {epochs} epochs"
            raise UserError(f"{got}, expected at most the {self.settings.epochs} of training.epochs")
        self.record = [{_RENAMED.get(name, name): value for name, value in row.items()} for row in state["record"]]
        self._under_way = begun and UnderWay.of(begun, steps=self._steps, wording=self.wording)
        self.updates.load(state)
        self.keeping.load(state)
        of_processes = state.get("generators_of_processes", [state["generators"]])
        if rank() < len(of_processes):
            set_generator_states(of_processes[rank()] if self._several else state["generators"])
        place = f"epoch {len(self.record)}" if self._under_way is None else self._under_way.text
        self._log(f"resuming after {place} of {self.settings.epochs}")


def _with_classes(task: Task, num_classes: int | None) -> Task:
    if num_classes is None or task.num_classes is not None:
        return task
    task = copy.copy(task)
    task.num_classes = num_classes
    return task
