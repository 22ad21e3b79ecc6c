"""Raw images to the inputs of a student that segments them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from PIL import Image
from torch import Tensor

from limbeck.data.images.normalize import Normalizer, normalizer
from limbeck.data.masks.files import read_image, resized_pixels
from limbeck.errors import UserError, one_line
from limbeck.students.pictures import RawImage, as_pillow, check_image, exact_pixels
from limbeck.students.pixels import PixelPreparation


@dataclass(frozen=True, eq=False)
class MaskPreparation(PixelPreparation):
    """Decodes images, resizes them to one height and width, and normalizes.

    Args:
        record: The numbers.
        channels_last: Whether inputs are in that memory format.

    Example:
        >>> from limbeck.students.pixels import ImageRecord
        >>> record = ImageRecord(mean=(0.5,), std=(0.5,), input_shape=(1, 2, 2))
        >>> made = next(MaskPreparation(record).batches([Image.new("L", (4, 2), 255)], 8))
        >>> made.inputs, made.sizes
        (tensor([[[[1., 1.], [1., 1.]]]]), [(2, 4)])
    """

    @cached_property
    def normalize(self) -> Normalizer:
        """The normalization of pixels."""
        return normalizer(self.record.input_shape, self.record.mean, self.record.std)

    def _inputs(self, pixels: Tensor) -> Tensor:
        return self.normalize(pixels).contiguous(memory_format=self.memory_format)

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
