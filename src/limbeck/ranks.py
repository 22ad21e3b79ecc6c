"""The processes that train one student together: which of them this is, and what they exchange."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch import distributed as dist

Value = TypeVar("Value")


def are_several() -> bool:
    """Return whether this is one of several processes of ``torch.distributed``.

    Example:
        >>> are_several()
        False
    """
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """Return this process's number, from 0.

    Before the processes have met, it is what ``torchrun`` has set for this one.

    Example:
        >>> rank()
        0
    """
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank()
    return int(os.environ.get("RANK", "0")) if under_torchrun() else 0


def world_size() -> int:
    """Return how many processes there are.

    Example:
        >>> world_size()
        1
    """
    return dist.get_world_size() if are_several() else 1


def is_first() -> bool:
    """Return whether this is the process that writes files and lines.

    Example:
        >>> is_first()
        True
    """
    return rank() == 0


def under_torchrun() -> bool:
    """Return whether ``torchrun`` has started this process.

    Example:
        >>> under_torchrun()
        False
    """
    return dist.is_available() and dist.is_torchelastic_launched()


def processes_to_meet() -> int:
    """Return how many processes ``torchrun`` has started; 1 without it.

    Example:
        >>> processes_to_meet()
        1
    """
    return int(os.environ.get("WORLD_SIZE", "1")) if under_torchrun() else 1


def barrier() -> None:
    """Wait for the other processes.

    Example:
        >>> barrier()
    """
    if are_several():
        dist.barrier()


def shared(value: Value) -> Value:
    """Return the first process's value, a plain one, on every process.

    Example:
        >>> shared({"epoch": 3})
        {'epoch': 3}
    """
    if not are_several():
        return value
    values: list[object] = [value]
    dist.broadcast_object_list(values, src=0)
    return cast(Value, values[0])


def gathered(value: Value) -> list[Value]:
    """Return the plain values of all processes, in the order of their numbers.

    Example:
        >>> gathered("here")
        ['here']
    """
    if not are_several():
        return [value]
    values: list[Value | None] = [None] * world_size()
    dist.all_gather_object(values, value)
    return cast(list[Value], values)


@torch.no_grad()
def summed(values: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes; a copy where there are several.

    Example:
        >>> summed(torch.ones(2))
        tensor([1., 1.])
    """
    if not are_several():
        return values
    total = values.detach().clone()
    dist.all_reduce(total)
    return total


@torch.no_grad()
def shared_tensor(values: Tensor) -> Tensor:
    """Return the first process's tensor on every process; all of them have one of its shape.

    Example:
        >>> shared_tensor(torch.ones(1))
        tensor([1.])
    """
    if not are_several():
        return values
    values = values.contiguous()
    dist.broadcast(values, src=0)
    return values


@torch.no_grad()
def share_buffers(network: nn.Module) -> None:
    """Give a network's buffers, such as the statistics of batch norms, the values of the first process.

    Example:
        >>> share_buffers(nn.BatchNorm2d(3))
    """
    if are_several():
        for buffer in network.buffers():
            buffer.copy_(shared_tensor(buffer))


@contextmanager
def first_goes_ahead() -> Iterator[None]:
    """Let the first process do the block before the others do, which then find what it has made.

    Example:
        >>> with first_goes_ahead():
        ...     pass
    """
    if not is_first():
        barrier()
    yield
    if is_first():
        barrier()
