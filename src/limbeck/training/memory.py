"""Out of memory: which errors mean it, and the line about it."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from limbeck.errors import RunError

# How torch's errors that have no class of their own begin or read.
_TEXTS = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "MPS backend out of memory",
)


class OutOfMemoryError(RunError):
    """The memory did not hold what a batch takes.

    Example:
        >>> issubclass(OutOfMemoryError, RunError)
        True
    """


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that the machine's or the device's memory is full.

    Example:
        >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("another"))
        (True, False)
    """
    # Errors of disks have texts of their own.
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _TEXTS)


def full_memory_line(error: BaseException, doing: str, batch_size: int | None = None, key: str = "batch_size") -> str:
    """Return the line about a full memory.

    Args:
        error: What was raised.
        doing: What was done, such as ``"epoch 1, step 3 of 10"``.
        batch_size: How many samples a batch had; None if that is not known.
        key: What sets it; empty if nothing does.

    Example:
        >>> full_memory_line(MemoryError(), "epoch 1, step 3 of 10", 64, "training.batch_size")
        'epoch 1, step 3 of 10: the memory of the machine is full with batches of 64, try training.batch_size=32'
    """
    on_device = isinstance(error, torch.OutOfMemoryError) or "CUDA" in str(error) or "MPS" in str(error)
    line = f"{doing}: the memory of the {'GPU' if on_device else 'machine'} is full"
    line += f" with batches of {batch_size}" if batch_size else ""
    if batch_size in (None, 1) or not key:
        return f"{line}, try a smaller network or smaller inputs"
    return f"{line}, try {key}={(batch_size or 1) // 2}"


@contextmanager
def memory_explained(doing: str, batch_size: int | None = None, key: str = "batch_size") -> Iterator[None]:
    """Raise :class:`OutOfMemoryError` with one line where the memory does not hold what the block does.

    Args:
        doing: As for :func:`full_memory_line`.
        batch_size: As for that.
        key: As for that.

    Example:
        >>> with memory_explained("measuring", 500):
        ...     raise MemoryError
        Traceback (most recent call last):
        limbeck.training.memory.OutOfMemoryError: measuring: the memory of the machine is full with batches of 500, ...
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(full_memory_line(error, doing, batch_size, key)) from error


def free_memory() -> None:
    """Give back what is no longer used, after a training that ran out of memory.

    Example:
        >>> free_memory()
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
