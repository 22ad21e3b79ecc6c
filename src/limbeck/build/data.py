"""The data set that a recipe names, and the batches of a training on it."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from lightning_fabric import Fabric

from limbeck import data as datasets
from limbeck.data import Batches, Data
from limbeck.data.partly_labeled import PartlyLabeled
from limbeck.errors import UserError
from limbeck.recipes.data_settings import DataSettings
from limbeck.training import TrainingSettings, make_fabric, uses_channels_last
from limbeck.training.settings import AUTO_BATCH


def load_data(settings: DataSettings, *, train_limit: int | None = None) -> Data:
    """Load the data set that a recipe names, with the recipe's normalization.

    Args:
        settings: The recipe's ``data``.
        train_limit: Overrides how many training samples are kept.

    Raises:
        UserError: If it cannot be loaded, or the normalization does not fit it.
    """
    fields = settings.model_dump(
        include={"root", "download", "validation", "test_limit", "size", "color", "test_share", "skip_bad", "options"}
    )
    limit = train_limit or settings.train_limit
    data = datasets.load(settings.name, **fields, train_limit=limit, seed=settings.split_seed)
    if settings.unlabeled is not None:
        data = data.with_unlabeled(settings.unlabeled, skip_bad=settings.skip_bad)
    if settings.normalize is None:
        return data
    if not data.mean:
        got = f"got one, but {data.unit} of {data.name} are not normalized"
        raise UserError(f"data.normalize: {got}; it is for images with classes or masks")
    mean, std = settings.normalize.mean, settings.normalize.std
    if not len(mean) == len(std) == data.shape[0]:
        got = f"{len(mean)} means and {len(std)} deviations"
        raise UserError(f"data.normalize: got {got}, expected {data.shape[0]} of each, one a channel")
    return replace(data, mean=mean, std=std)


@dataclass(frozen=True)
class Loaders:
    """The views of a data set for one training.

    Attributes:
        data: The data set.
        settings: The recipe's ``data``.
        training: Batch size, layout and the like.
        fabric: The device of the views.
        seed: Seed of the order and the augmentation.
        view_seed: Seed of the augmentation alone; None for ``seed``.
    """

    data: Data
    settings: DataSettings
    training: TrainingSettings
    fabric: Fabric
    seed: int
    view_seed: int | None = None

    def __post_init__(self) -> None:
        if self.training.batch_size == AUTO_BATCH:
            expected = "expected a number here: limbeck run and limbeck compare alone find one"
            raise UserError(f"training.batch_size: got auto, {expected}")

    @property
    def _processes(self) -> dict[str, int]:
        return {"rank": self.fabric.global_rank, "world_size": self.fabric.world_size}

    @property
    def _options(self) -> dict[str, Any]:
        device = self.fabric.device
        layout = uses_channels_last(self.training, device.type)
        return {"device": device, "workers": self.settings.workers, "channels_last": layout}

    def _batches(self, split: Any, **options: Any) -> Batches:
        return self.data.batches(split, **self._options, **options)

    def for_student(self) -> Batches:
        """Return the views that the student is trained on: as :meth:`train`, with a share of samples without labels.

        Raises:
            UserError: If a batch has more labeled samples than there are.
        """
        if self.data.unlabeled is None:
            return self.train()
        schedule, labeled = self.partly_labeled(), len(self.data.train)
        if schedule.labeled.batch_size > labeled:
            got = f"got {self.training.batch_size}, of which {schedule.labeled.batch_size} have labels"
            raise UserError(f"training.batch_size: {got}, expected at most {labeled} labeled {self.data.unit}")
        augment = self.data.augment(self.settings.augment)
        return Batches(self.data.source(self.data.joined, augment, **self._options), schedule)

    def partly_labeled(self) -> PartlyLabeled:
        """Return which samples the student's batches have, with some without labels; see :meth:`for_student`."""
        assert self.data.unlabeled is not None
        return PartlyLabeled.of_share(
            len(self.data.train),
            len(self.data.unlabeled),
            self.training.batch_size,
            self.settings.unlabeled_share,
            shuffle=True,
            seed=self.seed,
            view_seed=self.view_seed,
            drop_last=self.training.drop_last,
            **self._processes,
        )

    def train(self, split: Any = None) -> Batches:
        """Return shuffled, augmented views of the training split, or of ``split``.

        Raises:
            UserError: If a batch is larger than the split.
        """
        split = self.data.train if split is None else split
        if self.training.batch_size * self.fabric.world_size > len(split):
            expected = f"expected at most {len(split) // self.fabric.world_size} {self.data.unit}"
            raise UserError(f"training.batch_size: got {self.training.batch_size}, {expected}")
        return self._batches(
            split,
            batch_size=self.training.batch_size,
            augment=self.data.augment(self.settings.augment),
            shuffle=True,
            seed=self.seed,
            view_seed=self.view_seed,
            drop_last=self.training.drop_last or self._ends_in_single_samples(len(split)),
            **self._processes,
        )

    def _ends_in_single_samples(self, samples: int) -> bool:
        """Return whether the last batch has one sample in a process, without a spread for batch norm to divide by."""
        processes = self.fabric.world_size
        remaining = samples % (self.training.batch_size * processes)
        return samples > 1 and 0 < remaining < 2 * processes

    def unaugmented(self, split: Any, *, batch_size: int | None = None) -> Batches:
        """Return views of a split as it is, in its order; by default in batches of the data's ``measuring_batch``."""
        return self._batches(split, batch_size=min(batch_size or self.data.measuring_batch, len(split)))

    def in_order(self, split: Any, *, batch_size: int) -> Batches:
        """Return augmented views of a split in its order, to be compared with :meth:`unaugmented` sample by sample."""
        augment = self.data.augment(self.settings.augment)
        return self._batches(split, batch_size=min(batch_size, len(split)), augment=augment, seed=self.seed)

    def measured(self) -> dict[str, Batches]:
        """Return the splits that are measured: the test split, and the validation split if there is one.

        Of several processes each has its part of them.

        Raises:
            UserError: If there are more processes than samples.
        """
        splits = {"test": self.unaugmented(self._part(self.data.test, "test"))}
        if self.data.validation is not None:
            splits["validation"] = self.unaugmented(self._part(self.data.validation, "validation"))
        return splits

    def _part(self, split: Any, name: str) -> Any:
        processes, own = self.fabric.world_size, self.fabric.global_rank
        if processes == 1:
            return split
        if len(split) < processes:
            raise UserError(f"data: {len(split)} {name} {self.data.unit} for {processes} processes, expected one each")
        return split.select(torch.arange(len(split)).tensor_split(processes)[own])

    def alone(self) -> "Loaders":
        """Return the same for a training that this process does by itself, with the batches of all processes."""
        batch_size = self.training.batch_size * self.fabric.world_size
        training = self.training.model_copy(update={"batch_size": batch_size})
        return replace(self, training=training, fabric=make_fabric(training))
