"""Raw images to the inputs of a student that detects objects."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from pydantic import ConfigDict
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

from limbeck.data.boxes.packed import Packed
from limbeck.data.boxes.reading import Form
from limbeck.data.images.decode import decode, image_pixels
from limbeck.errors import UserError
from limbeck.students.made import Made, Skipped, read_in_batches
from limbeck.students.pictures import RawImage, as_pillow, check_image, listed_images, read_images
from limbeck.students.pixels import Side
from limbeck.validation import Settings, validated


class Resizing(Settings):
    """How images are resized: the shorter side, or height and width, in pixels; None leaves them.

    Example:
        >>> Resizing(size=64).shape is None
        True
    """

    size: Side | None = None
    shape: tuple[Side, Side] | None = None


class BoxRecord(Settings):
    """What a file records about the images that its detector takes.

    Example:
        >>> BoxRecord(resizing=Resizing()).resizing.size is None
        True
    """

    model_config = ConfigDict(extra="ignore")

    resizing: Resizing


@dataclass(frozen=True, eq=False)
class BoxPreparation:
    """Decodes images, and resizes them as those of the training were.

    Args:
        form: What images are resized to.

    Example:
        >>> made = next(BoxPreparation(Form(size=8)).batches([Image.new("RGB", (32, 16))], 8))
        >>> made.inputs["images"][0].shape, made.sizes
        (torch.Size([3, 8, 16]), [(16, 32)])
    """

    unit: ClassVar[str] = "images"

    form: Form

    @classmethod
    def of(cls, about: Mapping[str, Any], where: str) -> "BoxPreparation":
        """Make the preparation that a file's metadata describe.

        Raises:
            UserError: If an entry is missing or damaged.
        """
        resizing = validated(BoxRecord, about, where).resizing
        try:
            return cls(Form(resizing.size, resizing.shape))
        except UserError as error:
            raise UserError(f"{where}: {error}") from None

    def samples(self, given: Any) -> Sequence[RawImage]:
        """Return raw images as a sequence, see :func:`limbeck.students.pictures.listed_images`."""
        return listed_images(given)

    def batches(self, given: Any, batch_size: int, skipped: Skipped | None = None) -> Iterator[Made]:
        """Yield ``{"images": [...]}``, float32 (3, H, W) each; see :class:`limbeck.students.made.Preparation`."""
        samples = self.samples(given)
        nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
        for positions, read in read_in_batches(samples, batch_size, self._read_all, skipped):
            images, _ = Packed.of([(pixels, nothing) for pixels, _ in read]).unpacked("cpu")
            yield Made({"images": images}, positions, [size for _, size in read])

    def _read_all(self, images: Sequence[RawImage]) -> list[Any]:
        return read_images(images, self._read)

    def _read(self, image: RawImage) -> tuple[Tensor, tuple[int, int]]:
        check_image(image)
        if isinstance(image, str | Path):
            whole = decode(Path(image), "rgb")
        else:
            whole = image_pixels(image if isinstance(image, Image.Image) else as_pillow(image), "rgb")
        size = whole.shape[1], whole.shape[2]
        try:
            to_size = self.form.of(size)
        except UserError as error:
            raise UserError(f"{image}: {error}" if isinstance(image, str | Path) else f"an image {error}") from None
        return (whole if size == to_size else tvf.resize(whole, list(to_size), antialias=True)), size
