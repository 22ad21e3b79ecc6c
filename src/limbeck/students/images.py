"""Raw images to the inputs of a student that classifies them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from PIL import Image
from pydantic import ConfigDict, Field
from torch import Tensor

from limbeck.data.images.decode import decode, image_pixels
from limbeck.data.images.file_view import REDUCED, centered
from limbeck.data.images.normalize import Normalizer, normalizer
from limbeck.data.images.splits import Color
from limbeck.errors import UserError
from limbeck.students.made import Made, Skipped, read_in_batches
from limbeck.students.pictures import RawImage, as_pillow, check_image, exact_pixels, listed_images, read_images
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
class ImagePreparation:
    """Decodes images, resizes the shorter side, cuts out the center, and normalizes.

    Args:
        record: The numbers.
        channels_last: Whether inputs are in that memory format.

    Example:
        >>> record = ImageRecord(mean=(0.5,), std=(0.5,), input_shape=(1, 2, 2))
        >>> made = next(ImagePreparation(record).batches([Image.new("L", (4, 2), 255)], 8))
        >>> made.inputs, made.sizes
        (tensor([[[[1., 1.], [1., 1.]]]]), [(2, 4)])
    """

    unit: ClassVar[str] = "images"

    record: ImageRecord
    channels_last: bool = False

    @classmethod
    def of(cls, about: Mapping[str, Any], where: str, *, channels_last: bool = False) -> "ImagePreparation":
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
    def normalize(self) -> Normalizer:
        """The normalization of pixels."""
        return normalizer(self.record.input_shape, self.record.mean, self.record.std, channels_last=self.channels_last)

    def samples(self, given: Any) -> Sequence[RawImage]:
        """Return raw images as a sequence, see :func:`limbeck.students.pictures.listed_images`."""
        return listed_images(given)

    def batches(self, given: Any, batch_size: int, skipped: Skipped | None = None) -> Iterator[Made]:
        """Yield inputs, float32 (N, C, H, W); see :class:`limbeck.students.made.Preparation`."""
        memory = torch.channels_last if self.channels_last else torch.contiguous_format
        samples = self.samples(given)
        for positions, read in read_in_batches(samples, batch_size, self._read_all, skipped):
            pixels = torch.stack([pixels for pixels, _ in read]).contiguous(memory_format=memory)
            yield Made(self.normalize(pixels), positions, [size for _, size in read])

    def _read_all(self, images: Sequence[RawImage]) -> list[Any]:
        return read_images(images, self._read)

    def _read(self, image: RawImage) -> tuple[Tensor, tuple[int, int]]:
        """Return the pixels of an input, uint8, and the size of the whole image."""
        check_image(image)
        channels, height, width = shape = self.record.input_shape
        if (pixels := exact_pixels(image, shape)) is not None:
            return pixels, (height, width)
        if height != width or channels not in (1, 3):
            raise UserError(f"a sample: expected uint8 pixels of the inputs' own shape, a tensor {shape}")
        whole, size = self._whole(image)
        return centered(whole, height).contiguous(), size

    def _whole(self, image: RawImage) -> tuple[Tensor, tuple[int, int]]:
        color: Color = "rgb" if self.record.input_shape[0] == 3 else "gray"
        if isinstance(image, str | Path):
            sizes: list[tuple[int, int]] = []

            def needed(height: int, width: int) -> int:
                sizes.append((height, width))
                return REDUCED * self.record.input_shape[1]

            pixels = decode(Path(image), color, needed if self.record.reduced else None)
            return pixels, sizes[0] if sizes else (pixels.shape[1], pixels.shape[2])
        held = image if isinstance(image, Image.Image) else as_pillow(image)
        pixels = image_pixels(held, color)
        return pixels, (pixels.shape[1], pixels.shape[2])
