"""Optimizers and schedules of torch, by name."""

import inspect
import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from limbeck.errors import UserError
from limbeck.training.optimizer_names import FUSED_CHOICES, optimizers
from limbeck.training.settings import OptimizerSettings, ScheduleSettings


def _groups(parameters: Iterable[nn.Parameter], settings: OptimizerSettings) -> list[dict[str, Any]]:
    trained = [p for p in parameters if p.requires_grad]
    if settings.decay_norm_and_bias:
        return [{"params": trained}]
    decayed = {"params": [p for p in trained if p.ndim > 1]}
    return [decayed, {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0}]


def build_optimizer(
    parameters: Iterable[nn.Parameter], settings: OptimizerSettings, *, device: str = "cpu"
) -> torch.optim.Optimizer:
    """Make the optimizer, in its fused form where torch has one for the device.

    Args:
        parameters: What to train; those that require no gradient are left out.
        settings: Name, learning rate and arguments. Without ``decay_norm_and_bias``, tensors of one dimension (biases
            and the weights of norms) get no weight decay.
        device: Kind of the device that the parameters are on.

    Returns:
        The optimizer.

    Raises:
        UserError: If there is nothing to train.

    Example:
        >>> settings = OptimizerSettings(name="sgd", lr=0.1, weight_decay=1e-4, decay_norm_and_bias=False)
        >>> [g["weight_decay"] for g in build_optimizer(nn.Linear(2, 2).parameters(), settings).param_groups]
        [0.0001, 0.0]
    """
    groups = [group for group in _groups(parameters, settings) if group["params"]]
    if not groups:
        raise UserError("optimizer: the network has no parameter that requires a gradient")
    kind = optimizers()[settings.name.lower()]
    arguments = settings.arguments
    if "fused" in inspect.signature(kind).parameters and not FUSED_CHOICES & arguments.keys():
        arguments["fused"] = device in ("cpu", "cuda")
    optimizer = kind(groups, lr=settings.lr, **arguments)
    if isinstance(optimizer, torch.optim.SGD) and arguments.get("fused"):
        _begin_momentum(optimizer)
    return optimizer


def _begin_momentum(optimizer: torch.optim.SGD) -> None:
    """Give every parameter its momentum, 0, from the start.

    A fused step of torch fails where only some parameters have one, as with a student whose blocks are skipped at
    random. From 0 the first step is the usual one, if nothing dampens it; else the step is not fused.
    """
    for group in optimizer.param_groups:
        if group["momentum"] and group["dampening"]:
            group["fused"] = False
        elif group["momentum"]:
            for parameter in group["params"]:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def check_schedule(settings: ScheduleSettings, *, epochs: int, steps: int) -> None:
    """Raise ``UserError`` if a training has too few batches for a schedule.

    Args:
        settings: Name and shape.
        epochs: Epochs of the training.
        steps: Batches an epoch.

    Example:
        >>> check_schedule(ScheduleSettings(name="one_cycle"), epochs=1, steps=2)
        Traceback (most recent call last):
        limbeck.errors.UserError: schedule one_cycle: got 2 batches in all, too few for it; try constant
    """
    short = epochs * steps - round(settings.warmup_epochs * steps) < 1
    if short or (settings.name == "one_cycle" and settings.pct_start * epochs * steps <= 1):
        raise UserError(f"schedule {settings.name}: got {epochs * steps} batches in all, too few for it; try constant")


def build_schedule(
    optimizer: torch.optim.Optimizer, settings: ScheduleSettings, *, epochs: int, steps: int, done: int = 0
) -> LambdaLR:
    """Make the schedule, to be stepped after every batch.

    The rate is a function of the settings and the number of steps, and of nothing else: a training that is resumed,
    with as many epochs as before or with more, takes the rates that its settings give from that step on.

    Args:
        optimizer: The optimizer whose rate moves.
        settings: Name and shape.
        epochs: Epochs of the training.
        steps: Batches an epoch.
        done: Steps of a resumed training that are done; its optimizer has its state already.

    Returns:
        The schedule.

    Raises:
        UserError: If there are too few batches for it.

    Example:
        >>> optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
        >>> schedule = build_schedule(optimizer, ScheduleSettings(name="linear"), epochs=2, steps=5)
        >>> for _ in range(5):
        ...     optimizer.step()
        ...     schedule.step()
        >>> round(schedule.get_last_lr()[0], 6)
        0.05
    """
    check_schedule(settings, epochs=epochs, steps=steps)
    warmup = round(settings.warmup_epochs * steps)
    floor = settings.min_lr / optimizer.param_groups[0].get("initial_lr", optimizer.param_groups[0]["lr"])

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return _factor(settings, step - warmup, total=epochs * steps - warmup, steps=steps, warmup=warmup, floor=floor)

    return LambdaLR(optimizer, factor, last_epoch=done - 1)


def _factor(settings: ScheduleSettings, step: int, *, total: int, steps: int, warmup: int, floor: float) -> float:
    """Return what the rate is multiplied by at a step behind the warm-up."""
    match settings.name:
        case "multi_step":
            passed = sum(step >= round(milestone * steps) - warmup for milestone in settings.milestones)
            return float(settings.gamma**passed)
        case "cosine":
            return _between(1.0, floor, min(step / total, 1.0))
        case "poly":
            return float(floor + (1.0 - floor) * (1.0 - min(step / total, 1.0)) ** settings.power)
        case "linear":
            return 1.0 + (floor - 1.0) * min(step / total, 1.0)
        case "one_cycle":
            return _one_cycle(step, total, settings.pct_start)
        case "constant":
            return 1.0


def _between(start: float, end: float, share: float) -> float:
    """Go from ``start`` to ``end`` along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _one_cycle(step: int, total: int, rising: float) -> float:
    """Return the factor of Smith's 1cycle policy as ``torch.optim.lr_scheduler.OneCycleLR`` has it by default."""
    start, end, peak = 1 / 25, 1 / 25 / 1e4, rising * total - 1
    if step <= peak:
        return _between(start, 1.0, step / peak)
    return _between(1.0, end, min((step - peak) / (total - 1 - peak), 1.0))
