"""Batches of views of images in files, decoded by the workers of a DataLoader."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tvf

from limbeck.data.augment import Augment
from limbeck.data.decode import decode
from limbeck.data.images import Batch, FolderSet
from limbeck.data.normalise import Normaliser
from limbeck.data.rotation import rotate
from limbeck.data.schedule import EpochPlan
from limbeck.errors import UserError
from limbeck.replay import derived_seed

_TRANSFORM_STREAM = 203


@dataclass(frozen=True, eq=False)
class FileImages:
    """A split whose images are decoded whenever they are looked at.

    Args:
        split: The split.
        normalise: The normalisation, on the device of the training.
        augment: How the images are varied.
        workers: How many processes decode; 0 for this one.
        channels_last: Whether the views are in that memory format.

    Raises:
        UserError: If the number of workers is negative.

    Example:
        >>> from pathlib import Path
        >>> from limbeck.data.normalise import normaliser
        >>> split = FolderSet(Path("."), (Path("cat.png"),), torch.tensor([0]), "grey", 8)
        >>> FileImages(split, normaliser((1, 8, 8), [0], [1]), Augment()).order_device
        device(type='cpu')
    """

    split: FolderSet
    normalise: Normaliser
    augment: Augment
    workers: int = 0
    channels_last: bool = False

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise UserError(f"workers: got {self.workers}, expected a whole number of at least 0")

    @property
    def order_device(self) -> torch.device:
        """Where :meth:`batches` wants the order of its plan."""
        return torch.device("cpu")

    def batches(self, plan: EpochPlan) -> Iterator[Batch]:
        """Yield the batches of one epoch.

        Raises:
            UserError: If an image cannot be read.

        Example:
            >>> from pathlib import Path
            >>> from limbeck.data.normalise import normaliser
            >>> from limbeck.data.schedule import Schedule
            >>> split = FolderSet(Path("."), (Path("lost.png"),), torch.tensor([0]), "grey", 8)
            >>> images = FileImages(split, normaliser((1, 8, 8), [0], [1]), Augment())
            >>> next(images.batches(Schedule(1, batch_size=1).plan(0)))
            Traceback (most recent call last):
            limbeck.errors.UserError: data.root: lost.png cannot be read as an image: ...
        """
        device = self.normalise.scale.device
        rows = [plan.order[start:end] for start, end in pairwise(plan.bounds)]
        memory = torch.channels_last if self.channels_last else torch.contiguous_format
        for part, images in zip(rows, self._decoded(plan, rows, device), strict=True):
            if isinstance(images, UserError):
                raise images
            pixels = images.to(device, non_blocking=True).contiguous(memory_format=memory)
            labels, indices = (t.to(device, non_blocking=True) for t in (self.split.labels[part], part))
            yield Batch(self.normalise(pixels), labels, indices)

    def _decoded(self, plan: EpochPlan, rows: list[Tensor], device: torch.device) -> DataLoader[Any]:
        return DataLoader(
            _Decoder(self.split, self.augment, plan.seed, plan.epoch),
            batch_sampler=[part.tolist() for part in rows],
            collate_fn=_stack,
            num_workers=self.workers,
            pin_memory=device.type == "cuda",
            # One of its own, since a DataLoader draws from the global generator otherwise.
            generator=torch.Generator(),
        )


def view_of_file(split: FolderSet, index: int, augment: Augment, *, seed: int, epoch: int) -> Tensor:
    """Decode an image and make one view of it.

    Without ``augment.scale`` the shorter side is resized to the split's size and the centre is cut out, then cropped
    and flipped as images in memory are. With it, torchvision's RandomResizedCrop cuts and resizes. Either way
    ``augment.rotation`` comes last.

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
    image = decode(split.paths[index], split.color)
    if augment.scale is None:
        view = _placed(_centre(image, split.size), index, augment, seed, epoch=epoch)
    else:
        view = _resized(image, split.size, augment, derived_seed(seed, epoch, index, _TRANSFORM_STREAM))
    if not augment.rotation:
        return view
    return rotate(view[None], augment.angles(torch.tensor([index]), seed=seed, epoch=epoch))[0]


class _Decoder(Dataset[Tensor | UserError]):
    def __init__(self, split: FolderSet, augment: Augment, seed: int, epoch: int) -> None:
        self._split, self._augment, self._seed, self._epoch = split, augment, seed, epoch

    def __getitem__(self, index: int) -> Tensor | UserError:
        try:
            return view_of_file(self._split, index, self._augment, seed=self._seed, epoch=self._epoch)
        except UserError as error:
            # Returned, since an error raised in a worker comes back with the worker's traceback in its text.
            return error


def _stack(samples: list[Tensor | UserError]) -> Tensor | UserError:
    error = next((sample for sample in samples if isinstance(sample, UserError)), None)
    return error or torch.stack([sample for sample in samples if isinstance(sample, Tensor)])


def _centre(image: Tensor, size: int) -> Tensor:
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
