"""A data set with its splits, normalization and what identifies it."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from limbeck.data.images.fingerprint import fingerprint
from limbeck.data.images.splits import Split
from limbeck.data.printing import printable

_SHOWN_CLASSES, _SHOWN_NAME = 3, 30


@dataclass(frozen=True, eq=False)
class Data:
    """A data set, ready to be looked at through :class:`limbeck.data.Views`.

    Attributes:
        unit: What a sample is called, in the plural.
        name: The name it was loaded by.
        classes: The class names; a label is a position in them.
        train: The training split, after ``validation`` and ``train_limit`` were taken into account.
        validation: The part of the training images that choices may be made on, or None.
        test: The test split, which nothing is chosen on.
        mean: The mean of each channel, of pixels in [0, 1].
        std: The standard deviation of each channel, of pixels in [0, 1].
        shape: Channels, height and width in pixels of what the student sees.
        fingerprint: SHA-256 of the training split (see :func:`limbeck.data.images.fingerprint`).
        notes: What the owner should know of the files, a line each: their sizes, and what was skipped.

    Example:
        >>> from limbeck.data import load
        >>> data = load("fashion_mnist_sample", train_limit=100)
        >>> data.classes[9], len(data.train), len(data.test), data.shape
        ('Ankle boot', 100, 5000, (1, 28, 28))
        >>> print(data.description[0])
        data: fashion_mnist_sample, 10 classes (T-shirt/top, Trouser, Pullover, ...),
            100 training and 5,000 test images, 28x28 gray
    """

    unit: ClassVar[str] = "images"

    name: str
    classes: tuple[str, ...]
    train: Split
    validation: Split | None
    test: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    shape: tuple[int, int, int]
    fingerprint: str
    notes: tuple[str, ...] = ()

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """SHA-256 of each split by name; computed when first used, because a folder's files are read for it."""
        held_out = {"validation": self.validation, "test": self.test}
        return {"train": self.fingerprint, **{name: fingerprint(split) for name, split in held_out.items() if split}}

    @property
    def description(self) -> tuple[str, ...]:
        """Classes, counts and image size in one line, then the notes."""
        names = ", ".join(printable(name, _SHOWN_NAME) for name in self.classes[:_SHOWN_CLASSES])
        more = ", ..." if len(self.classes) > _SHOWN_CLASSES else ""
        held_out = f" {len(self.validation):,} validation" if self.validation is not None else ""
        channels, height, width = self.shape
        return (
            f"data: {self.name}, {len(self.classes)} classes ({names}{more}), {len(self.train):,} training"
            f"{',' + held_out if held_out else ''} and {len(self.test):,} test images,"
            f" {width}x{height} {'rgb' if channels == 3 else 'gray'}",
            *self.notes,
        )
