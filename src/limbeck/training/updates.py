"""The updates of a training: forward, backward, optimizers, schedule, moving average."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from limbeck.data.batch import Batch
from limbeck.distiller import Distiller
from limbeck.errors import UserError
from limbeck.models import hold_frozen_norms
from limbeck.reporting import Log
from limbeck.tasks import Task
from limbeck.training.compiling import compile_network
from limbeck.training.device import resolve_precision
from limbeck.training.finite import FiniteWatch
from limbeck.training.finite_line import Place
from limbeck.training.graphs import CudaRecorder, GraphedSteps, why_not_graphed
from limbeck.training.meter import EpochMeter
from limbeck.training.mixed import end_step
from limbeck.training.mixing import Mixer
from limbeck.training.optimizers import build_optimizer, build_schedule
from limbeck.training.settings import OptimizerSettings, TrainingSettings
from limbeck.training.sharding import (
    is_sharded,
    load_whole_optimizer_state,
    load_whole_state,
    whole_optimizer_state,
    whole_state,
)
from limbeck.training.shares import shares_of_update

# LW-KD's discriminator has an Adam of its own; its rate and momentum are ours.
_ADVERSARY_OPTIMIZER = OptimizerSettings(name="adam", lr=1e-3, betas=(0.5, 0.999))


class Updates:
    """The updates of a student and of what is trained beside it, a batch each.

    Args:
        distiller: Student, teacher and method.
        settings: Optimizer, schedule and the like.
        fabric: Device and precision.
        task: The distiller's task, with its number of classes.
        steps: How many updates an epoch has.
        log: Called with one line about what is set but not possible, such as a CUDA graph on a CPU.

    Attributes:
        ema: The student's moving average; None without one.
        schedule: The learning rate's.
        watch: Stops the training at a step that is not finite.
    """

    def __init__(
        self, distiller: Distiller, settings: TrainingSettings, *, fabric: Fabric, task: Task, steps: int, log: Log
    ) -> None:
        self.distiller, self.settings, self.fabric, self.task = distiller, settings, fabric, task
        self._steps, self._log, self._logged = steps, log, set[str]()
        self._stepped = True
        self._set_up()

    def _set_up(self) -> None:
        # A training that one of several processes does alone has nothing to exchange.
        self.distiller.gather = self.fabric.world_size > 1
        if self.settings.sync_batchnorm and self.fabric.world_size > 1:
            self._synchronize_norms()
        if is_sharded(self.fabric):
            self.module = self.fabric.setup_module(self.distiller)
            self._raw = self._make_optimizers()
            optimizers = self.fabric.setup_optimizers(*self._raw)
            self.optimizers = list(optimizers) if isinstance(optimizers, tuple) else [optimizers]
        else:
            self._raw = self._make_optimizers()
            self.module, *self.optimizers = self.fabric.setup(self.distiller, *self._raw)
        self.schedule = self._make_schedule(0)
        every = self.settings.check_finite
        options = {"logits": every, "deferred": self.fabric.device.type == "cuda" and not every}
        self.watch = FiniteWatch(self.distiller, self.fabric, steps=self._steps, **options)
        self._recorder = self._make_recorder()
        self._mixer = Mixer(self.settings.mix, self.task, seed=self.distiller.seed) if self.settings.mix.mixes else None
        method = self.distiller.method
        if self.settings.label_smoothing > method.label_smoothing:
            self.distiller.method = replace(method, label_smoothing=self.settings.label_smoothing)
        self.ema: AveragedModel | None = None

    def _make_optimizers(self) -> list[torch.optim.Optimizer]:
        # Fused steps on a CPU take no tensors that are divided between processes.
        device = "" if is_sharded(self.fabric) and self.fabric.device.type == "cpu" else self.fabric.device.type
        adversary = list(self.distiller.adversary_parameters())
        adversary_ids = {id(parameter) for parameter in adversary}
        # Adapters and learned temperatures go with the student, as in the papers' own training.
        parameters = [parameter for parameter in self.distiller.parameters() if id(parameter) not in adversary_ids]
        made = [build_optimizer(parameters, self.settings.optimizer, device=device)]
        return [*made, build_optimizer(adversary, _ADVERSARY_OPTIMIZER, device=device)] if adversary else made

    def _synchronize_norms(self) -> None:
        if self.fabric.device.type != "cuda":
            raise UserError("training.sync_batchnorm: got true, which torch has for GPUs alone")
        convert = nn.SyncBatchNorm.convert_sync_batchnorm
        self.distiller.student = convert(self.distiller.student)  # type: ignore[no-untyped-call]

    def start(self, example: Callable[[], Any]) -> None:
        """Compile the student, if the settings have it compiled, and begin its moving average.

        Args:
            example: Returns the inputs of a batch; called only where something is compiled.
        """
        if self.settings.compile:
            self._compile(example)
        if self.settings.ema is not None:
            average = get_ema_multi_avg_fn(self.settings.ema)  # type: ignore[no-untyped-call]
            self.ema = AveragedModel(self.distiller.student, multi_avg_fn=average, use_buffers=True)

    def _make_schedule(self, done: int) -> LambdaLR:
        settings, epochs = self.settings.schedule, self.settings.epochs
        return build_schedule(self._raw[0], settings, epochs=epochs, steps=self._steps, done=done)

    def _log_once(self, line: str) -> None:
        if line not in self._logged:
            self._logged.add(line)
            self._log(line)

    def _make_recorder(self) -> CudaRecorder | None:
        if not self.settings.cuda_graph:
            return None
        device = self.fabric.device.type
        why = why_not_graphed(self.settings, device, resolve_precision(self.settings.precision, device))
        if self.task.by_parts:
            why = f"task {self.task.name!r} decides on the host which boxes count"
        if self.fabric.world_size > 1 or self.settings.accumulate > 1:
            why = "several processes or batches make an update"
        if why is None:
            return CudaRecorder()
        self._log_once(f"training.cuda_graph: steps are not recorded: {why}")
        return None

    def _compile(self, example: Callable[[], Any]) -> None:
        why: str | None = f"method {self.distiller.method.name!r} reads the student's features as it goes"
        if self.task.by_parts:
            why = f"task {self.task.name!r} runs its parts"
        elif self.distiller.feature_pairs is None:
            device = self.fabric.device
            with torch.random.fork_rng([device] if device.type == "cuda" else []):
                student, precision = self.distiller.student, self.fabric.autocast()
                why = compile_network(student, example(), precision, call=self.task.call)
        if why is not None:
            self._log_once(f"training.compile: the student is not compiled: {why}")

    @contextmanager
    def epoch(self, epoch: int, meter: EpochMeter) -> Iterator[Callable[[Sequence[Batch], int], None]]:
        """Do the updates of an epoch within the block.

        Args:
            epoch: The epoch, from 0.
            meter: Counts every batch.

        Yields:
            Does one update with some batches, most often one, given its number in the epoch, from 1.
        """
        self.module.train()
        hold_frozen_norms(self.distiller.student)
        # Of a recorded step nothing can be read; waiting for another kind of device at every step is for check_finite.
        active = self._recorder is None and (self.fabric.device.type in ("cpu", "cuda") or self.settings.check_finite)
        with self.watch.epoch(active=active), self._stepper(epoch, meter) as do_step:
            yield partial(self._advance, do_step, epoch)

    def _advance(
        self, do_step: Callable[[Sequence[Batch]], None], epoch: int, batches: Sequence[Batch], step: int
    ) -> None:
        if self._mixer is not None:
            first = (step - 1) * self.settings.accumulate + 1
            batches = [self._mixer(batch, epoch, number) for number, batch in enumerate(batches, start=first)]
        self.watch.at(Place(epoch, step, self._steps))
        do_step(batches)
        if self._stepped:
            self.schedule.step()
        if self._stepped and self.ema is not None:
            self.ema.update_parameters(self.distiller.student)

    @contextmanager
    def _stepper(self, epoch: int, meter: EpochMeter) -> Iterator[Callable[[Sequence[Batch]], None]]:
        if self._recorder is None:
            yield partial(self._update, epoch=epoch, meter=meter)
            return
        teacher = self.distiller.teacher
        ready: Callable[[], str | None] = (lambda: None) if teacher is None else teacher.why_not_recordable

        def update(batch: Batch) -> None:
            self._update([batch], epoch=epoch, meter=meter)

        steps = GraphedSteps(update, self._raw, meter, self._recorder, ready=ready, log=self._log_once)
        with self._recorder.stream():
            yield lambda batches: steps(batches[0])
        if steps.failed:
            self._recorder = None

    def _update(self, batches: Sequence[Batch], epoch: int, meter: EpochMeter) -> None:
        shares = shares_of_update(batches, self.task, self.fabric.world_size)
        for number, (batch, share) in enumerate(zip(batches, shares, strict=True), start=1):
            # Processes exchange their gradients once an update.
            with self.fabric.no_backward_sync(self.module, enabled=number < len(batches)):
                out = self.module(*batch, epoch)
                if number == 1:
                    for optimizer in self.optimizers:
                        optimizer.zero_grad()
                self.fabric.backward(out.loss if len(batches) == 1 else share.weight * out.loss)
            self.watch.check(batch, out, last=number == len(batches))
            meter.add(out, share.samples, share.of(self.task.figures(out.rows)))
        if (norm := self.settings.clip_norm) is not None:
            self.fabric.clip_gradients(self.module, self.optimizers[0], max_norm=norm, error_if_nonfinite=False)
        for optimizer in self.optimizers:
            optimizer.step()
        self._stepped = end_step(self.fabric)
        self.watch.stepped(self._stepped)

    def state(self) -> dict[str, Any]:
        """Return what :meth:`load` goes on from, beside the generators; all processes call this together.

        Raises:
            NotFiniteError: If a step or a weight is not finite: no checkpoint has such weights.
        """
        self.watch.check_weights()
        sharded = is_sharded(self.fabric)
        return {
            "distiller": whole_state(self.distiller) if sharded else self.distiller.state_dict(),
            "optimizers": [
                whole_optimizer_state(self.distiller, optimizer) if sharded else optimizer.state_dict()
                for optimizer in self._raw
            ],
            "steps": self.schedule.last_epoch,
            "ema": None if self.ema is None else self.ema.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state of :meth:`state`, which may have more entries."""
        sharded = is_sharded(self.fabric)
        if sharded:
            load_whole_state(self.distiller, state["distiller"])
        else:
            self.distiller.load_state_dict(state["distiller"])
        for optimizer, saved in zip(self._raw, state["optimizers"], strict=True):
            if sharded:
                load_whole_optimizer_state(self.distiller, optimizer, saved)
            else:
                optimizer.load_state_dict(saved)
        self.schedule = self._make_schedule(state["steps"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
