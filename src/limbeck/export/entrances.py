"""What stands in front of an exported network: its own inputs as they are, or raw pixels and cells to prepare."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from limbeck.data.tables.preparation import Preparation
from limbeck.errors import UserError
from limbeck.students.images import ImagePreparation
from limbeck.students.masks import MaskPreparation
from limbeck.students.student import Student
from limbeck.students.tables import TablePreparation

Pixels = Literal["uint8", "float"]
PIXELS: tuple[Pixels, ...] = ("uint8", "float")


class Entrance(nn.Module, ABC):
    """Turns what an exported file takes into what the network takes.

    Attributes:
        names: The names of the file's inputs.
        inside: What of the preparation it does, in words; empty for nothing.
    """

    names: tuple[str, ...]
    inside: str

    @abstractmethod
    def given(self, inputs: Any) -> tuple[Tensor, ...]:
        """Return what the file takes, from what the network takes: the reverse of a call."""


class AsTheyAre(Entrance):
    """The network's own inputs.

    Args:
        inputs: An example of them.

    Raises:
        UserError: If they are neither a tensor nor a mapping of tensors.

    Example:
        >>> entrance = AsTheyAre({"input_ids": torch.zeros(1, 2)})
        >>> entrance.names, entrance(torch.ones(1, 1))
        (('input_ids',), {'input_ids': tensor([[1.]])})
    """

    inside = ""

    def __init__(self, inputs: Any) -> None:
        super().__init__()
        self.is_mapping = isinstance(inputs, Mapping)
        parts = inputs.values() if self.is_mapping else [inputs]
        if not all(isinstance(part, Tensor) for part in parts):
            got = "the network takes something else than tensors with a row for each sample"
            raise UserError(f"export: {got}, expected such a network")
        self.names: tuple[str, ...] = tuple(inputs) if self.is_mapping else ("input",)

    def forward(self, *given: Tensor) -> Any:
        """Return the inputs."""
        return dict(zip(self.names, given, strict=True)) if self.is_mapping else given[0]

    def given(self, inputs: Any) -> tuple[Tensor, ...]:
        """Return the tensors of the inputs."""
        return tuple(inputs[name] for name in self.names) if self.is_mapping else (inputs,)


class FromPixels(Entrance):
    """Pixels of images of the network's own size, which are normalized.

    Args:
        mean: The mean of each channel, of pixels in [0, 1].
        std: The standard deviation of each channel.
        pixels: ``"uint8"`` for 0 to 255, ``"float"`` for float32 in [0, 1].

    Example:
        >>> entrance = FromPixels([0.5], [0.5], "uint8")
        >>> entrance(torch.tensor([[[[0, 255]]]], dtype=torch.uint8))
        tensor([[[[-1.,  1.]]]])
        >>> entrance.given(torch.ones(1, 1, 1, 1))
        (tensor([[[[255]]]], dtype=torch.uint8),)
    """

    names = ("pixels",)
    scale: Tensor
    shift: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], pixels: Pixels) -> None:
        super().__init__()
        m, s = (torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1) for values in (mean, std))
        largest = 255 if pixels == "uint8" else 1
        self.pixels = pixels
        self.inside = f"normalization of {'uint8 pixels' if pixels == 'uint8' else 'pixels in [0, 1]'}"
        self.register_buffer("scale", (1 / (largest * s)).float())
        self.register_buffer("shift", (-m / s).float())

    def forward(self, pixels: Tensor) -> Tensor:
        """Return normalized float32 images."""
        return pixels.float() * self.scale + self.shift

    def given(self, inputs: Any) -> tuple[Tensor]:
        """Return the pixels of normalized images, which are whole numbers of 0 to 255."""
        pixels = ((inputs - self.shift) / self.scale).contiguous()
        if self.pixels == "uint8":
            return (pixels.round().clamp(0, 255).to(torch.uint8),)
        return ((255 * pixels).round() / 255,)


class FromCells(Entrance):
    """Numbers of a table as they are, and positions of categories, which are standardized and encoded.

    Args:
        fitted: The preparation of the rows.

    Example:
        >>> entrance = FromCells(Preparation(("size",), (2.0,), (4.0,), {"color": ("blue", "red")}, (3,)))
        >>> entrance.names, entrance(torch.tensor([[4.0]], dtype=torch.float64), torch.tensor([[1]]))
        (('numeric', 'categories'), tensor([[0.5000, 0.0000, 1.0000]]))
    """

    inside = "standardization and encoding"
    mean: Tensor
    scale: Tensor

    def __init__(self, fitted: Preparation) -> None:
        super().__init__()
        self.fitted = fitted
        self.counts = [len(entries) for entries in fitted.categories.values()]
        self.names = (*(["numeric"] if fitted.numeric else []), *(["categories"] if self.counts else []))
        # In float64, as scikit-learn computes: a mean may be large beside the deviation.
        self.register_buffer("mean", torch.tensor(fitted.mean, dtype=torch.float64))
        self.register_buffer("scale", torch.tensor(fitted.scale, dtype=torch.float64))

    def forward(self, *given: Tensor) -> Tensor:
        """Return float32 inputs (N, *shape)."""
        named = dict(zip(self.names, given, strict=True))
        parts = [((named["numeric"] - self.mean) / self.scale).float()] if "numeric" in named else []
        for place, count in enumerate(self.counts):
            parts.append((named["categories"][:, place, None] == torch.arange(count)).float())
        whole = torch.cat(parts, dim=1)
        return whole if len(self.fitted.shape) == 1 else whole.reshape(-1, *self.fitted.shape)

    def given(self, inputs: Any) -> tuple[Tensor, ...]:
        """Return the cells of inputs."""
        rows = inputs.reshape(len(inputs), -1).double()
        numbers, *encoded = rows.split([len(self.fitted.mean), *self.counts], dim=1)
        cells = [numbers * self.scale + self.mean] if self.fitted.numeric else []
        if encoded:
            cells.append(torch.stack([part.argmax(dim=1) for part in encoded], dim=1))
        return tuple(cells)


def entrance_of(student: Student, inputs: Any, *, preprocessing: bool, pixels: Pixels = "uint8") -> Entrance:
    """Return what stands in front of a student's network.

    Args:
        student: The student.
        inputs: An example of the network's inputs.
        preprocessing: Whether raw pixels or cells are prepared there.
        pixels: Which pixels.

    Returns:
        An :class:`Entrance`.

    Raises:
        UserError: If the preparation of such samples cannot be in a file.
    """
    if not preprocessing:
        return AsTheyAre(inputs)
    prepares: Any = student.preparation
    if isinstance(prepares, ImagePreparation | MaskPreparation):
        return FromPixels(prepares.record.mean, prepares.record.std, pixels)
    if isinstance(prepares, TablePreparation):
        return FromCells(prepares.fitted)
    what = f"of {prepares.unit}" if prepares else "that the data's own code does"
    raise UserError(f"preprocessing: the preparation {what} is no computation of tensors, expected images or a table")
