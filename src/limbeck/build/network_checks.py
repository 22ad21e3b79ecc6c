"""Whether a network takes a data set's samples, and its output fits the task."""

import torch
from torch import nn

from limbeck.data import Data
from limbeck.errors import UserError, first_line
from limbeck.tasks import Task


def check_network(network: nn.Module, data: Data, task: Task, *, role: str, adapter: nn.Module | None = None) -> None:
    """Run two blank samples through ``network`` (after ``adapter``) in eval mode, and check its output.

    Raises:
        UserError: If it cannot take the data's samples, or its output does not fit the task.
    """
    mode = network.training
    with torch.no_grad():
        _check_output(network.eval(), data, task, role, adapter, "cannot take")
    network.train(mode)


def check_trains(network: nn.Module, data: Data, task: Task, *, role: str) -> None:
    """Run two blank samples through ``network`` in train mode, which moves its statistics, and check its output.

    Raises:
        UserError: If that fails there, or its output does not fit the task.
    """
    with torch.random.fork_rng(devices=[]):
        _check_output(network.train(), data, task, role, None, "cannot be trained on")


def _check_output(
    network: nn.Module, data: Data, task: Task, role: str, adapter: nn.Module | None, cannot: str
) -> None:
    shape = tuple(data.shape)
    try:
        blank = data.example(2)
        output = task.call(network, blank if adapter is None else adapter(blank))
    except Exception as error:
        raise UserError(f"{role}: {cannot} {data.name}'s {data.unit} of shape {shape} ({first_line(error)})") from None
    task.check(output, len(data.classes), role, data.name)
