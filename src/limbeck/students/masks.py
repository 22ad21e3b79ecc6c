"""Raw images to the inputs of a student that segments them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from PIL import Image
from torch import Tensor

from limbeck.data.images.decode import image_pixels
from limbeck.data.images.normalize import Normalizer, normalizer
from limbeck.data.masks.files import read_image, resized
from limbeck.errors import UserError
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
        whole = self._whole(image, gray=channels == 1)
        return resized(whole, (height, width)), (whole.shape[1], whole.shape[2])

    def _whole(self, image: RawImage, *, gray: bool) -> Tensor:
        if isinstance(image, str | Path):
            return read_image(Path(image), gray=gray)
        held = image if isinstance(image, Image.Image) else as_pillow(image)
        return image_pixels(held, "gray" if gray else "rgb")
