"""What a cache holds: which views of which samples, from which teacher, stored how."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from torch import Tensor

from limbeck.cache.augmentation import Augmentation, settings_of
from limbeck.cache.key import digest_of
from limbeck.cache.rows import RowFormat
from limbeck.data import Augment
from limbeck.errors import UserError

Mode = Literal["views", "epochs"]
# Raised whenever the same key would mean other rows than before.
_FORMAT = 1
_UNAUGMENTED = Augment()


@dataclass(frozen=True)
class CacheSpec:
    """What a cache holds: the teacher's output for a training set, one slot for each that a training can need.

    ``"views"`` has a slot for every distinct view of every sample, which serves any seed and number of epochs.
    ``"epochs"`` has one for every epoch and sample, for augmentations whose views are countless; it serves one seed.

    Args:
        mode: Which of the two.
        samples: Number of training samples.
        rows: How the output for a sample is stored.
        augment: How the samples are varied; by default not at all, one view a sample.
        seed: The seed of the views; ``"views"`` serves all of them.
        epochs: Number of epochs, for ``"epochs"``.
        source: What else decides the logits, as JSON takes it: hashes of the teacher and the data, the normalization,
            the device and precision that the teacher runs in.
        label: Its name in reports; it decides nothing.
        unit: The name of the samples in the plural; it decides nothing.

    Raises:
        UserError: If the views are countless with ``"views"``, or there are no epochs with ``"epochs"``.

    Example:
        >>> spec = CacheSpec("views", 50_000, RowFormat(100), Augment(crop=4, flip=True))
        >>> spec.per_sample, spec.slots, round(spec.bytes / 1e9, 2)
        (162, 8100000, 1.65)
        >>> print(spec.estimate)
        50,000 images x 162 views x 100 classes x float16 = 1.62 GB, with checksums 1.65 GB
    """

    mode: Mode
    samples: int
    rows: RowFormat
    augment: Augmentation = _UNAUGMENTED
    seed: int = 0
    epochs: int = 0
    source: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    unit: str = "images"

    def __post_init__(self) -> None:
        if self.mode == "views" and self.augment.views is None:
            expected = "which makes views countless; expected 'epochs'"
            raise UserError(f"teacher.cache: got 'views' with data.augment.{self.augment.countless}, {expected}")
        if self.mode == "epochs" and self.epochs < 1:
            raise UserError(f"epochs: got {self.epochs}, expected a whole number of at least 1")

    @property
    def per_sample(self) -> int:
        """The number of slots of a sample: its views, or the epochs."""
        return self.epochs if self.mode == "epochs" else self.augment.views or 0

    @property
    def slots(self) -> int:
        """The number of slots."""
        return self.samples * self.per_sample

    @property
    def bytes(self) -> int:
        """The size of a full cache: the rows, and four bytes for the checksum of each."""
        return self.slots * (self.rows.bytes + 4)

    @property
    def estimate(self) -> str:
        """What a full cache takes, in words."""
        parts = f"{self.samples:,} {self.unit} x {self.per_sample:,} {self.mode} x {self.rows}"
        return f"{parts} = {size(self.slots * self.rows.bytes)}, with checksums {size(self.bytes)}"

    @cached_property
    def material(self) -> dict[str, Any]:
        """Everything that decides what is in the cache, as JSON takes it."""
        span = {"seed": self.seed, "epochs": self.epochs} if self.mode == "epochs" else {}
        common = {"format": _FORMAT, "mode": self.mode, "samples": self.samples, "augment": self._augment_material}
        return {**self.source, **common, **self.rows.material, **span}

    @property
    def _augment_material(self) -> dict[str, Any]:
        values = {name: list(v) if isinstance(v, tuple) else v for name, v in settings_of(self.augment).items()}
        # That of images has no entry for its class, as caches of earlier versions have none.
        return values if isinstance(self.augment, Augment) else {"class": type(self.augment).__qualname__, **values}

    @cached_property
    def key(self) -> str:
        """The name of the cache, 20 hexadecimal digits: a hash of :attr:`material`."""
        return digest_of(self.material)

    def place(self, indices: Tensor, *, seed: int, epoch: int) -> Tensor:
        """Return the slot of each sample's view at an epoch.

        Args:
            indices: Positions of the samples, int64 (N,).
            seed: The run's seed.
            epoch: The epoch, from 0.

        Returns:
            int64 (N,), on the device of ``indices``.

        Raises:
            UserError: With ``"epochs"``, for another seed or an epoch beyond the last.

        Example:
            >>> import torch
            >>> spec = CacheSpec("epochs", 10, RowFormat(3), epochs=2)
            >>> spec.place(torch.tensor([7]), seed=0, epoch=1)
            tensor([17])
        """
        if self.mode == "views":
            return indices * self.per_sample + self.augment.draw(indices, seed=seed, epoch=epoch)
        if seed != self.seed:
            raise UserError(f"logit cache: got seed {seed}, but its epochs are those of seed {self.seed}")
        if not 0 <= epoch < self.epochs:
            raise UserError(f"logit cache: got epoch {epoch}, expected 0 to {self.epochs - 1}, which it is made for")
        return indices + epoch * self.samples

    def place_unaugmented(self, indices: Tensor) -> Tensor | None:
        """Return the slot of each sample without augmentation, or None where there are none for that.

        Example:
            >>> import torch
            >>> CacheSpec("views", 10, RowFormat(3), Augment(crop=1, flip=True)).place_unaugmented(torch.tensor([0, 1]))
            tensor([ 8, 26])
        """
        view = None if self.mode == "epochs" else self.augment.unaugmented
        return None if view is None else indices * self.per_sample + view

    def split(self, slots: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sample of each slot, and its view or epoch.

        Example:
            >>> import torch
            >>> CacheSpec("views", 10, RowFormat(3), Augment(flip=True)).split(torch.tensor([0, 1, 2]))
            (tensor([0, 0, 1]), tensor([0, 1, 0]))
        """
        if self.mode == "views":
            return slots // self.per_sample, slots % self.per_sample
        return slots % self.samples, slots // self.samples


def size(count: float) -> str:
    """Write a number of bytes in words.

    Example:
        >>> size(999), size(1_620_000_000)
        ('999 B', '1.62 GB')
    """
    for unit, divisor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= divisor:
            return f"{count / divisor:.3g} {unit}"
    return f"{count:.0f} B"
