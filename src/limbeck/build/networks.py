"""Networks for a recipe's data: the student, and any network by its settings."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import nn
from torch.nn.parameter import UninitializedParameter

from limbeck import models
from limbeck.build.reporting import Log, no_log
from limbeck.build.weights import NetworkSettings, is_trained_here, library_weights, load_given, recorded_normalize
from limbeck.data import Data
from limbeck.errors import UserError
from limbeck.randomness.seeding import seed_everything
from limbeck.recipes.network_settings import NetworkTeacherSettings
from limbeck.recipes.schema import Recipe
from limbeck.teachers import InputAdapter


def create_network(settings: NetworkSettings, data: Data, *, role: str, seed: int, log: Log = no_log) -> nn.Module:
    """Make a network for the data's classes and channels, its initial weights a function of ``seed``.

    Args:
        settings: Name, options and weights.
        data: The data that it is made for.
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


def _built(settings: NetworkSettings, data: Data, role: str, log: Log) -> nn.Module:
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


def input_adapter(settings: NetworkTeacherSettings, data: Data) -> InputAdapter | None:
    """Make the map from the student's inputs to the teacher's; None where the teacher takes the student's inputs.

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


def describe(settings: NetworkSettings, data: Data) -> Mapping[str, Any]:
    """Return the metadata of a weights file: the network, its classes, and the normalization of its inputs."""
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


class Student(NamedTuple):
    """A run's student before its first step.

    Attributes:
        network: The network, on the CPU.
        notes: Lines about its weights.
    """

    network: nn.Module
    notes: tuple[str, ...]


def build_student(recipe: Recipe, data: Data) -> Student:
    """Make the recipe's student; its initial weights are a function of the recipe's seed.

    Raises:
        UserError: If it cannot be made.

    Example:
        >>> from limbeck.data import load
        >>> from limbeck.recipes.loading import load_recipe
        >>> student = build_student(load_recipe("quickstart"), load("fashion_mnist_sample", train_limit=100))
        >>> parameter_count(student.network), student.notes
        (77754, ())
    """
    notes: list[str] = []
    network = create_network(recipe.student, data, role="student", seed=recipe.seed, log=notes.append)
    for name, parameter in network.named_parameters():
        if isinstance(parameter, UninitializedParameter):
            got = f"student {recipe.student.name}: {name!r} has no size yet"
            raise UserError(f"{got}, expected a network without lazy layers")
    return Student(network, tuple(notes))
