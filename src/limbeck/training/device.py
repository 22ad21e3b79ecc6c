"""Where and in which precision a training runs, and what that is when nobody says."""

import torch
from lightning_fabric import Fabric

from limbeck.errors import UserError
from limbeck.training.mixed import LayerwisePrecision
from limbeck.training.settings import TrainingSettings


def resolve_device(wanted: str) -> str:
    """Return ``"cuda"``, ``"mps"`` or ``"cpu"``: the one wanted, or with ``"auto"`` the first that is there.

    Raises:
        UserError: If the one wanted is not there.

    Example:
        >>> resolve_device("cpu")
        'cpu'
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return next(name for name, there in present.items() if there)
    if not present[wanted]:
        listed = ", ".join(name for name, there in present.items() if there)
        raise UserError(f"training.device: got {wanted!r}, which this machine lacks, expected auto or one of {listed}")
    return wanted


def _has_fast_bf16(device: str) -> bool:
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


def resolve_precision(wanted: str, device: str) -> str:
    """Return ``"fp32"``, ``"bf16"`` or ``"fp16"``: the one wanted, or with ``"auto"`` bf16 where the device has it.

    Raises:
        UserError: For fp16 on a device without it.

    Example:
        >>> resolve_precision("fp32", "cpu")
        'fp32'
    """
    if wanted == "auto":
        return "bf16" if _has_fast_bf16(device) else "fp32"
    if wanted == "fp16" and device != "cuda":
        raise UserError(f"training.precision: got 'fp16' on {device}, expected auto, fp32 or bf16 there")
    return wanted


def make_fabric(settings: TrainingSettings) -> Fabric:
    """Make the Lightning Fabric for the resolved device and precision.

    Example:
        >>> make_fabric(TrainingSettings(device="cpu", precision="fp32")).device
        device(type='cpu')
    """
    device = resolve_device(settings.device)
    match resolve_precision(settings.precision, device):
        case "bf16":
            return Fabric(accelerator=device, devices=1, plugins=[LayerwisePrecision("bf16-mixed", device)])
        case "fp16":
            return Fabric(accelerator=device, devices=1, plugins=[LayerwisePrecision("16-mixed", device)])
        case _:
            return Fabric(accelerator=device, devices=1, precision="32-true")


def uses_channels_last(settings: TrainingSettings, device: str) -> bool:
    """Tell whether networks and images are laid out channels-last: as told, by default on CPU and CUDA.

    Example:
        >>> uses_channels_last(TrainingSettings(), "cpu")
        True
    """
    return device != "mps" if settings.channels_last == "auto" else settings.channels_last
