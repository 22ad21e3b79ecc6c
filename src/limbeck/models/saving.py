"""Write networks and tensors as safetensors files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from limbeck.errors import RunError, UserError
from limbeck.files import replacing


def save_network(path: Path, network: nn.Module, about: Mapping[str, Any]) -> None:
    """Write a network's weights as safetensors, with ``about`` as JSON in the metadata.

    Args:
        path: The file; its folder exists.
        network: The network, on any device.
        about: Plain values, read again by :func:`limbeck.models.checkpoints.read_about`.

    Raises:
        UserError: If a tensor of the network cannot be stored.
        RunError: If the file cannot be written.

    Example:
        >>> import tempfile
        >>> from safetensors.torch import load_file
        >>> path = Path(tempfile.mkdtemp()) / "student.safetensors"
        >>> save_network(path, nn.Linear(2, 2), {"name": "linear"})
        >>> sorted(load_file(path))
        ['bias', 'weight']
    """
    check_storable(network, "network")
    # Clones, since safetensors refuses tensors that share memory or are not laid out plainly.
    weights = {
        k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in network.state_dict().items()
    }
    save_tensors(path, weights, {"limbeck": json.dumps(about)})


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors into one safetensors file, which is replaced in one move.

    Args:
        path: The file; its folder exists.
        tensors: Dense tensors by name.
        metadata: Texts by name, stored beside them.

    Raises:
        RunError: If the file cannot be written.

    Example:
        >>> import tempfile
        >>> from safetensors.torch import load_file
        >>> path = Path(tempfile.mkdtemp()) / "a.safetensors"
        >>> save_tensors(path, {"a": torch.ones(2)})
        >>> load_file(path)
        {'a': tensor([1., 1.])}
    """
    with replacing(path) as partial:
        try:
            save_file(dict(tensors), partial, metadata=dict(metadata) if metadata else None)
        except SafetensorError as error:
            raise RunError(f"{path}: cannot be written ({str(error)[:200]})") from error


def check_storable(network: nn.Module, role: str) -> None:
    """Raise ``UserError`` unless safetensors can hold every tensor of a network.

    Example:
        >>> check_storable(nn.Linear(2, 2, device="meta"), "student")
        Traceback (most recent call last):
        limbeck.errors.UserError: student: 'weight' is a tensor without values (meta), expected one that can be stored
    """
    for name, tensor in network.state_dict().items():
        if not isinstance(tensor, Tensor):
            raise UserError(f"{role}: {name!r} is a {type(tensor).__name__}, expected a tensor")
        kind = "a tensor without values (meta)" if tensor.is_meta else f"a {tensor.layout} tensor"
        if tensor.is_meta or tensor.layout != torch.strided:
            raise UserError(f"{role}: {name!r} is {kind}, expected one that can be stored")
