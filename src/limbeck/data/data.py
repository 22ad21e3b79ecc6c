"""A data set with its splits and what identifies it."""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import torch

from limbeck.data.images.augment import Augment
from limbeck.data.images.splits import FolderSet, ImageSet
from limbeck.data.images.unlabeled import joined, read_unlabeled
from limbeck.data.images.views import image_source
from limbeck.data.samples import Samples, fingerprint
from limbeck.data.schedule import Schedule
from limbeck.data.source import Batches, Source
from limbeck.errors import UserError, shortened
from limbeck.files import expanded

_SHOWN_CLASSES, _SHOWN_NAME = 3, 30
_MEASURING_BATCH = 500


@dataclass(frozen=True, eq=False)
class Data:
    """A data set of images; data of other kinds are subclasses that override what they have differently.

    Attributes:
        augmentation: The type of the settings by which its training samples are varied; made without arguments it
            stands for not at all.
        name: The name it was loaded by.
        classes: The class names; a label is a position in them.
        train: The training split, after ``validation`` and ``train_limit`` were taken into account.
        validation: The part of the training samples that choices may be made on, or None.
        test: The test split, which nothing is chosen on.
        mean: For images the mean of each channel, of pixels in [0, 1].
        std: For images the standard deviation of each channel, of pixels in [0, 1].
        notes: Findings about the files for their owner, a line each: their sizes, and what was skipped.
        unlabeled: Training samples without labels, which the teacher alone supervises, or None.
        skipped: The samples that ``data.skip_bad`` left out, a line each: the file, and what is wrong with it.

    Example:
        >>> from limbeck.data import load
        >>> data = load("fashion_mnist_sample", train_limit=100)
        >>> data.classes[9], len(data.train), len(data.test), data.shape
        ('Ankle boot', 100, 5000, (1, 28, 28))
        >>> print(data.description[0])
        data: fashion_mnist_sample, 10 classes (T-shirt/top, Trouser, Pullover, ...),
            100 training and 5,000 test images, 28x28 gray
    """

    augmentation: ClassVar[type[Any]] = Augment

    name: str
    classes: tuple[str, ...]
    train: Samples
    validation: Samples | None
    test: Samples
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()
    unlabeled: Samples | None = None
    skipped: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a sample as the student takes it: for images channels, height and width in pixels."""
        return self.train.shape

    @property
    def unit(self) -> str:
        """What a sample is called, in the plural."""
        return "images" if len(self.shape) == 3 else "samples"

    @property
    def form(self) -> str:
        """What a sample is, in words: the end of :attr:`description`'s first line."""
        if len(self.shape) == 3:
            channels, height, width = self.shape
            return f"images, {width}x{height} {'rgb' if channels == 3 else 'gray'}"
        return f"samples of shape {self.shape}" if self.shape else "samples"

    @property
    def measuring_batch(self) -> int:
        """How many samples a network is measured on at a time, if nothing else bounds it."""
        return _MEASURING_BATCH

    @property
    def facts(self) -> dict[str, Any]:
        """What models may take as arguments beside ``num_classes``: for images ``in_channels``."""
        return {"in_channels": self.shape[0]} if self.shape else {}

    @property
    def preparation(self) -> dict[str, Any]:
        """How a raw sample becomes an input, as JSON takes it; it is stored with a student.

        The entry ``kind`` is what the raw samples are: ``images``, or ``masks``, ``boxes``, ``texts`` and ``table`` of
        the other kinds of data; data whose own code makes the inputs have none.
        """
        numbers = {"mean": list(self.mean), "std": list(self.std), "input_shape": list(self.shape)}
        if type(self).source is not Data.source or not isinstance(self.test, ImageSet | FolderSet):
            return numbers
        return {**numbers, "kind": "images", "reduced": isinstance(self.test, FolderSet) and self.test.reduced}

    def example(self, count: int) -> Any:
        """Return blank inputs of ``count`` samples, as networks take them: for images (count, C, H, W) zeros."""
        return torch.zeros(count, *self.shape)

    def augment(self, settings: Any) -> Any:
        """Return how training samples are varied: the settings themselves, or this data's type's defaults.

        Args:
            settings: Settings of any kind of data; those of another kind must be at their defaults.

        Raises:
            UserError: If they vary samples of another kind.

        Example:
            >>> from limbeck.data import load
            >>> load("fashion_mnist_sample", train_limit=10).augment(Augment(flip=True)).views
            2
        """
        if isinstance(settings, self.augmentation):
            return settings
        blank = type(settings)()
        for field in fields(settings):
            if (value := getattr(settings, field.name)) != getattr(blank, field.name):
                takes = ", ".join(known.name for known in fields(self.augmentation)) or "none"
                raise UserError(
                    f"data.augment.{field.name}: got {shortened(value)}, but {self.unit} take of such settings {takes}"
                )
        return self.augmentation()

    def source(
        self,
        split: Any,
        augment: Any = None,
        *,
        device: torch.device | str = "cpu",
        workers: int = 0,
        channels_last: bool = False,
    ) -> Source:
        """Return what makes batches of a split.

        Args:
            split: One of its splits, or a selection of one.
            augment: How samples are varied, of the type :attr:`augmentation`; None for not at all.
            device: Where the batches are.
            workers: How many processes read samples from files.
            channels_last: Whether images are in that memory format.

        Raises:
            UserError: If a setting is out of range or does not fit the split.
        """
        return image_source(
            split,
            mean=self.mean,
            std=self.std,
            augment=augment,
            device=device,
            workers=workers,
            channels_last=channels_last,
        )

    def batches(
        self,
        split: Any,
        *,
        batch_size: int,
        augment: Any = None,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
        view_seed: int | None = None,
        **options: Any,
    ) -> Batches:
        """Return the batches of a split, epoch by epoch; see :class:`limbeck.data.Views` for the arguments.

        Raises:
            UserError: If a setting is out of range or does not fit the split.
        """
        schedule = Schedule(len(split), batch_size, shuffle, seed, drop_last, rank, world_size, view_seed)
        return Batches(self.source(split, augment, **options), schedule)

    def with_unlabeled(self, folder: str | Path, *, skip_bad: bool = False) -> Self:
        """Return the data with the images of a folder as training samples without labels.

        Args:
            folder: The folder; images of the splits in it are left out.
            skip_bad: Whether images that cannot be read are left out.

        Raises:
            UserError: If the folder has no whole image or one that cannot be read, or the data are no images.
        """
        if not isinstance(self.train, ImageSet | FolderSet):
            raise UserError(f"data.unlabeled: got {str(folder)!r}, but {self.name} has {self.form}; it is for images")
        others = tuple(split for split in (self.validation, self.test) if isinstance(split, ImageSet | FolderSet))
        more = read_unlabeled(expanded(folder), self.train, others, skip_bad=skip_bad)
        skipped = (*self.skipped, *more.skipped)
        return replace(self, unlabeled=more.split, notes=(*self.notes, more.note), skipped=skipped)

    @cached_property
    def joined(self) -> Samples:
        """The training samples of the student: the labeled ones, and behind them those without labels."""
        if self.unlabeled is None:
            return self.train
        assert isinstance(self.train, ImageSet | FolderSet)
        assert isinstance(self.unlabeled, ImageSet | FolderSet)
        return joined(self.train, self.unlabeled)

    @cached_property
    def fingerprint(self) -> str:
        """The training split's, see :func:`limbeck.data.fingerprint`; computed once, when first used."""
        return fingerprint(self.train)

    @cached_property
    def joined_fingerprint(self) -> str:
        """That of :attr:`joined`; computed when first used."""
        return self.fingerprint if self.unlabeled is None else fingerprint(self.joined)

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """That of each split by name; computed when first used, because a folder's files are read for it."""
        others = {"validation": self.validation, "test": self.test, "unlabeled": self.unlabeled}
        return {"train": self.fingerprint, **{name: fingerprint(split) for name, split in others.items() if split}}

    @property
    def description(self) -> tuple[str, ...]:
        """Classes, counts and the samples' shape in one line, then the notes."""
        names = ", ".join(shortened(name, _SHOWN_NAME, quoted=False) for name in self.classes[:_SHOWN_CLASSES])
        more = ", ..." if len(self.classes) > _SHOWN_CLASSES else ""
        held_out = f", {len(self.unlabeled):,} unlabeled" if self.unlabeled is not None else ""
        held_out += f", {len(self.validation):,} validation" if self.validation is not None else ""
        return (
            f"data: {self.name}, {len(self.classes)} classes ({names}{more}), {len(self.train):,} training"
            f"{held_out} and {len(self.test):,} test {self.form}",
            *self.notes,
        )
