"""What the preparations of images with and without masks have in common: their record, and batches of pixels."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Self

import torch
from pydantic import ConfigDict, Field
from torch import Tensor

from limbeck.data.images.normalize import Normalizer
from limbeck.errors import UserError
from limbeck.students.made import Made, Skipped, read_in_batches
from limbeck.students.pictures import RawImage, listed_images, read_images
from limbeck.validation import Settings, validated

Side = Annotated[int, Field(ge=1)]


class ImageRecord(Settings):
    """What a file records about the images that its network takes.

    Attributes:
        mean: The mean of each channel, of pixels in [0, 1].
        std: The standard deviation of each channel.
        input_shape: Channels, height and width in pixels.
        reduced: Whether large JPEGs are decoded at a part of their size; None in files of earlier versions.

    Example:
        >>> ImageRecord(mean=(0.5,), std=(0.25,), input_shape=(1, 28, 28)).reduced is None
        True
    """

    model_config = ConfigDict(extra="ignore")

    mean: tuple[float, ...]
    std: tuple[float, ...]
    input_shape: tuple[Side, Side, Side]
    reduced: bool | None = None


@dataclass(frozen=True, eq=False)
class PixelPreparation(ABC):
    """Reads images as uint8 pixels and normalizes them by the batch.

    Args:
        record: The numbers.
        channels_last: Whether inputs are in that memory format.

    Example:
        >>> PixelPreparation.unit
        'images'
    """

    unit: ClassVar[str] = "images"

    record: ImageRecord
    channels_last: bool = False

    @classmethod
    def of(cls, about: Mapping[str, Any], where: str, *, channels_last: bool = False) -> Self:
        """Make the preparation that a file's metadata describe.

        Raises:
            UserError: If an entry is missing or damaged.
        """
        made = cls(validated(ImageRecord, about, where), channels_last)
        try:
            _ = made.normalize
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        return made

    @cached_property
    @abstractmethod
    def normalize(self) -> Normalizer:
        """The normalization of pixels."""

    def samples(self, given: Any) -> Sequence[RawImage]:
        """Return raw images as a sequence, see :func:`limbeck.students.pictures.listed_images`."""
        return listed_images(given)

    def batches(self, given: Any, batch_size: int, skipped: Skipped | None = None) -> Iterator[Made]:
        """Yield inputs, float32 (N, C, H, W); see :class:`limbeck.students.made.Preparation`."""
        for positions, read in read_in_batches(self.samples(given), batch_size, self._read_all, skipped):
            yield Made(self._inputs(torch.stack([pixels for pixels, _ in read])), positions, [size for _, size in read])

    @property
    def memory_format(self) -> torch.memory_format:
        """The memory format of the inputs."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def _read_all(self, images: Sequence[RawImage]) -> list[Any]:
        return read_images(images, self._read)

    @abstractmethod
    def _inputs(self, pixels: Tensor) -> Tensor:
        """Return the inputs of (N, C, H, W) uint8 pixels."""

    @abstractmethod
    def _read(self, image: RawImage) -> tuple[Tensor, tuple[int, int]]:
        """Return the pixels of an input, uint8, and the size of the whole image."""
