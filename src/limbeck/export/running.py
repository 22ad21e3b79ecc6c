"""Exported files run on tensors."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from limbeck.imports import optional_package

Runner = Callable[[Sequence[Tensor]], Tensor]
"""Computes the output of a file for a batch of its inputs."""


def onnx_runner(path: Path, *, threads: int = 0) -> Runner:
    """Open an ONNX file in onnxruntime, on the CPU.

    Args:
        path: The file.
        threads: How many threads compute; 0 for as many as onnxruntime chooses.

    Raises:
        UserError: If the package is missing.
    """
    library = optional_package("onnxruntime", "export", "running an ONNX file")
    options = library.SessionOptions()
    options.intra_op_num_threads = threads
    # Warnings about its own optimizations.
    options.log_severity_level = 3
    session = library.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]

    def run(given: Sequence[Tensor]) -> Tensor:
        values = {name: part.contiguous().numpy() for name, part in zip(names, given, strict=True)}
        return torch.from_numpy(session.run(None, values)[0])

    return run


def program_runner(path: Path) -> Runner:
    """Open a ``.pt2`` file of ``torch.export``.

    Args:
        path: The file, which limbeck wrote.
    """
    module = torch.export.load(path).module()

    @torch.no_grad()
    def run(given: Sequence[Tensor]) -> Tensor:
        result: Tensor = module(*given)
        return result

    return run
