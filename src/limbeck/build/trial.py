"""What a recipe's networks cost: their sizes, and the seconds of a few steps that are thrown away."""

import copy
import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from limbeck import methods
from limbeck.build.context import Context
from limbeck.build.data import Loaders
from limbeck.build.networks import placed
from limbeck.data import Data
from limbeck.data.batch import Batch, kept_workers
from limbeck.distiller import Distiller
from limbeck.randomness.seeding import generators_kept
from limbeck.tasks import Task
from limbeck.training import Engine, ScheduleSettings, TrainingSettings, decide, make_fabric
from limbeck.training.settings import NOTHING_CHOSEN

_STEPS = 3


def multiply_adds(network: nn.Module, inputs: Any, task: Task) -> int:
    """Count the multiplications with an addition of a forward pass: those of convolutions and matrix products.

    Args:
        network: The network; it stays as it is.
        inputs: A batch of inputs on the network's device; of one sample for the count of one.
        task: Calls the network.

    Returns:
        The count for the whole batch.

    Example:
        >>> from limbeck.tasks import Classification
        >>> multiply_adds(nn.Linear(5, 3), torch.zeros(1, 5), Classification(3))
        15
    """
    trial = copy.deepcopy(network).eval()
    with warnings.catch_warnings():
        # On TF32 of Intel's GPUs, of which nothing is used.
        warnings.simplefilter("ignore", UserWarning)
        # With gradients and without oneDNN, attention and recurrent layers are the matrix products that can be counted.
        with (
            torch.enable_grad(),
            torch.backends.mkldnn.flags(enabled=False),
            sdpa_kernel(SDPBackend.MATH),
            FlopCounterMode(display=False) as counter,
        ):
            task.call(trial, inputs)
    # A multiplication and an addition are two operations there.
    return int(counter.get_total_flops()) // 2


@dataclass(frozen=True)
class Trial:
    """What a training's parts took, in seconds.

    Attributes:
        steps: The steps of an epoch.
        loading: Making a batch, in this process.
        step: A training step with the labels alone: forward, backward and optimizer.
        measuring: A forward pass of as many samples as an epoch's measured splits have.
    """

    steps: int
    loading: float
    step: float
    measuring: float

    def training(self, settings: TrainingSettings, *, workers: int = 0, teacher: float = 0.0) -> float:
        """Return the seconds of a whole training.

        Args:
            settings: Its epochs, and how often it is measured.
            workers: Processes that make batches meanwhile; 0 if they are made in between.
            teacher: The seconds of the teacher's forward pass for a batch.

        Example:
            >>> trial = Trial(steps=10, loading=1.0, step=2.0, measuring=5.0)
            >>> trial.training(TrainingSettings(epochs=2, evaluate_every=2))
            65.0
            >>> trial.training(TrainingSettings(epochs=2, evaluate_every=2), workers=4, teacher=3.0)
            105.0
        """
        step = self.step + teacher
        step = max(step, self.loading / workers) if workers else step + self.loading
        return settings.epochs * self.steps * step + _measurements(settings) * self.measuring


def _measurements(settings: TrainingSettings) -> int:
    # The epoch that is kept is measured again, and a temperature is fitted and measured on the same splits.
    further = (settings.keep == "best") + settings.temperature_scaling
    return -(-settings.epochs // settings.evaluate_every) + further


def tried(context: Context, network: nn.Module, settings: TrainingSettings, data: Data | None = None) -> Trial:
    """Train a copy of a network for a few steps with the labels of a run's data, and return what they took.

    Args:
        context: The run.
        network: Its student, or a teacher that it trains; it stays as it is.
        settings: The training.
        data: A teacher's own data; None for the student's.

    Raises:
        UserError: If the device or the precision is missing, or a batch is larger than the training set.
    """
    own, trial = context.data if data is None else data, copy.deepcopy(network)
    # Compiling and recording would cost more than the steps that are timed; a schedule may be shorter than these.
    simple = {**NOTHING_CHOSEN, "compile": False, "cuda_graph": False, "schedule": ScheduleSettings(name="constant")}
    chosen = decide(settings, trial, own.example(2)).model_copy(update=simple)
    fabric = make_fabric(chosen)
    # The time of a batch is that of one process, whatever prepares the batches of a run.
    alone = context.recipe.data.model_copy(update={"workers": 0})
    loaders = Loaders(own, alone, chosen, fabric, context.recipe.seed)
    views = loaders.for_student() if data is None else loaders.train()
    with generators_kept():
        loading, batches = _loaded(views)
        distiller = Distiller(trial, None, methods.create("none"), task=context.task)
        placed(distiller, chosen, fabric.device)
        engine = Engine(distiller, FixedBatches(batches), chosen, fabric=fabric, splits={})
        # The first steps find memory and kernels.
        engine.train_epoch(0).means()
        step = _least_seconds(lambda: engine.train_epoch(1).means()) / len(batches)
        return Trial(len(views), loading, step, _measuring(context, trial, loaders))


def forward_seconds(context: Context, call: Callable[[Batch], object], settings: TrainingSettings) -> float:
    """Return the seconds of a teacher's forward pass for one of a run's batches.

    Args:
        context: The run.
        call: Computes the teacher's output.
        settings: The run's training.
    """
    fabric = make_fabric(settings)
    with generators_kept(), torch.no_grad(), fabric.autocast():
        views = Loaders(context.data, context.recipe.data, settings, fabric, context.recipe.seed).for_student()
        _, batches = _loaded(views)
        moved = [batch.to(fabric.device) for batch in batches]
        call(moved[0])
        return _least_seconds(lambda: [call(batch) for batch in moved]) / len(moved)


def peak_memory(device: torch.device) -> int:
    """Return the most bytes that this process has had: of the GPU's memory for tensors, or of the machine's in all.

    Example:
        >>> peak_memory(torch.device("cpu")) > 1e6
        True
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # In kilobytes, but for macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _measuring(context: Context, network: nn.Module, loaders: Loaders) -> float:
    """Return the seconds of making all measured samples and a forward pass of them, from one batch of them."""
    splits = loaders.measured()
    samples = sum(len(batches) for batches in splits.values())
    start = time.perf_counter()
    batch = next(iter(splits["test"].epoch(0)))
    making = time.perf_counter() - start
    batch = batch.to(loaders.fabric.device)
    with torch.no_grad(), loaders.fabric.autocast():
        network.eval()
        return samples * (making + _seconds(lambda: context.task.call(network, batch.inputs)))


def _loaded(views: Any) -> tuple[float, list[Batch]]:
    """Return the seconds of making a batch, and the first batches of an epoch."""
    with kept_workers(views):
        iterator, start = iter(views.epoch(0)), time.perf_counter()
        first = next(iterator)
        opening, start = time.perf_counter() - start, time.perf_counter()
        others = list(islice(iterator, _STEPS - 1))
        seconds = time.perf_counter() - start
    # A training set of one batch has no second one.
    return seconds / len(others) if others else opening, [Batch.of(batch) for batch in [first, *others]]


def _least_seconds(work: Callable[[], object]) -> float:
    """Return the seconds of the faster of two times: whatever else the machine does can only add to them."""
    return min(_seconds(work), _seconds(work))


def _seconds(work: Callable[[], object]) -> float:
    _finish()
    start = time.perf_counter()
    work()
    _finish()
    return time.perf_counter() - start


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class FixedBatches:
    """A few batches as every epoch.

    Args:
        batches: The batches.

    Example:
        >>> len(FixedBatches([Batch(None), Batch(None)]))
        2
    """

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def epoch(self, _: int) -> Iterator[Batch]:
        """Return the batches, whatever the epoch."""
        return iter(self._batches)
