"""One view of one image file."""

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

from limbeck.data.images.augment import Augment
from limbeck.data.images.cut import Cut
from limbeck.data.images.decode import decode
from limbeck.data.images.operations import operate
from limbeck.data.images.rotation import rotate
from limbeck.data.images.splits import FolderSet
from limbeck.randomness.hashing import derived_seed

_TRANSFORM_STREAM = 203
# Of a decoder that makes a JPEG smaller by itself we take an image of at least so many times the size that is needed,
# so that most of the resizing is ours.
REDUCED = 2
# Most pixels of a resized image's longer side.
_LONGEST = 2**15


def view_of_file(split: FolderSet, index: int, augment: Augment, *, seed: int, epoch: int) -> Tensor:
    """Decode an image and make one view of it.

    Without ``augment.scale`` the shorter side is resized to the split's size and the center is cut out, then cropped
    and flipped as images in memory are. With it, torchvision's RandomResizedCrop cuts and resizes. Either way
    operations on the pixels follow, and ``augment.rotation`` comes last. Of a split that is ``reduced`` the decoder
    makes a JPEG smaller by itself, by 2, 4 or 8, to no less than twice the size that the view is cut from.

    Args:
        split: The split.
        index: The sample's position in it.
        augment: How the image is varied.
        seed: The run's seed.
        epoch: The epoch, from 0.

    Returns:
        The view, uint8 (C, size, size), or float32 in [0, 255] if rotated: a pure function of (seed, epoch, index) and
        the file.

    Raises:
        UserError: If the image cannot be read.

    Example:
        >>> from pathlib import Path
        >>> split = FolderSet(Path("."), (Path("lost.png"),), torch.tensor([0]), "rgb", 32)
        >>> view_of_file(split, 0, Augment(), seed=0, epoch=0)
        Traceback (most recent call last):
        limbeck.errors.UserError: data.root: lost.png cannot be read as an image: ...
    """
    path, color, size = split.paths[index], split.color, split.size
    if augment.scale is None or not split.reduced:
        image = decode(path, color, shorter_side(split))
        return view_of_image(image, index, size, augment, seed=seed, epoch=epoch)
    cuts: list[Cut] = []

    def needed(height: int, width: int) -> int:
        cuts.append(_cut((height, width), index, augment, seed, epoch))
        return cuts[0].shorter_side(REDUCED * size)

    image = decode(path, color, needed)
    return view_of_image(image, index, size, augment, seed=seed, epoch=epoch, cut=cuts[0] if cuts else None)


def shorter_side(split: FolderSet, size: int | None = None) -> Callable[[int, int], int] | None:
    """Return how long the shorter side of a decoded image has to be, for :func:`decode`; None for whole images.

    Args:
        split: The split.
        size: The shorter side that the image is resized to; None for the split's.

    Example:
        >>> from pathlib import Path
        >>> split = FolderSet(Path("."), (Path("a.jpg"),), torch.tensor([0]), "rgb", 32, reduced=True)
        >>> shorter_side(split)(600, 400)
        64
    """
    return (lambda height, width: REDUCED * (size or split.size)) if split.reduced else None  # noqa: ARG005


def view_of_image(
    image: Tensor, index: int, size: int, augment: Augment, *, seed: int, epoch: int, cut: Cut | None = None
) -> Tensor:
    """Make one view of a decoded image.

    Args:
        image: The image, uint8 (C, H, W).
        index: The sample's position in its split.
        size: Height and width of the view.
        augment: How the image is varied.
        seed: The run's seed.
        epoch: The epoch, from 0.
        cut: The random cut, of an image that was decoded smaller; else it is drawn for the image's own size.

    Returns:
        As :func:`view_of_file`.

    Example:
        >>> view_of_image(torch.zeros(3, 40, 60, dtype=torch.uint8), 0, 32, Augment(), seed=0, epoch=0).shape
        torch.Size([3, 32, 32])
    """
    if augment.scale is None:
        view = _placed(centered(image, size), index, augment, seed, epoch=epoch)
    else:
        height, width = image.shape[1:]
        view = (cut or _cut((height, width), index, augment, seed, epoch)).of(image, size)
    # What follows computes in this order of the pixels, and its last bits may depend on it.
    view = view.contiguous()
    if augment.operates:
        view = operate(view, index, augment, seed=seed, epoch=epoch)
    if not augment.rotation:
        return view
    return rotate(view[None], augment.angles(torch.tensor([index]), seed=seed, epoch=epoch))[0]


def centered(image: Tensor, size: int) -> Tensor:
    """Resize the shorter side of an image (C, H, W) to ``size``, and cut out the center.

    Of an image that would get longer than 32,768 pixels, as one of a single row, the middle is resized alone.

    Example:
        >>> centered(torch.zeros(3, 40, 60, dtype=torch.uint8), 32).shape
        torch.Size([3, 32, 32])
    """
    resized: Tensor = tvf.center_crop(tvf.resize(_middle(image, size), [size], antialias=True), [size, size])
    return resized


def _middle(image: Tensor, size: int) -> Tensor:
    height, width = image.shape[1:]
    most = max(1, min(height, width) * _LONGEST // size)
    if max(height, width) <= most:
        return image
    middle: Tensor = tvf.center_crop(image, [min(height, most), min(width, most)])
    return middle


def _cut(whole: tuple[int, int], index: int, augment: Augment, seed: int, epoch: int) -> Cut:
    assert augment.scale is not None
    drawn = derived_seed(seed, epoch, index, _TRANSFORM_STREAM)
    return Cut.drawn(whole, augment.scale, flip=augment.flip, seed=drawn)


def _placed(image: Tensor, index: int, augment: Augment, seed: int, *, epoch: int) -> Tensor:
    place = augment.placements(torch.tensor([index]), seed=seed, epoch=epoch)
    top, left, flip = (int(values) for values in place)
    _, height, width = image.shape
    view: Tensor = tvf.crop(tvf.pad(image, [augment.crop]), top, left, height, width)
    return view.flip(2) if flip else view
