"""Optimizers and schedules of torch, by name."""

import inspect
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    SequentialLR,
)

from limbeck.errors import UserError
from limbeck.training.known import optimizers
from limbeck.training.settings import OptimizerSettings, ScheduleSettings


def _groups(parameters: Iterable[nn.Parameter], settings: OptimizerSettings) -> list[dict[str, Any]]:
    trained = [p for p in parameters if p.requires_grad]
    if settings.decay_norm_and_bias:
        return [{"params": trained}]
    decayed = [p for p in trained if p.ndim > 1]
    plain = [p for p in trained if p.ndim <= 1]
    return [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]


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
    if "fused" in inspect.signature(kind).parameters and not {"fused", "foreach", "differentiable"} & set(arguments):
        arguments["fused"] = device in ("cpu", "cuda")
    return kind(groups, lr=settings.lr, **arguments)


def build_schedule(
    optimizer: torch.optim.Optimizer, settings: ScheduleSettings, *, epochs: int, steps: int
) -> LRScheduler:
    """Make the schedule, to be stepped after every batch.

    Args:
        optimizer: The optimizer whose rate moves.
        settings: Name and shape.
        epochs: Epochs of the training.
        steps: Batches an epoch.

    Returns:
        The schedule.

    Example:
        >>> optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
        >>> schedule = build_schedule(optimizer, ScheduleSettings(name="linear"), epochs=2, steps=5)
        >>> for _ in range(5):
        ...     optimizer.step()
        ...     schedule.step()
        >>> round(schedule.get_last_lr()[0], 6)
        0.05
    """
    warmup = round(settings.warmup_epochs * steps)
    if epochs * steps - warmup < 1 or (settings.name == "one_cycle" and settings.pct_start * epochs * steps <= 1):
        raise UserError(f"schedule {settings.name}: got {epochs * steps} batches in all, too few for it; try constant")
    main = _main_schedule(optimizer, settings, total=epochs * steps - warmup, steps=steps, warmup=warmup)
    if not warmup:
        return main
    rise = LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    return SequentialLR(optimizer, [rise, main], milestones=[warmup])


def _main_schedule(
    optimizer: torch.optim.Optimizer, settings: ScheduleSettings, *, total: int, steps: int, warmup: int
) -> LRScheduler:
    base = optimizer.param_groups[0]["lr"]
    match settings.name:
        case "multi_step":
            return MultiStepLR(optimizer, [round(m * steps) - warmup for m in settings.milestones], settings.gamma)
        case "cosine":
            return CosineAnnealingLR(optimizer, total, eta_min=settings.min_lr)
        case "linear":
            return LinearLR(optimizer, 1.0, settings.min_lr / base, total)
        case "one_cycle":
            return OneCycleLR(optimizer, base, total_steps=total, pct_start=settings.pct_start, cycle_momentum=False)
        case "constant":
            return ConstantLR(optimizer, 1.0)
