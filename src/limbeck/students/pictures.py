"""Raw images as pixels: files, Pillow's images, and arrays."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from limbeck.data.threads import map_in_threads
from limbeck.errors import UserError, shortened

RawImage = str | Path | Image.Image | np.ndarray[Any, Any] | Tensor
"""An image file, an image of Pillow, or uint8 pixels: an array (H, W) or (H, W, C), or a tensor (C, H, W)."""
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def listed_images(given: Any) -> Sequence[RawImage]:
    """Return raw images as a sequence: a list of them as it is, and a batch of pixels image by image.

    Args:
        given: A list of raw images, an array (N, H, W, C), or a tensor (N, C, H, W).

    Raises:
        UserError: If it is a single image, or something else.

    Example:
        >>> len(listed_images(torch.zeros(3, 1, 8, 8, dtype=torch.uint8))), listed_images(["a.png"])
        (3, ['a.png'])
    """
    if isinstance(given, np.ndarray | Tensor) and given.ndim == 4:
        return list(given)
    if isinstance(given, list | tuple):
        return given
    got = f"{tuple(given.shape)}" if isinstance(given, np.ndarray | Tensor) else type(given).__name__
    raise UserError(f"samples: got {got}, expected a list of images: files, images of Pillow, or uint8 pixels")


def read_images(images: Sequence[RawImage], read: Callable[[RawImage], Any]) -> list[Any | UserError]:
    """Return what ``read`` returns for each image, or the error of it, by a pool of threads.

    Example:
        >>> read_images(["a.png"], lambda image: image)
        ['a.png']
    """

    def attempt(image: RawImage) -> Any | UserError:
        try:
            return read(image)
        except UserError as error:
            return UserError(str(error).removeprefix("data.root: "))

    return map_in_threads(attempt, images)


def as_pillow(pixels: np.ndarray[Any, Any] | Tensor) -> Image.Image:
    """Return uint8 pixels as an image of Pillow.

    Args:
        pixels: An array (H, W) or (H, W, C), or a tensor (C, H, W); C is 1 to 4: gray or color, perhaps with alpha.

    Raises:
        UserError: If it has another shape or type.

    Example:
        >>> as_pillow(np.zeros((4, 6, 3), np.uint8)).size, as_pillow(torch.zeros(1, 4, 6, dtype=torch.uint8)).mode
        ((6, 4), 'L')
    """
    array = pixels.cpu().permute(1, 2, 0).numpy() if isinstance(pixels, Tensor) and pixels.ndim == 3 else pixels
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8 or array.ndim not in (2, 3):
        raise _wrong(pixels)
    flat = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
    channels = 1 if flat.ndim == 2 else flat.shape[2]
    if channels not in _MODES or 0 in flat.shape:
        raise _wrong(pixels)
    return Image.fromarray(np.ascontiguousarray(flat))


def exact_pixels(image: RawImage, shape: tuple[int, ...]) -> Tensor | None:
    """Return pixels that have the shape of an input already, uint8 (C, H, W); None for all else.

    Example:
        >>> exact_pixels(torch.zeros(5, 8, 8, dtype=torch.uint8), (5, 8, 8)).shape
        torch.Size([5, 8, 8])
    """
    if isinstance(image, Tensor) and image.dtype == torch.uint8 and tuple(image.shape) == shape:
        return image.cpu()
    return None


def check_image(image: object) -> None:
    """Raise ``UserError`` if something is no raw image.

    Example:
        >>> check_image(3)
        Traceback (most recent call last):
        limbeck.errors.UserError: a sample: got 3, expected a file, an image of Pillow, or uint8 pixels: ...
    """
    if not isinstance(image, str | Path | Image.Image | np.ndarray | Tensor):
        raise _wrong(image)


def _wrong(image: object) -> UserError:
    got = f"{image.dtype} {tuple(image.shape)}" if isinstance(image, np.ndarray | Tensor) else shortened(image)
    expected = "a file, an image of Pillow, or uint8 pixels: an array (H, W) or (H, W, C), or a tensor (C, H, W)"
    return UserError(f"a sample: got {got}, expected {expected}")
