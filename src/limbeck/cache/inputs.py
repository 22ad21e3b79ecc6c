"""Where the inputs that belong to the slots of a cache come from."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from torch import Tensor

from limbeck.data.batch import Batch


class Replayed(NamedTuple):
    """A batch, as a training has it.

    Attributes:
        batch: Inputs, targets, and positions in the training set.
        epoch: The epoch, 0 where views belong to none.
        slots: (N,) the samples' slots, int64 on the CPU.
    """

    batch: Batch
    epoch: int
    slots: Tensor


class InputSource(Protocol):
    """Makes the inputs of a cache's slots again, bit for bit those of a training.

    :class:`limbeck.cache.Replay` does so for images; other data bring their own.
    """

    def batches(self, slots: Tensor, *, batch_size: int) -> Iterator[Replayed]:
        """Yield each of ``slots``, int64 (N,) on the CPU, once, in batches of at most ``batch_size``.

        Raises:
            UserError: If a sample cannot be read.
        """
