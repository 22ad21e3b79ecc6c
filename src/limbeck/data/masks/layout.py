"""Where the images and masks of each split lie, and which mask belongs to which image."""

from typing import NamedTuple

from limbeck.data.masks.files import Pair, Place, entries, images_in
from limbeck.errors import UserError

_SPLITS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
_LAYOUTS = "expected train/images, train/masks and test/images, test/masks (or images/train, ...), or images and masks"
_PARTS = ("images", "masks")
WHOLE = "whole"
"""The name of the only split of files that have none."""


class Found(NamedTuple):
    """The files of a split.

    Attributes:
        pairs: Images with their masks, sorted by name.
        unpaired: Masks without an image, which are left out.
        lacking: Images without a mask.
    """

    pairs: list[Pair]
    unpaired: list[Place]
    lacking: list[Place]


def find_splits(place: Place) -> dict[str, Found]:
    """Find images and masks in ``SPLIT/images`` and ``SPLIT/masks``, ``images/SPLIT`` and ``masks/SPLIT``, or flat.

    Args:
        place: The folder of a data set.

    Returns:
        The files by split: ``train``, ``validation`` and ``test``, or ``whole``.

    Raises:
        UserError: If there is no such layout.
    """
    top = {entry.name.lower(): entry for entry in entries(place) if entry.is_dir()}
    if set(_PARTS) <= top.keys():
        below = [{entry.name.lower(): entry for entry in entries(top[part]) if entry.is_dir()} for part in _PARTS]
        if not set(_SPLITS).intersection(*below):
            return {WHOLE: _paired(top["images"], top["masks"])}
        folders = {name: (below[0][name], below[1][name]) for name in _SPLITS if all(name in part for part in below)}
    else:
        folders = {name: (top[name] / "images", top[name] / "masks") for name in _SPLITS if name in top}
    if "train" not in folders:
        raise UserError(f"data.root: {place} has no split train; {_LAYOUTS}")
    return {_SPLITS[name]: _paired(*of_split) for name, of_split in folders.items()}


def _paired(images: Place, masks: Place) -> Found:
    by_image, by_mask = images_in(images), images_in(masks)
    if not by_image:
        raise UserError(f"data.root: {images} has no images; {_LAYOUTS}")
    names = sorted(by_image)
    pairs = [Pair(by_image[name], by_mask[name]) for name in names if name in by_mask]
    lacking = [by_image[name] for name in names if name not in by_mask]
    return Found(pairs, [mask for name, mask in sorted(by_mask.items()) if name not in by_image], lacking)
