"""Where, in which precision and in which memory format a training runs, and what that is by default."""

import os
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from limbeck.errors import UserError
from limbeck.precision import Precision
from limbeck.ranks import under_torchrun
from limbeck.training.arithmetic import depthwise_share
from limbeck.training.mixed import LayerwisePrecision
from limbeck.training.settings import TrainingSettings

# On a CPU the backward pass of depthwise convolutions is slower in bfloat16 than in float32: with less of them in a
# network's multiply-adds the rest gains more than they lose (benchmarks/results/precision-cpu.md).
_DEPTHWISE_SHARE = 0.02


def resolve_device(wanted: str) -> str:
    """Return ``"cuda"``, ``"mps"`` or ``"cpu"``: the given one, or with ``"auto"`` the first that is present.

    Raises:
        UserError: If the given one is not present.

    Example:
        >>> resolve_device("cpu")
        'cpu'
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return next(name for name, is_present in present.items() if is_present)
    if not present[wanted]:
        listed = ", ".join(name for name, is_present in present.items() if is_present)
        raise UserError(f"training.device: got {wanted!r}, which this machine lacks, expected auto or one of {listed}")
    return wanted


def _has_fast_bf16(device: str) -> bool:
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


def resolve_precision(wanted: str, device: str, *, key: str = "training.precision") -> Precision:
    """Return ``"fp32"``, ``"bf16"`` or ``"fp16"``: the given one, or with ``"auto"`` bf16 where the device has it.

    That is the fastest for forward passes alone, and so a teacher's; what is best for a student also depends on its
    layers, see :func:`decide`.

    Args:
        wanted: A precision or ``"auto"``.
        device: The kind of the device.
        key: The setting's name in error messages.

    Raises:
        UserError: For fp16 on a device without it.

    Example:
        >>> resolve_precision("fp32", "cpu")
        'fp32'
    """
    if wanted == "auto":
        return "bf16" if _has_fast_bf16(device) else "fp32"
    if wanted == "fp16" and device != "cuda":
        raise UserError(f"{key}: got 'fp16' on {device}, expected auto, fp32 or bf16 there")
    return "fp16" if wanted == "fp16" else "bf16" if wanted == "bf16" else "fp32"


def make_fabric(settings: TrainingSettings) -> Fabric:
    """Make the Lightning Fabric of this process alone, for the resolved device and precision.

    Example:
        >>> make_fabric(TrainingSettings(device="cpu", precision="fp32")).device
        device(type='cpu')
    """
    device = resolve_device(settings.device)
    # Processes that share a machine have a GPU each.
    devices = [int(os.environ["LOCAL_RANK"])] if device == "cuda" and under_torchrun() else 1
    return Fabric(accelerator=device, devices=devices, **fabric_plugins(settings, device))


def fabric_plugins(settings: TrainingSettings, device: str) -> dict[str, Any]:
    """Return the arguments of a Lightning Fabric that its precision takes.

    Args:
        settings: The training.
        device: The kind of the device.

    Example:
        >>> fabric_plugins(TrainingSettings(precision="fp32"), "cpu")
        {'precision': '32-true'}
    """
    precision = resolve_precision(settings.precision, device)
    if precision == "fp32":
        return {"precision": "32-true"}
    return {"plugins": [LayerwisePrecision("bf16-mixed" if precision == "bf16" else "16-mixed", device)]}


def uses_channels_last(settings: TrainingSettings, device: str) -> bool:
    """Return whether networks and images are laid out channels-last: by the settings, by default on CPU and CUDA.

    There it is the faster format for networks of all kinds, in either precision (benchmarks/results/precision-cpu.md).

    Example:
        >>> uses_channels_last(TrainingSettings(), "cpu")
        True
    """
    return device != "mps" if settings.channels_last == "auto" else settings.channels_last


def decide(settings: TrainingSettings, network: nn.Module, example: Any) -> TrainingSettings:
    """Replace ``auto`` in a training's settings by what suits the network that is trained.

    The rule for the precision on a CPU with bfloat16: float32 for a network with more than two hundredths of its
    multiply-adds in depthwise convolutions, else bfloat16. It depends on the network's layers alone, never on a timing,
    so that the same recipe computes the same on any two CPUs with bfloat16.

    Args:
        settings: The training.
        network: The network to be trained.
        example: Inputs of a few samples, whose values do not matter, such as (2, channels, H, W) zeros.

    Returns:
        The settings, with a device, a precision and a memory format in place of ``auto``.

    Raises:
        UserError: If the machine lacks the device, or the device the precision.

    Example:
        >>> settings = TrainingSettings(device="cpu", precision="bf16")
        >>> decided = decide(settings, nn.Conv2d(1, 1, 3), torch.zeros(2, 1, 8, 8))
        >>> decided.device, decided.precision, decided.channels_last
        ('cpu', 'bf16', True)
    """
    device = resolve_device(settings.device)
    precision = resolve_precision(settings.precision, device)
    if settings.precision == "auto" and device == "cpu" and precision == "bf16":
        share = depthwise_share(network, example)
        precision = "fp32" if share > _DEPTHWISE_SHARE else "bf16"
    layout = uses_channels_last(settings, device)
    return settings.model_copy(update={"device": device, "precision": precision, "channels_last": layout})


def in_words(precision: str, *, channels_last: bool) -> str:
    """Describe the precision and memory format that a network computes in.

    Example:
        >>> in_words("bf16", channels_last=True)
        'bf16 channels_last'
    """
    return f"{precision} channels_last" if channels_last else precision
