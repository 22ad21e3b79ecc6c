"""A rehearsal: what runs on a GPU runs on a CPU, on little data, with steps that are replayed as they are."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from limbeck.data.batch import Batch
from limbeck.training import updates
from limbeck.training.graphs import GraphedSteps, why_not_graphed
from limbeck.training.settings import TrainingSettings

VARIABLE = "LIMBECK_REHEARSAL"


def rehearsing() -> bool:
    """Return whether the environment sets this process to a rehearsal."""
    return bool(os.environ.get(VARIABLE))


class EagerRecorder:
    """Takes the place of CUDA graphs: a recording leaves no trace, and a replay does the work itself."""

    def stream(self) -> AbstractContextManager[None]:
        """Return a context that does nothing."""
        return nullcontext()

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Return the work."""
        return work


class EagerSteps(GraphedSteps):
    """Steps whose replays count their samples by themselves."""

    def _again(self, batch: Batch) -> None:
        samples = self._meter.samples
        super()._again(batch)
        self._meter.samples = samples + batch.size


def _why_not(settings: TrainingSettings, _: str, precision: str) -> str | None:
    return why_not_graphed(settings, "cuda", precision)


def replay_steps_eagerly() -> None:
    """Let every engine of this process record its steps on a CPU as it would on a GPU."""
    vars(updates).update(CudaRecorder=EagerRecorder, GraphedSteps=EagerSteps, why_not_graphed=_why_not)
