"""The types that image data is held in: a split in memory, a split in files, all splits of a data set."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, Self

import torch
from torch import Tensor

from limbeck.data.images.fingerprint import files_content
from limbeck.errors import UserError
from limbeck.files import content_digest

Color = Literal["rgb", "gray"]


def _check_labels(labels: Tensor, count: int) -> None:
    if labels.dtype != torch.int64 or labels.ndim not in (1, 2) or len(labels) != count:
        raise UserError(f"labels: got {labels.dtype} {tuple(labels.shape)}, expected torch.int64 ({count},)")


@dataclass(frozen=True, eq=False)
class ImageSet:
    """A split whose images are in memory, all of one size.

    Args:
        images: Pixels, uint8 (N, C, H, W).
        labels: Class numbers, int64 (N,); or (N, C) of 1, 0 and -1 (not known), where an image has several classes.

    Raises:
        UserError: If a shape or a type is another.

    Example:
        >>> split = ImageSet(torch.zeros(3, 1, 28, 28, dtype=torch.uint8), torch.tensor([0, 1, 1]))
        >>> len(split), split.shape, split.select(torch.tensor([2])).labels
        (3, (1, 28, 28), tensor([1]))
    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            got = f"{self.images.dtype} {tuple(self.images.shape)}"
            raise UserError(f"images: got {got}, expected torch.uint8 (N, C, H, W)")
        _check_labels(self.labels, len(self.images))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width in pixels of every image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def select(self, indices: Tensor) -> Self:
        """Return a copy of the samples at ``indices`` (int64 (M,)), in that order."""
        return replace(self, images=self.images[indices], labels=self.labels[indices])

    def fingerprint(self) -> str:
        """Return the SHA-256 of shape, labels and every pixel, in their order; 64 hexadecimal digits."""
        return content_digest(f"ImageSet {self.shape}\n".encode(), self.labels, self.images)


@dataclass(frozen=True, eq=False)
class FolderSet:
    """A split whose images stay in their files and are decoded when a view of them is made.

    Args:
        root: The folder that the fingerprint takes the paths relative to.
        paths: The image files.
        labels: Class numbers, int64 (N,); or (N, C) of 1, 0 and -1 (not known), where an image has several classes.
        color: What every image is converted to, ``"rgb"`` (3 channels) or ``"gray"`` (1 channel).
        size: Height and width in pixels of the student's inputs.
        reduced: Whether large JPEGs are decoded at a part of their size, see :func:`limbeck.data.images.decode.decode`.

    Raises:
        UserError: If there is not one label for each path, or ``size`` or ``color`` is out of range.

    Example:
        >>> split = FolderSet(Path("pets"), (Path("pets/cat/1.png"),), torch.tensor([0]), "rgb", 64)
        >>> len(split), split.shape
        (1, (3, 64, 64))
    """

    root: Path
    paths: tuple[Path, ...]
    labels: Tensor
    color: Color
    size: int
    reduced: bool = False

    def __post_init__(self) -> None:
        _check_labels(self.labels, len(self.paths))
        if self.size < 1:
            raise UserError(f"data.size: got {self.size}, expected a whole number of pixels of at least 1")
        if self.color not in ("rgb", "gray"):
            raise UserError(f"data.color: got {self.color!r}, expected 'rgb' or 'gray'")

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width in pixels of every image as the student takes it."""
        return (3 if self.color == "rgb" else 1), self.size, self.size

    def select(self, indices: Tensor) -> Self:
        """Return the samples at ``indices`` (int64 (M,)), in that order."""
        return replace(self, paths=tuple(self.paths[i] for i in indices.tolist()), labels=self.labels[indices])

    def fingerprint(self) -> str:
        """Return the SHA-256 of shape, color, labels and files, in their order; 64 hexadecimal digits.

        See :func:`limbeck.data.images.fingerprint.files_content` for what counts of a file.

        Raises:
            UserError: If a file cannot be read.
        """
        files = files_content(self.root, self.paths, self.color)
        reduced = " reduced" if self.reduced else ""
        return content_digest(f"FolderSet {self.shape}{reduced}\n".encode(), self.labels, files)


Split = ImageSet | FolderSet


class Splits(NamedTuple):
    """What a reader of a data set's files found, before anything is cut from it.

    Attributes:
        classes: The class names; a label is a position in them.
        train: The training split.
        test: The test split.
        validation: The validation split, where the files hold one of their own.
        notes: Findings about the files for their owner, a line each.
        skipped: The samples that are left out because they cannot be read, a line each.

    Example:
        >>> split = ImageSet(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), torch.tensor([0]))
        >>> Splits(("only",), split, split).validation is None
        True
    """

    classes: tuple[str, ...]
    train: Split
    test: Split
    validation: Split | None = None
    notes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
