"""Students that are divided between processes (FSDP2), and their weights in one piece."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
from lightning_fabric.strategies.strategy import Strategy
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from limbeck.distiller import Distiller
from limbeck.ranks import processes_to_meet

# A part of a student with so many parameters is gathered by itself, so that no more of them are whole at a time.
_PART_PARAMETERS = 1_000_000
_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
_SPREAD = StateDictOptions(full_state_dict=True, broadcast_from_rank0=False)


def sharding_strategy(timeout: timedelta) -> Strategy:
    """Return the strategy that divides student and extra modules between all processes.

    Args:
        timeout: How long processes wait for each other.
    """
    processes = processes_to_meet()
    return ModelParallelStrategy(_divided, data_parallel_size=processes, tensor_parallel_size=1, timeout=timeout)


def is_sharded(fabric: Fabric) -> bool:
    """Return whether a Fabric divides networks between processes.

    Example:
        >>> is_sharded(Fabric(accelerator="cpu", devices=1))
        False
    """
    return isinstance(fabric.strategy, ModelParallelStrategy)


def _divided(distiller: Any, mesh: DeviceMesh) -> Any:
    assert isinstance(distiller, Distiller)
    over = mesh["data_parallel"]
    for part in _parts(distiller.student):
        fully_shard(part, mesh=over)
    # Each is a root of its own: the student is measured without the distiller.
    for root in (distiller.student, *distiller.losses, *distiller.modifiers):
        if any(parameter.requires_grad for parameter in root.parameters()):
            fully_shard(root, mesh=over)
    return distiller


def _parts(network: nn.Module) -> Iterator[nn.Module]:
    """Yield the parts of a network that are gathered one after the other: the smallest that are large, inner first."""
    for child in network.children():
        if sum(parameter.numel() for parameter in child.parameters()) >= _PART_PARAMETERS:
            yield from _parts(child)
            if not isinstance(child, nn.ModuleList | nn.ModuleDict):
                yield child


def whole_state(module: nn.Module) -> dict[str, Any]:
    """Return a module's state with whole tensors on the CPU, on every process; all processes call this together.

    Example:
        >>> whole_state(nn.Linear(1, 1, bias=False)).keys()
        dict_keys(['weight'])
    """
    return {name: _whole(values) for name, values in module.state_dict().items()}


def _whole(values: Any) -> Any:
    return values.full_tensor().cpu() if isinstance(values, DTensor) else values


def load_whole_state(module: nn.Module, state: dict[str, Any]) -> None:
    """Load a state of :func:`whole_state` into a module that may be divided; all processes call this together."""
    set_model_state_dict(module, state, options=_SPREAD)


def whole_optimizer_state(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return an optimizer's state by the parameters' names, with whole tensors on the CPU of the first process."""
    return get_optimizer_state_dict(module, optimizer, options=_WHOLE)


def load_whole_optimizer_state(module: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load a state of :func:`whole_optimizer_state`; all processes call this together."""
    set_optimizer_state_dict(module, optimizer, state, options=_SPREAD)
