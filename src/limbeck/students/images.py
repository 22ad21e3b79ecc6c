"""Raw images to the inputs of a student that classifies them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from PIL import Image
from torch import Tensor

from limbeck.data.images.decode import decode, image_pixels
from limbeck.data.images.file_view import REDUCED, centered
from limbeck.data.images.normalize import Normalizer, normalizer
from limbeck.data.images.splits import Color
from limbeck.errors import UserError
from limbeck.students.pictures import RawImage, as_pillow, check_image, exact_pixels
from limbeck.students.pixels import PixelPreparation


@dataclass(frozen=True, eq=False)
class ImagePreparation(PixelPreparation):
    """Decodes images, resizes the shorter side, cuts out the center, and normalizes.

    Args:
        record: The numbers.
        channels_last: Whether inputs are in that memory format.

    Example:
        >>> from limbeck.students.pixels import ImageRecord
        >>> record = ImageRecord(mean=(0.5,), std=(0.5,), input_shape=(1, 2, 2))
        >>> made = next(ImagePreparation(record).batches([Image.new("L", (4, 2), 255)], 8))
        >>> made.inputs, made.sizes
        (tensor([[[[1., 1.], [1., 1.]]]]), [(2, 4)])
    """

    @cached_property
    def normalize(self) -> Normalizer:
        """The normalization of pixels."""
        return normalizer(self.record.input_shape, self.record.mean, self.record.std, channels_last=self.channels_last)

    def _inputs(self, pixels: Tensor) -> Tensor:
        return self.normalize(pixels.contiguous(memory_format=self.memory_format))

    def _read(self, image: RawImage) -> tuple[Tensor, tuple[int, int]]:
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
