"""Data, networks and views of a run, checked against each other before anything is trained."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.nn.parameter import UninitializedParameter

from limbeck import data as datasets
from limbeck import models
from limbeck.build.weights import is_trained_here, library_weights, load_given, recorded_normalize
from limbeck.data import Data, Views
from limbeck.errors import UserError
from limbeck.randomness.seeding import seed_everything
from limbeck.recipes.schema import DataSettings, ModelSettings, Recipe, TeacherSettings
from limbeck.reporting import Log, no_log
from limbeck.teachers import InputAdapter
from limbeck.training import TrainingSettings, uses_channels_last

_MEASURING_BATCH = 500


def load_data(settings: DataSettings, *, train_limit: int | None = None) -> Data:
    """Load the data set that a recipe names, with the recipe's normalization.

    Args:
        settings: The recipe's ``data``.
        train_limit: Overrides how many training images are kept.

    Raises:
        UserError: If it cannot be loaded, or the normalization has another number of channels.
    """
    fields = settings.model_dump(
        include={"root", "download", "validation", "test_limit", "size", "color", "test_share"}
    )
    limit = train_limit or settings.train_limit
    data = datasets.load(settings.name, **fields, train_limit=limit, seed=settings.split_seed)
    if settings.normalize is None:
        return data
    mean, std = settings.normalize.mean, settings.normalize.std
    if not len(mean) == len(std) == data.shape[0]:
        got = f"{len(mean)} means and {len(std)} deviations"
        raise UserError(f"data.normalize: got {got}, expected {data.shape[0]} of each, one a channel")
    return replace(data, mean=mean, std=std)


@dataclass(frozen=True)
class Loaders:
    """Makes the views of a data set for one training.

    Attributes:
        data: The data set.
        settings: The recipe's ``data``.
        training: Batch size, layout and the like.
        fabric: Where the views should lie.
        seed: Seed of the order and the augmentation.
    """

    data: Data
    settings: DataSettings
    training: TrainingSettings
    fabric: Fabric
    seed: int

    def _views(self, split: Any, **options: Any) -> Views:
        device = self.fabric.device
        return Views(
            split,
            mean=self.data.mean,
            std=self.data.std,
            device=device,
            workers=self.settings.workers,
            channels_last=uses_channels_last(self.training, device.type),
            **options,
        )

    def train(self, split: Any = None) -> Views:
        """Return shuffled, augmented views of the training split, or of ``split``.

        Raises:
            UserError: If a batch is larger than the split.
        """
        split = self.data.train if split is None else split
        if self.training.batch_size > len(split):
            raise UserError(
                f"training.batch_size: got {self.training.batch_size}, expected at most {len(split)} images"
            )
        return self._views(
            split,
            batch_size=self.training.batch_size,
            augment=self.settings.augment,
            shuffle=True,
            seed=self.seed,
            # One image alone has no spread for batch norm to divide by.
            drop_last=self.training.drop_last or (len(split) > 1 and len(split) % self.training.batch_size == 1),
        )

    def unaugmented(self, split: Any, *, batch_size: int = _MEASURING_BATCH) -> Views:
        """Return views of a split as it is, in its order."""
        return self._views(split, batch_size=min(batch_size, len(split)))

    def measured(self) -> dict[str, Views]:
        """Return the splits that are measured: the test split, and the validation split if there is one."""
        splits = {"test": self.unaugmented(self.data.test)}
        if self.data.validation is not None:
            splits["validation"] = self.unaugmented(self.data.validation)
        return splits


def create_network(
    settings: ModelSettings | TeacherSettings,
    data: Data,
    *,
    role: str,
    seed: int,
    log: Log = no_log,
) -> nn.Module:
    """Make a network for the data's classes and channels, its initial weights a function of ``seed``.

    Args:
        settings: Name, options and weights.
        data: The data that it will see.
        role: ``"student"`` or ``"teacher"``, to begin error lines with.
        seed: Seed of the initial weights.
        log: Called with lines about the weights, such as which tensors are new.

    Raises:
        UserError: If the name, an option, the weights or a layer to freeze cannot be used.
    """
    seed_everything(seed)
    if settings.name is None:
        raise UserError(
            f"{role}.name: missing, expected a network such as resnet56, timm:NAME or python:module:function"
        )
    taken = sorted({"name", "num_classes", "in_channels", "weights", "log"} & set(settings.options))
    if taken:
        raise UserError(f"{role}.options: got {taken[0]}, which the data and the recipe's other keys decide")
    try:
        network = _built(settings, data, role, log)
        if settings.weights is not None and library_weights(settings) is None:
            for line in load_given(network, settings, data):
                log(f"{role}: {line}")
        if settings.freeze:
            frozen = models.freeze(network, settings.freeze)
            log(f"{role}: {len(frozen)} of {sum(1 for _ in network.parameters())} parameter tensors are frozen")
    except UserError as error:
        raise UserError(f"{role}: {error}") from None
    return network


def _built(settings: ModelSettings | TeacherSettings, data: Data, role: str, log: Log) -> nn.Module:
    lines: list[str] = []
    network = models.create(
        str(settings.name),
        num_classes=len(data.classes),
        in_channels=data.shape[0],
        weights=library_weights(settings),
        log=lines.append,
        **settings.options,
    )
    if lines and not is_trained_here(settings):
        raise UserError(f"{lines[0]}, expected {role}.training beside it, which trains the new part")
    for line in lines:
        log(f"{role}: {line}")
    return network


def check_network(network: nn.Module, data: Data, *, role: str, adapter: nn.Module | None = None) -> None:
    """Run two blank images through ``network`` (after ``adapter``) and look at what comes out.

    Raises:
        UserError: If it cannot take the data's images, or does not give one logit a class.
    """
    mode = network.training
    with torch.no_grad():
        _check_output(network.eval(), data, role, adapter, "cannot take")
    network.train(mode)


def check_trains(network: nn.Module, data: Data, *, role: str) -> None:
    """Run two blank images through a copy of ``network`` in train mode, as :func:`check_network` does in eval mode.

    Raises:
        UserError: If that fails there, or gives something else than one logit a class.
    """
    with torch.random.fork_rng(devices=[]):
        _check_output(copy.deepcopy(network).train(), data, role, None, "cannot be trained on")


def _check_output(network: nn.Module, data: Data, role: str, adapter: nn.Module | None, cannot: str) -> None:
    shape, classes = tuple(data.shape), len(data.classes)
    try:
        blank = torch.zeros(2, *shape)
        output = network(blank if adapter is None else adapter(blank))
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{role}: {cannot} {data.name}'s images of shape {shape} ({reason})") from None
    if not isinstance(output, torch.Tensor) or output.ndim != 2:
        got = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise UserError(f"{role}: its output is {got}, expected logits of shape (N, {classes})")
    if output.shape[1] != classes:
        raise UserError(f"{role}: gives {output.shape[1]} classes, expected the {classes} of {data.name}")


def input_adapter(settings: TeacherSettings, data: Data) -> InputAdapter | None:
    """Make what turns the student's inputs into the teacher's, if the recipe or the file gives it other ones.

    Raises:
        UserError: If the normalization has another number of channels than the data.
    """
    normalize = settings.normalize or recorded_normalize(settings, data)
    if normalize is None and settings.size is None:
        return None
    mean = normalize.mean if normalize else data.mean
    std = normalize.std if normalize else data.std
    return InputAdapter(data.mean, data.std, mean, std, size=settings.size)


def parameter_count(network: nn.Module) -> int:
    """Count the parameters of a network.

    Example:
        >>> parameter_count(nn.Linear(2, 3))
        9
    """
    return sum(parameter.numel() for parameter in network.parameters())


def describe(settings: ModelSettings | TeacherSettings, data: Data) -> Mapping[str, Any]:
    """Say what a weights file holds, for its metadata."""
    return {
        "name": settings.name,
        "options": settings.options,
        "num_classes": len(data.classes),
        "in_channels": data.shape[0],
        "classes": list(data.classes),
        "mean": list(data.mean),
        "std": list(data.std),
        "input_shape": list(data.shape),
    }


def student_network(recipe: Recipe, data: Data, log: Log = no_log) -> nn.Module:
    """Make the recipe's student.

    Args:
        recipe: The recipe.
        data: The data that it will see.
        log: Called with lines about its weights.

    Raises:
        UserError: If it cannot be made.
    """
    student = create_network(recipe.student, data, role="student", seed=recipe.seed, log=log)
    for name, parameter in student.named_parameters():
        if isinstance(parameter, UninitializedParameter):
            got = f"student {recipe.student.name}: {name!r} has no size yet"
            raise UserError(f"{got}, expected a network without lazy layers")
    return student
