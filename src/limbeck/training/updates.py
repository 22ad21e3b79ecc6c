"""The updates of a training: forward, backward, optimizers, schedule, moving average."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from lightning_fabric import Fabric
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from limbeck.data.batch import Batch
from limbeck.distiller import Distiller
from limbeck.models import hold_frozen_norms
from limbeck.reporting import Log
from limbeck.tasks import Task
from limbeck.training.compiling import compile_network
from limbeck.training.device import resolve_precision
from limbeck.training.graphs import CudaRecorder, GraphedSteps, why_not_graphed
from limbeck.training.meter import EpochMeter
from limbeck.training.mixed import end_step
from limbeck.training.mixing import Mixer
from limbeck.training.optimizers import build_optimizer, build_schedule
from limbeck.training.settings import OptimizerSettings, TrainingSettings

# LW-KD's discriminator has an Adam of its own; its rate and momentum are ours.
_ADVERSARY_OPTIMIZER = OptimizerSettings(name="adam", lr=1e-3, betas=(0.5, 0.999))


class Updates:
    """The updates of a student and of what is trained beside it, a batch each.

    Args:
        distiller: Student, teacher and method.
        settings: Optimizer, schedule and the like.
        fabric: Device and precision.
        task: The distiller's task, with its number of classes.
        steps: How many batches an epoch has.
        log: Called with one line about what is set but not possible, such as a CUDA graph on a CPU.

    Attributes:
        ema: The student's moving average; None without one.
        schedule: The learning rate's.
    """

    def __init__(
        self, distiller: Distiller, settings: TrainingSettings, *, fabric: Fabric, task: Task, steps: int, log: Log
    ) -> None:
        self.distiller, self.settings, self.fabric, self.task = distiller, settings, fabric, task
        self._steps, self._log, self._logged = steps, log, set[str]()
        self._stepped = True
        self._set_up()

    def _set_up(self) -> None:
        device = self.fabric.device.type
        adversary = list(self.distiller.adversary_parameters())
        adversary_ids = {id(parameter) for parameter in adversary}
        # Adapters and learned temperatures go with the student, as in the papers' own training.
        parameters = [parameter for parameter in self.distiller.parameters() if id(parameter) not in adversary_ids]
        self._raw = [build_optimizer(parameters, self.settings.optimizer, device=device)]
        if adversary:
            self._raw.append(build_optimizer(adversary, _ADVERSARY_OPTIMIZER, device=device))
        self.module, *self.optimizers = self.fabric.setup(self.distiller, *self._raw)
        self.schedule = self._make_schedule(0)
        self._recorder = self._make_recorder()
        self._mixer = Mixer(self.settings.mix, self.task, seed=self.distiller.seed) if self.settings.mix.mixes else None
        method = self.distiller.method
        if self.settings.label_smoothing > method.label_smoothing:
            self.distiller.method = replace(method, label_smoothing=self.settings.label_smoothing)
        self.ema: AveragedModel | None = None

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
    def epoch(self, epoch: int, meter: EpochMeter) -> Iterator[Callable[[Batch, int], None]]:
        """Do the updates of an epoch within the block.

        Args:
            epoch: The epoch, from 0.
            meter: Counts every batch.

        Yields:
            Does the update of a batch, given its number in the epoch, from 1.
        """
        self.module.train()
        hold_frozen_norms(self.distiller.student)
        with self._stepper(epoch, meter) as do_step:
            yield partial(self._advance, do_step, epoch)

    def _advance(self, do_step: Callable[[Batch], None], epoch: int, batch: Batch, step: int) -> None:
        do_step(batch if self._mixer is None else self._mixer(batch, epoch, step))
        if self._stepped:
            self.schedule.step()
        if self._stepped and self.ema is not None:
            self.ema.update_parameters(self.distiller.student)

    @contextmanager
    def _stepper(self, epoch: int, meter: EpochMeter) -> Iterator[Callable[[Batch], None]]:
        update = partial(self._update, epoch=epoch, meter=meter)
        if self._recorder is None:
            yield update
            return
        teacher = self.distiller.teacher
        ready: Callable[[], str | None] = (lambda: None) if teacher is None else teacher.why_not_recordable
        steps = GraphedSteps(update, self._raw, meter, self._recorder, ready=ready, log=self._log_once)
        with self._recorder.stream():
            yield steps
        if steps.failed:
            self._recorder = None

    def _update(self, batch: Batch, epoch: int, meter: EpochMeter) -> None:
        out = self.module(*batch, epoch)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        self.fabric.backward(out.loss)
        if (norm := self.settings.clip_norm) is not None:
            self.fabric.clip_gradients(self.module, self.optimizers[0], max_norm=norm, error_if_nonfinite=False)
        for optimizer in self.optimizers:
            optimizer.step()
        self._stepped = end_step(self.fabric)
        meter.add(out, batch.size, self.task.figures(out.rows))

    def state(self) -> dict[str, Any]:
        """Return what :meth:`load` goes on from, beside the generators."""
        return {
            "distiller": self.distiller.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self._raw],
            "steps": self.schedule.last_epoch,
            "ema": None if self.ema is None else self.ema.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state of :meth:`state`, which may have more entries."""
        self.distiller.load_state_dict(state["distiller"])
        for optimizer, saved in zip(self._raw, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.schedule = self._make_schedule(state["steps"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
