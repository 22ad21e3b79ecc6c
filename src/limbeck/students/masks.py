"""Raw images to the inputs of a student that segments them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from limbeck.data.images.normalize import Normalizer, normalizer
from limbeck.data.masks.files import read_image, resized_pixels
from limbeck.errors import UserError, one_line
from limbeck.students.images import ImageRecord
from limbeck.students.made import Made, Skipped, read_in_batches
from limbeck.students.pictures import RawImage, as_pillow, check_image, exact_pixels, listed_images, read_images
from limbeck.validation import validated


@dataclass(frozen=True, eq=False)
class MaskPreparation:
    """Decodes images, resizes them to one height and width, and normalizes.

    Args:
        record: The numbers.
        channels_last: Whether inputs are in that memory format.

    Example:
        >>> record = ImageRecord(mean=(0.5,), std=(0.5,), input_shape=(1, 2, 2))
        >>> made = next(MaskPreparation(record).batches([Image.new("L", (4, 2), 255)], 8))
        >>> made.inputs, made.sizes
        (tensor([[[[1., 1.], [1., 1.]]]]), [(2, 4)])
    """

    unit: ClassVar[str] = "images"

    record: ImageRecord
    channels_last: bool = False

    @classmethod
    def of(cls, about: Mapping[str, Any], where: str, *, channels_last: bool = False) -> "MaskPreparation":
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
        return normalizer(self.record.input_shape, self.record.mean, self.record.std)

    def samples(self, given: Any) -> Sequence[RawImage]:
        """Return raw images as a sequence, see :func:`limbeck.students.pictures.listed_images`."""
        return listed_images(given)

    def batches(self, given: Any, batch_size: int, skipped: Skipped | None = None) -> Iterator[Made]:
        """Yield inputs, float32 (N, C, H, W); see :class:`limbeck.students.made.Preparation`."""
        memory = torch.channels_last if self.channels_last else torch.contiguous_format
        samples = self.samples(given)
        for positions, read in read_in_batches(samples, batch_size, self._read_all, skipped):
            inputs = self.normalize(torch.stack([pixels for pixels, _ in read]))
            yield Made(inputs.contiguous(memory_format=memory), positions, [size for _, size in read])

    def _read_all(self, images: Sequence[RawImage]) -> list[Any]:
        return read_images(images, self._read)

    def _read(self, image: RawImage) -> tuple[Tensor, tuple[int, int]]:
        check_image(image)
        channels, height, width = shape = self.record.input_shape
        if (pixels := exact_pixels(image, shape)) is not None:
            return pixels, (height, width)
        if channels not in (1, 3):
            raise UserError(f"a sample: expected uint8 pixels of the inputs' own shape, a tensor {shape}")
        if isinstance(image, str | Path):
            path = Path(image)
            return read_image(path, (height, width), gray=channels == 1), _size_of(path)
        held = image if isinstance(image, Image.Image) else as_pillow(image)
        return resized_pixels(held, (height, width), gray=channels == 1), (held.height, held.width)


def _size_of(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except OSError as error:
        raise UserError(f"{path}: cannot be read as an image ({one_line(error)})") from None
