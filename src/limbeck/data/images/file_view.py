"""One view of one image file."""

import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tvf

from limbeck.data.images.augment import Augment
from limbeck.data.images.decode import decode
from limbeck.data.images.operations import operate
from limbeck.data.images.rotation import rotate
from limbeck.data.images.splits import FolderSet
from limbeck.randomness.hashing import derived_seed

_TRANSFORM_STREAM = 203


def view_of_file(split: FolderSet, index: int, augment: Augment, *, seed: int, epoch: int) -> Tensor:
    """Decode an image and make one view of it.

    Without ``augment.scale`` the shorter side is resized to the split's size and the center is cut out, then cropped
    and flipped as images in memory are. With it, torchvision's RandomResizedCrop cuts and resizes. Either way
    operations on the pixels follow, and ``augment.rotation`` comes last.

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
    return view_of_image(decode(split.paths[index], split.color), index, split.size, augment, seed=seed, epoch=epoch)


def view_of_image(image: Tensor, index: int, size: int, augment: Augment, *, seed: int, epoch: int) -> Tensor:
    """Make one view of a decoded image.

    Args:
        image: The image, uint8 (C, H, W).
        index: The sample's position in its split.
        size: Height and width of the view.
        augment: How the image is varied.
        seed: The run's seed.
        epoch: The epoch, from 0.

    Returns:
        As :func:`view_of_file`.

    Example:
        >>> view_of_image(torch.zeros(3, 40, 60, dtype=torch.uint8), 0, 32, Augment(), seed=0, epoch=0).shape
        torch.Size([3, 32, 32])
    """
    if augment.scale is None:
        view = _placed(centered(image, size), index, augment, seed, epoch=epoch)
    else:
        view = _resized(image, size, augment, derived_seed(seed, epoch, index, _TRANSFORM_STREAM))
    # What follows computes in this order of the pixels, and its last bits may depend on it.
    view = view.contiguous()
    if augment.operates:
        view = operate(view, index, augment, seed=seed, epoch=epoch)
    if not augment.rotation:
        return view
    return rotate(view[None], augment.angles(torch.tensor([index]), seed=seed, epoch=epoch))[0]


def centered(image: Tensor, size: int) -> Tensor:
    """Resize the shorter side of an image (C, H, W) to ``size``, and cut out the center.

    Example:
        >>> centered(torch.zeros(3, 40, 60, dtype=torch.uint8), 32).shape
        torch.Size([3, 32, 32])
    """
    resized: Tensor = tvf.center_crop(tvf.resize(image, [size], antialias=True), [size, size])
    return resized


def _resized(image: Tensor, size: int, augment: Augment, seed: int) -> Tensor:
    transform = v2.RandomResizedCrop(size, scale=augment.scale, antialias=True)
    mirror = v2.RandomHorizontalFlip(0.5 if augment.flip else 0.0)
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would seed the accelerators of the training as well.
        torch.default_generator.manual_seed(seed)
        view: Tensor = mirror(transform(image))
    return view


def _placed(image: Tensor, index: int, augment: Augment, seed: int, *, epoch: int) -> Tensor:
    place = augment.placements(torch.tensor([index]), seed=seed, epoch=epoch)
    top, left, flip = (int(values) for values in place)
    _, height, width = image.shape
    view: Tensor = tvf.crop(tvf.pad(image, [augment.crop]), top, left, height, width)
    return view.flip(2) if flip else view
