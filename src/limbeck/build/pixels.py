"""The pixel store of a recipe's image folder: every file is decoded once, for this run or for all later ones."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from limbeck.build.teacher_store import cache_folder, made_once
from limbeck.cache.spec import size
from limbeck.data import Augment, Data, FolderSet, Samples
from limbeck.data.images.pixels import Pixels, pixels_of, read_pixels, write_pixels
from limbeck.data.images.stored import StoredSet, stored_form, stored_image
from limbeck.data.threads import map_in_threads
from limbeck.errors import UserError
from limbeck.recipes.data_settings import DataSettings

# Whole images are mostly wider than high.
_ASPECT = 4 / 3
_CHUNK = 256


def with_store(data: Data, settings: DataSettings, cache: Path | None) -> Data:
    """Return the data with the pixels of an image folder's splits stored, as ``data.store`` has it.

    Args:
        data: The data set.
        settings: The recipe's ``data``.
        cache: The recipe's ``output.cache``.

    Raises:
        UserError: If the data are no image folder, the pixels are more than ``data.store_limit_gb`` or the disk's room,
            or an image cannot be read.
    """
    if not stores(data, settings):
        return data
    assert isinstance(data.train, FolderSet)
    augment = data.augment(settings.augment)
    store = partial(_stored, settings=settings, folder=cache_folder(cache) / "pixels")
    held_out = None if data.validation is None else store(data.validation, Augment())
    train, test = store(data.train, augment), store(data.test, Augment())
    unlabeled = None if data.unlabeled is None else store(data.unlabeled, augment)
    return replace(data, train=train, validation=held_out, test=test, unlabeled=unlabeled)


def stores(data: Data, settings: DataSettings) -> bool:
    """Return whether the pixels of a data set are stored, as ``data.store`` has it.

    Raises:
        UserError: If they are to be, but the data are no image folder.

    Example:
        >>> from limbeck.data import load
        >>> settings = DataSettings(name="fashion_mnist_sample", store="auto")
        >>> stores(load("fashion_mnist_sample", train_limit=10), settings)
        False
    """
    if settings.store == "off":
        return False
    if not isinstance(data.train, FolderSet) and settings.store != "auto":
        got = f"data.store: got {settings.store!r}, but {data.name} is no image folder"
        raise UserError(f"{got}, expected off or auto")
    return isinstance(data.train, FolderSet)


def _stored(split: Samples, augment: Augment, *, settings: DataSettings, folder: Path) -> FolderSet:
    assert isinstance(split, FolderSet)
    if isinstance(split, StoredSet):
        return split
    _check_room(split, augment, settings, folder)
    pixels = _in_memory(split, augment) if settings.store == "memory" else _on_disk(split, augment, folder)
    rows = torch.arange(len(split))
    values = {key: getattr(split, key) for key in ("root", "paths", "labels", "color", "size", "reduced")}
    return StoredSet(**values, pixels=pixels, rows=rows, whole=augment.scale is not None)


def _check_room(split: FolderSet, augment: Augment, settings: DataSettings, folder: Path) -> None:
    channels, height, width = split.shape
    expected = len(split) * channels * height * width * (1 if augment.scale is None else (8 / 7) ** 2 * _ASPECT)
    if expected > settings.store_limit_gb * 1e9:
        got = f"data.store: {len(split):,} images take about {size(expected)}"
        raise UserError(
            f"{got}, more than data.store_limit_gb {settings.store_limit_gb:g}; expected a higher limit or off"
        )
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if settings.store != "memory" and expected > free:
        got = f"data.store: needs about {size(expected)} in {folder}, where {size(free)} are free"
        raise UserError(f"{got}; expected output.cache elsewhere, or off")


def _images(split: FolderSet, augment: Augment) -> Iterator[Tensor]:
    """Yield what is stored of each image, by a pool of threads, a few hundred in memory at a time."""
    for start in range(0, len(split), _CHUNK):
        numbers = range(start, min(start + _CHUNK, len(split)))
        yield from map_in_threads(lambda number: stored_image(split, number, augment), numbers)


def _in_memory(split: FolderSet, augment: Augment) -> Pixels:
    return pixels_of(_images(split, augment))


def _on_disk(split: FolderSet, augment: Augment, folder: Path) -> Pixels:
    place = folder / stored_form(split, augment)[:20]
    made_once(place, lambda partial: write_pixels(partial, _images(split, augment)))
    return read_pixels(place)
