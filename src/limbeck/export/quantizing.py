"""An ONNX file of float32 numbers to one of 8-bit numbers, by onnxruntime's static quantization."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor

from limbeck.errors import UserError, one_line
from limbeck.imports import optional_package


def write_int8(source: Path, target: Path, names: Sequence[str], batches: Iterator[Sequence[Tensor]]) -> None:
    """Quantize an ONNX file: weights by channel, activations by the smallest and largest that calibration shows.

    Args:
        source: The file of float32 numbers.
        target: The file to write, with the same inputs, output and properties.
        names: The names of the inputs.
        batches: What the file is given for the samples of the calibration.

    Raises:
        UserError: If a package is missing, or onnxruntime cannot quantize the file.
    """
    onnx = optional_package("onnx", "export", "8-bit numbers")
    library = optional_package("onnxruntime.quantization", "export", "8-bit numbers")
    shapes = optional_package("onnxruntime.quantization.shape_inference", "export", "8-bit numbers")
    properties = {entry.key: entry.value for entry in onnx.load(source).metadata_props}
    with TemporaryDirectory() as folder, _quiet():
        prepared = Path(folder) / "prepared.onnx"
        try:
            # Batch norms become parts of convolutions, so that they are quantized with them.
            shapes.quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            library.quantize_static(str(prepared), str(target), _Calibration(names, batches), per_channel=True)
        except Exception as error:  # the library raises many kinds
            raise UserError(f"int8: onnxruntime cannot quantize the network ({one_line(error)})") from None
    written = onnx.load(target)
    onnx.helper.set_model_props(written, properties)
    onnx.save(written, target)


class _Calibration:
    """The batches as onnxruntime reads them: one at a call, and None at the end."""

    def __init__(self, names: Sequence[str], batches: Iterator[Sequence[Tensor]]) -> None:
        self._names, self._batches = tuple(names), batches

    def get_next(self) -> dict[str, Any] | None:
        given = next(self._batches, None)
        if given is None:
            return None
        return {name: part.contiguous().numpy() for name, part in zip(self._names, given, strict=True)}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's advice from the output, which it logs by the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
