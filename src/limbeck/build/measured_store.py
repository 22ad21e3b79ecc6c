"""The figures of a network on a split as one file, which is read whole and right or not at all."""

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from limbeck.files import replacing
from limbeck.training import Measured


def write_measured(path: Path, measured: Measured) -> None:
    """Write figures as JSON and predictions as a tensor into one safetensors file, with a checksum of both.

    Args:
        path: The file; its folder exists.
        measured: What the network reached.

    Raises:
        RunError: If the file system refuses.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "figures.safetensors"
        >>> write_measured(path, Measured(0.5, None, 1.5, 0.25, 0.75, torch.tensor([1, 0])))
        >>> read_measured(path)
        Measured(accuracy=0.5, top5=None, loss=1.5, ece=0.25, confidence=0.75, predictions=tensor([1, 0]))
    """
    predictions, figures = measured.predictions.to(torch.int32), json.dumps(measured.numbers())
    metadata = {"figures": figures, "checksum": _checksum(figures, predictions)}
    with replacing(path) as partial:
        save_file({"predictions": predictions}, partial, metadata=metadata)


def read_measured(path: Path) -> Measured | None:
    """Return what is kept at ``path``; None if there is nothing, or it is damaged.

    Example:
        >>> read_measured(Path("nowhere.safetensors")) is None
        True
    """
    try:
        with safe_open(path, "pt") as file:
            metadata, predictions = file.metadata(), file.get_tensor("predictions")
        if metadata["checksum"] != _checksum(metadata["figures"], predictions):
            return None
        return Measured(**{"top5": None, **json.loads(metadata["figures"])}, predictions=predictions.long())
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None


def _checksum(figures: str, predictions: Tensor) -> str:
    return hashlib.sha256(figures.encode() + predictions.numpy().tobytes()).hexdigest()
