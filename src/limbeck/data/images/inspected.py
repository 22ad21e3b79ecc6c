"""What inspected image files decide: the size and the color of a data set by default, and a note about them."""

from collections.abc import Iterable, Sequence
from typing import Literal

import torch

from limbeck.data.images.decode import Inspected
from limbeck.data.images.file_view import REDUCED
from limbeck.data.images.splits import Color

MAX_DEFAULT_SIZE = 224
_INSPECTED = 32  # images whose colors decide what "auto" means


def default_size(inspected: Iterable[Inspected]) -> int:
    """Return the median of the shorter sides, at most 224.

    Example:
        >>> default_size([Inspected(30, 20, False), Inspected(500, 400, False), Inspected(64, 70, False)])
        64
    """
    return min(_median_side(inspected), MAX_DEFAULT_SIZE)


def _median_side(inspected: Iterable[Inspected]) -> int:
    return int(torch.tensor([image.shorter for image in inspected]).median())


def are_large(images: Iterable[Inspected], size: int) -> bool:
    """Return whether any image is so large that its decoder may make it smaller by itself, to twice ``size`` or more.

    Example:
        >>> are_large([Inspected(400, 300, False)], 64), are_large([Inspected(400, 300, False)], 128)
        (True, False)
    """
    return any(image.shorter >= 2 * REDUCED * size for image in images)


def resolve_color(color: Literal["auto", "rgb", "gray"], inspected: Sequence[Inspected]) -> Color:
    """Return the color that images are converted to: of ``"auto"`` gray if all of some images are.

    Example:
        >>> resolve_color("auto", [Inspected(30, 20, True)])
        'gray'
    """
    if color != "auto":
        return color
    images = inspected[:: max(1, len(inspected) // _INSPECTED)][:_INSPECTED]
    return "gray" if all(image.gray for image in images) else "rgb"


def sizes_note(images: Sequence[Inspected]) -> str:
    """Describe the sizes of image files in a line.

    Example:
        >>> sizes_note([Inspected(30, 20, False)])
        'files: all 30x20 pixels'
    """
    sizes = sorted({(image.width, image.height) for image in images}, key=lambda size: (size[0] * size[1], size))
    smallest, largest = (f"{width}x{height}" for width, height in (sizes[0], sizes[-1]))
    if len(sizes) == 1:
        return f"files: all {smallest} pixels"
    return f"files: {smallest} to {largest} pixels, median of the shorter sides {_median_side(images)}"
