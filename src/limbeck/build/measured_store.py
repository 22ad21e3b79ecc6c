"""The figures of a network on a split as one file, which is read whole and right or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from limbeck.files import content_digest
from limbeck.models.saving import save_tensors
from limbeck.tasks.metrics import narrowed
from limbeck.training import Measured


def write_measured(path: Path, measured: Measured) -> None:
    """Write figures as JSON, and predictions and details as tensors, into one safetensors file, with a checksum.

    Args:
        path: The file; its folder exists.
        measured: What the network reached.

    Raises:
        RunError: If the file system refuses.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "figures.safetensors"
        >>> write_measured(path, Measured({"accuracy": 0.5, "loss": 1.5}, torch.tensor([1, 0])))
        >>> read_measured(path)
        Measured(values={'accuracy': 0.5, 'loss': 1.5}, predictions=tensor([1, 0]))
    """
    figures = json.dumps(measured.numbers())
    tensors = {name: tensor.contiguous() for name, tensor in measured.details.items()}
    if measured.predictions is not None:
        tensors["predictions"] = narrowed(measured.predictions)
    metadata = {"figures": figures, "checksum": _checksum(figures, tensors)}
    save_tensors(path, tensors, metadata)


def read_measured(path: Path) -> Measured | None:
    """Return what is kept at ``path``; None if there is nothing, or it is damaged.

    Example:
        >>> read_measured(Path("nowhere.safetensors")) is None
        True
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        if metadata["checksum"] != _checksum(metadata["figures"], tensors):
            return None
        predictions = tensors.pop("predictions", None)
        if predictions is not None and predictions.dtype == torch.int32:
            predictions = predictions.long()
        return Measured(json.loads(metadata["figures"]), predictions, tensors)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None


def _checksum(figures: str, tensors: Mapping[str, Tensor]) -> str:
    return content_digest(figures.encode(), *(tensors[name] for name in sorted(tensors)))
