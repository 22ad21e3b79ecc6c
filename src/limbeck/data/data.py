"""A data set with its splits and what identifies it."""

from dataclasses import dataclass
from functools import cached_property

from limbeck.data.samples import Samples, fingerprint
from limbeck.errors import shortened

_SHOWN_CLASSES, _SHOWN_NAME = 3, 30


@dataclass(frozen=True, eq=False)
class Data:
    """A data set; :class:`limbeck.data.Views` makes batches of its images.

    Attributes:
        name: The name it was loaded by.
        classes: The class names; a label is a position in them.
        train: The training split, after ``validation`` and ``train_limit`` were taken into account.
        validation: The part of the training samples that choices may be made on, or None.
        test: The test split, which nothing is chosen on.
        mean: For images the mean of each channel, of pixels in [0, 1].
        std: For images the standard deviation of each channel, of pixels in [0, 1].
        notes: Findings about the files for their owner, a line each: their sizes, and what was skipped.

    Example:
        >>> from limbeck.data import load
        >>> data = load("fashion_mnist_sample", train_limit=100)
        >>> data.classes[9], len(data.train), len(data.test), data.shape
        ('Ankle boot', 100, 5000, (1, 28, 28))
        >>> print(data.description[0])
        data: fashion_mnist_sample, 10 classes (T-shirt/top, Trouser, Pullover, ...),
            100 training and 5,000 test images, 28x28 gray
    """

    name: str
    classes: tuple[str, ...]
    train: Samples
    validation: Samples | None
    test: Samples
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a sample as the student takes it: for images channels, height and width in pixels."""
        return self.train.shape

    @property
    def unit(self) -> str:
        """What a sample is called, in the plural."""
        return "images" if len(self.shape) == 3 else "samples"

    @cached_property
    def fingerprint(self) -> str:
        """The training split's, see :func:`limbeck.data.fingerprint`; computed once, when first used."""
        return fingerprint(self.train)

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """That of each split by name; computed when first used, because a folder's files are read for it."""
        held_out = {"validation": self.validation, "test": self.test}
        return {"train": self.fingerprint, **{name: fingerprint(split) for name, split in held_out.items() if split}}

    @property
    def description(self) -> tuple[str, ...]:
        """Classes, counts and the samples' shape in one line, then the notes."""
        names = ", ".join(shortened(name, _SHOWN_NAME, quoted=False) for name in self.classes[:_SHOWN_CLASSES])
        more = ", ..." if len(self.classes) > _SHOWN_CLASSES else ""
        held_out = f", {len(self.validation):,} validation" if self.validation is not None else ""
        return (
            f"data: {self.name}, {len(self.classes)} classes ({names}{more}), {len(self.train):,} training"
            f"{held_out} and {len(self.test):,} test {_form(self.shape)}",
            *self.notes,
        )


def _form(shape: tuple[int, ...]) -> str:
    if len(shape) == 3:
        channels, height, width = shape
        return f"images, {width}x{height} {'rgb' if channels == 3 else 'gray'}"
    return f"samples of shape {shape}" if shape else "samples"
