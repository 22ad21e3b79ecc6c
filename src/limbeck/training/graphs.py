"""Training steps as a CUDA graph: recorded once an epoch, then replayed, which costs the host one call a step."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from limbeck.data.batch import Batch, device_of
from limbeck.reporting import Log
from limbeck.training.meter import EpochMeter
from limbeck.training.optimizer_names import FUSED_CHOICES
from limbeck.training.settings import TrainingSettings

# Optimizers create their state, and libraries choose their algorithms, in the first steps.
WARM_STEPS = 3
# Those whose fused form takes the learning rate from the device, where a replay can read it.
_RECORDABLE = ("sgd", "adam", "adamw")


def why_not_graphed(settings: TrainingSettings, device: str, precision: str) -> str | None:
    """Return why a training's steps cannot be a CUDA graph; None if they can.

    Example:
        >>> why_not_graphed(TrainingSettings(), "cpu", "fp32")
        'the device is cpu'
    """
    if device != "cuda":
        return f"the device is {device}"
    if precision == "fp16":
        return "fp16 scales the loss by a number that the host decides on"
    if settings.check_finite:
        return "check_finite reads a number at every step"
    if settings.optimizer.name.lower() not in _RECORDABLE or FUSED_CHOICES & settings.optimizer.arguments.keys():
        return f"optimizer {settings.optimizer.name!r} is not one of {', '.join(_RECORDABLE)} in its fused form"
    return None


class Recorder(Protocol):
    """Records work on a device without doing it."""

    def stream(self) -> Any:
        """Return a context in which everything runs, be it recorded or not."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record ``work`` and return what repeats it; raise if it cannot be recorded."""


class CudaRecorder:
    """CUDA graphs, all of which share one pool of memory."""

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Run on the stream that is recorded."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            yield
        torch.cuda.current_stream().wait_stream(self._stream)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Capture ``work`` as a graph and return its replay."""
        graph = torch.cuda.CUDAGraph()
        # Loaders of images have threads of their own, whose copies to the device are no part of the step.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            work()
        return graph.replay


@contextmanager
def rates_on_device(groups: Sequence[dict[str, Any]], rates: Sequence[Tensor]) -> Iterator[None]:
    """Let optimizers read the learning rates of their groups from tensors while their step is recorded.

    Example:
        >>> optimizer, rate = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5), torch.tensor(0.1)
        >>> with rates_on_device(optimizer.param_groups, [rate]):
        ...     optimizer.param_groups[0]["lr"] is rate
        True
        >>> optimizer.param_groups[0]["lr"]
        0.5
    """
    before = [dict(group) for group in groups]
    for group, rate in zip(groups, rates, strict=True):
        group["lr"] = rate
        if "capturable" in group:
            group["capturable"] = True
    try:
        yield
    finally:
        for group, values in zip(groups, before, strict=True):
            group.update(values)


def _cause(error: BaseException) -> str:
    """Return the first line of the first error: that of the end of a recording names no cause.

    Example:
        >>> try:
        ...     try:
        ...         raise RuntimeError("cannot wait here")
        ...     finally:
        ...         raise RuntimeError("invalidated")
        ... except RuntimeError as error:
        ...     _cause(error)
        'cannot wait here'
    """
    while error.__context__ is not None:
        error = error.__context__
    return str(error).partition("\n")[0] or type(error).__name__


class GraphedSteps:
    """Do the steps of one epoch: the first few as they are, the others as replays of the one that is recorded then.

    Every epoch has its graph, because the steps may change from one to the next: the teacher's table of logits, a
    scheduled temperature.

    Args:
        update: Does a step on the device; what it does on the host happens once, when it is recorded.
        optimizers: Those that ``update`` steps; their learning rates may change between steps.
        meter: The epoch's sums, which ``update`` adds to.
        recorder: Records steps.
        ready: Returns why the next step cannot be recorded; None if it can.
        log: Called with one line if a step cannot be recorded; the epoch then continues without.

    Attributes:
        failed: Whether recording was tried and failed; it may not be tried again then, because the allocator that was
            recording is left as it was.
    """

    def __init__(
        self,
        update: Callable[[Batch], None],
        optimizers: Sequence[torch.optim.Optimizer],
        meter: EpochMeter,
        recorder: Recorder,
        *,
        ready: Callable[[], str | None],
        log: Log,
    ) -> None:
        self._update, self._meter, self._recorder = update, meter, recorder
        self._groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        self._ready, self._log = ready, log
        self._done, self._unrecorded, self.failed = 0, False, False
        self._replay: Callable[[], None] | None = None

    def __call__(self, batch: Batch) -> None:
        """Do a step."""
        if self._replay is None and self._done >= WARM_STEPS and not self._unrecorded:
            self._record(batch)
        if self._replay is not None and _layout(batch) == self._layout:
            self._again(batch)
        else:
            self._update(batch)
        self._done += 1

    def _record(self, batch: Batch) -> None:
        why = self._ready()
        if why is not None:
            self._give_up(why)
            return
        self._batch = Batch(*pytree.tree_map_only(Tensor, Tensor.clone, tuple(batch)))
        self._layout = _layout(batch)
        device, samples = device_of(tuple(batch)), self._meter.samples
        self._rates = [torch.tensor(float(group["lr"]), device=device) for group in self._groups]
        try:
            with rates_on_device(self._groups, self._rates):
                self._replay = self._recorder.record(lambda: self._update(self._batch))
        except Exception as error:
            self.failed = True
            self._give_up(_cause(error))
        # Recording has counted samples that only a replay adds to the sums.
        self._meter.samples = samples

    def _give_up(self, why: str) -> None:
        self._unrecorded = True
        self._log(f"training.cuda_graph: steps are not recorded: {why}")

    def _again(self, batch: Batch) -> None:
        assert self._replay is not None
        for stored, values in zip(pytree.tree_leaves(self._batch), pytree.tree_leaves(batch), strict=True):
            if isinstance(stored, Tensor):
                stored.copy_(values)
        for rate, group in zip(self._rates, self._groups, strict=True):
            rate.fill_(group["lr"])
        self._replay()
        self._meter.samples += batch.size


def _layout(batch: Batch) -> tuple[pytree.TreeSpec, list[Any]]:
    """Return what a batch must share with the recorded one: its structure, shapes, types, and plain values."""
    leaves, structure = pytree.tree_flatten(tuple(batch))
    return structure, [_kind(leaf) for leaf in leaves]


def _kind(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return leaf.shape, leaf.dtype
    # Anything else may not be comparable; as its own kind it is never replayed.
    return leaf if leaf is None or isinstance(leaf, int | float | str) else id(leaf)
