"""Whether a network takes a data set's samples, and its output fits the task."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from limbeck.data import Data
from limbeck.errors import UserError, first_line
from limbeck.tasks import Task
from limbeck.training.memory import is_out_of_memory


def check_network(
    network: nn.Module,
    data: Data,
    task: Task,
    *,
    role: str,
    adapter: nn.Module | None = None,
    columns: nn.Module | None = None,
) -> None:
    """Run two blank samples through ``network`` (after ``adapter``) in eval mode, and check its output.

    Of a network of other classes ``columns`` chooses those of the data.

    Raises:
        UserError: If it cannot take the data's samples, or its output does not fit the task.
    """
    mode = network.training
    with torch.no_grad():
        _check_output(network.eval(), data, task, role, "cannot take", adapter, columns)
    network.train(mode)


def check_trains(network: nn.Module, data: Data, task: Task, *, role: str) -> None:
    """Run two blank samples through ``network`` in train mode, which moves its statistics, and check its output.

    Raises:
        UserError: If that fails there, or its output does not fit the task.
    """
    with torch.random.fork_rng(devices=[]):
        _check_output(network.train(), data, task, role, "cannot be trained on")


def _check_output(
    network: nn.Module,
    data: Data,
    task: Task,
    role: str,
    cannot: str,
    adapter: nn.Module | None = None,
    columns: nn.Module | None = None,
) -> None:
    shape = tuple(data.shape)
    try:
        blank = data.example(2)
        output = task.call(network, blank if adapter is None else adapter(blank))
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise UserError(f"{role}: {cannot} {data.name}'s {data.unit} of shape {shape} ({first_line(error)})") from None
    if columns is not None:
        with _named(f"{role}: classes"):
            output = columns(output)
    task.check(output, len(data.classes), role, data.name)


@contextmanager
def _named(where: str) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
