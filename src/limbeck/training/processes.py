"""How many processes train a student together, and how they meet: torchrun starts them, Lightning Fabric joins them."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.strategies.strategy import Strategy
from torch import distributed as dist

from limbeck.errors import RunError, UserError
from limbeck.processes import end_with_parent
from limbeck.ranks import under_torchrun
from limbeck.reporting import quiet_loggers
from limbeck.training.device import fabric_plugins, make_fabric, resolve_device
from limbeck.training.settings import TrainingSettings
from limbeck.training.sharding import sharding_strategy

# The other processes wait for the first one while it trains a teacher. One that died is noticed by torchrun.
_PATIENCE = timedelta(days=7)
# What is in the errors of a lost connection.
_BACKENDS = ("gloo", "NCCL", "nccl", "Connection closed by peer", "Connection reset by peer")


def local_processes(settings: TrainingSettings) -> int:
    """Return how many processes a training has on this machine.

    Args:
        settings: The training; ``devices: auto`` stands for all GPUs, and for one process on a CPU.

    Raises:
        UserError: If the machine lacks the device, or has fewer GPUs.

    Example:
        >>> local_processes(TrainingSettings(devices=2, device="cpu"))
        2
    """
    device = resolve_device(settings.device)
    present = torch.cuda.device_count() if device == "cuda" else None
    if settings.devices == "auto":
        return present or 1
    if present is not None and settings.devices > present:
        raise UserError(f"training.devices: got {settings.devices}, this machine has {present} GPUs")
    if device == "mps" and settings.devices > 1:
        raise UserError(f"training.devices: got {settings.devices} on mps, expected 1, or cpu or cuda")
    return settings.devices


def check_processes(settings: TrainingSettings) -> None:
    """Check that the processes of this training were started as its settings have them.

    Raises:
        UserError: If there are others, or they are still to be started.

    Example:
        >>> check_processes(TrainingSettings())
    """
    if not under_torchrun():
        if settings.nodes > 1:
            expected = f"expected torchrun --nnodes {settings.nodes} ... on each of them"
            raise UserError(f"training.nodes: got {settings.nodes}, {expected} (docs/scale.md)")
        if (devices := local_processes(settings)) > 1:
            expected = f"expected the command limbeck run, or torchrun --nproc-per-node {devices}"
            raise UserError(f"training.devices: got {devices} in one process, {expected} (docs/scale.md)")
        return
    started = {"devices": int(os.environ["LOCAL_WORLD_SIZE"]), "nodes": int(os.environ.get("GROUP_WORLD_SIZE", "1"))}
    for key, count in started.items():
        given = getattr(settings, key)
        if given not in ("auto", 1, count):
            raise UserError(f"training.{key}: got {given}, torchrun has started {count}; expected the same, or none")


def check_one_process(settings: TrainingSettings) -> None:
    """Check that runs of a comparison or a search, of which several are trained at a time, have one process each.

    Args:
        settings: The training.

    Raises:
        UserError: If they have more, or ``torchrun`` has started this process.

    Example:
        >>> check_one_process(TrainingSettings())
    """
    if under_torchrun():
        raise UserError("torchrun is for limbeck run; expected compare and search without it, with --jobs or --on ray")
    if settings.nodes > 1 or local_processes(settings) > 1:
        key = "nodes" if settings.nodes > 1 else "devices"
        got = f"training.{key}: got {getattr(settings, key)} in a comparison"
        raise UserError(f"{got}, expected 1: its runs have one process each")


def joined_fabric(settings: TrainingSettings) -> Fabric:
    """Return the Fabric of this process, and with several processes let them meet.

    Args:
        settings: The training, with resolved device and precision.

    Raises:
        UserError: As for :func:`check_processes`, or if the strategy is not possible here.

    Example:
        >>> joined_fabric(TrainingSettings(device="cpu", precision="fp32")).world_size
        1
    """
    check_processes(settings)
    if not under_torchrun():
        return make_fabric(settings)
    # One that waits for the others would wait for them when the launcher was killed, too.
    end_with_parent(os.getppid())
    device = resolve_device(settings.device)
    options: dict[str, Any] = {"devices": int(os.environ["LOCAL_WORLD_SIZE"]), "accelerator": device}
    fabric = Fabric(
        num_nodes=int(os.environ.get("GROUP_WORLD_SIZE", "1")),
        strategy=_strategy(settings),
        **options,
        **fabric_plugins(settings, device),
    )
    # Every process would print lines about all of them.
    with quiet_loggers("lightning_fabric"), _ends_at_once():
        fabric.launch()
    return fabric


@contextmanager
def _ends_at_once() -> Iterator[None]:
    """Let SIGTERM end a process that waits for others: Python's handlers run only after the wait, which may be long."""
    before = signal.getsignal(signal.SIGTERM)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        yield
    finally:
        if in_main_thread:
            signal.signal(signal.SIGTERM, before)


def _strategy(settings: TrainingSettings) -> Strategy:
    if settings.strategy == "fsdp":
        return sharding_strategy(_PATIENCE)
    return DDPStrategy(timeout=_PATIENCE)


class LostProcessError(RunError):
    """Another process of the training has ended.

    Example:
        >>> issubclass(LostProcessError, RunError)
        True
    """


@contextmanager
def lost_processes() -> Iterator[None]:
    """Raise a :class:`LostProcessError` in the block where another process of the training does not answer any more.

    Example:
        >>> with lost_processes():
        ...     pass
    """
    try:
        yield
    except RuntimeError as error:
        if not _is_of_others(error):
            raise
        line = "another process of this training has ended; the same command with --resume continues"
        raise LostProcessError(line) from error


def _is_of_others(error: RuntimeError) -> bool:
    return under_torchrun() and (isinstance(error, dist.DistError) or any(name in str(error) for name in _BACKENDS))


def _divisible(settings: TrainingSettings) -> TrainingSettings:
    """Return the settings of a training whose student is divided between processes."""
    refused = {"ema": settings.ema, "compile": settings.compile, "keep": settings.keep == "best"}
    refused |= {"temperature_scaling": settings.temperature_scaling, "channels_last": settings.channels_last is True}
    for key, given in refused.items():
        if given:
            got = f"training.{key}: got {getattr(settings, key)} with strategy fsdp"
            raise UserError(f"{got}, which divides the student between processes; expected strategy ddp, or none of it")
    return settings.model_copy(update={"channels_last": False})


def in_each_process(settings: TrainingSettings, processes: int) -> TrainingSettings:
    """Return the settings with the batch of one process.

    Args:
        settings: The training.
        processes: How many processes there are.

    Raises:
        UserError: If the global batch cannot be divided, or the student not with these settings.

    Example:
        >>> in_each_process(TrainingSettings(batch_size=64, batch_of="global"), 2).batch_size
        32
    """
    if processes == 1:
        return settings
    if settings.strategy == "fsdp":
        settings = _divisible(settings)
    if settings.batch_of == "process":
        return settings
    share, rest = divmod(settings.batch_size, processes)
    if rest or not share:
        got = f"got {settings.batch_size} with batch_of global"
        raise UserError(f"training.batch_size: {got}, expected a multiple of the {processes} processes")
    return settings.model_copy(update={"batch_size": share})
