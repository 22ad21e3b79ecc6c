"""Whether a network takes a data set's images and gives one logit a class."""

import torch
from torch import nn

from limbeck.data import Data
from limbeck.errors import UserError, first_line


def check_network(network: nn.Module, data: Data, *, role: str, adapter: nn.Module | None = None) -> None:
    """Run two blank images through ``network`` (after ``adapter``) in eval mode, and check its output.

    Raises:
        UserError: If it cannot take the data's images, or does not give one logit a class.
    """
    mode = network.training
    with torch.no_grad():
        _check_output(network.eval(), data, role, adapter, "cannot take")
    network.train(mode)


def check_trains(network: nn.Module, data: Data, *, role: str) -> None:
    """Run two blank images through ``network`` in train mode, which moves its statistics, and check its output.

    Raises:
        UserError: If that fails there, or gives anything but one logit a class.
    """
    with torch.random.fork_rng(devices=[]):
        _check_output(network.train(), data, role, None, "cannot be trained on")


def _check_output(network: nn.Module, data: Data, role: str, adapter: nn.Module | None, cannot: str) -> None:
    shape, classes = tuple(data.shape), len(data.classes)
    try:
        blank = torch.zeros(2, *shape)
        output = network(blank if adapter is None else adapter(blank))
    except Exception as error:
        raise UserError(f"{role}: {cannot} {data.name}'s images of shape {shape} ({first_line(error)})") from None
    if not isinstance(output, torch.Tensor) or output.ndim != 2:
        got = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise UserError(f"{role}: its output is {got}, expected logits of shape (N, {classes})")
    if output.shape[1] != classes:
        raise UserError(f"{role}: gives {output.shape[1]} classes, expected the {classes} of {data.name}")
