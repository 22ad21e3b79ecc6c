"""How a training ends that cannot go on: one line, with what is left of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from limbeck.errors import RunError
from limbeck.training.checkpoint import has_checkpoint
from limbeck.training.finite import FiniteWatch, NotFiniteError
from limbeck.training.memory import OutOfMemoryError, full_memory_line, is_out_of_memory


@contextmanager
def named_stops(watch: FiniteWatch, batch_size: int, checkpoint: Path | None) -> Iterator[None]:
    """Turn errors of memory and of numbers within a training into one line that ends in what is kept.

    Args:
        watch: Has the step that was begun last.
        batch_size: How many samples a batch has.
        checkpoint: The folder of the checkpoints; None without any.

    Raises:
        RunError: If the training cannot go on.

    Example:
        >>> from lightning_fabric import Fabric
        >>> from limbeck import Distiller
        >>> import torch
        >>> distiller, fabric = Distiller(torch.nn.Linear(4, 3), method="none"), Fabric(accelerator="cpu", devices=1)
        >>> watch = FiniteWatch(distiller, fabric, steps=10, logits=False, deferred=False)
        >>> with named_stops(watch, 64, None):
        ...     raise MemoryError
        Traceback (most recent call last):
        limbeck.errors.RunError: epoch 1, step 0 of 10: the memory of the machine is full with batches of 64, try ...
    """
    try:
        yield
    except (NotFiniteError, OutOfMemoryError) as error:
        raise RunError(f"{error}{_kept(checkpoint)}") from error
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        line = full_memory_line(error, str(watch.place), batch_size, "training.batch_size")
        raise RunError(f"{line}{_kept(checkpoint)}") from error


def _kept(checkpoint: Path | None) -> str:
    if checkpoint is None or not has_checkpoint(checkpoint):
        return ""
    return f"; the last good checkpoint is kept in {checkpoint}"
