"""Networks for a recipe's data: the student, and the networks of a teacher."""

from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from limbeck import models
from limbeck.build.class_columns import class_columns, output_count
from limbeck.build.estimators import set_up_estimator
from limbeck.build.network_checks import check_network
from limbeck.build.tokens import token_notes
from limbeck.build.weights import (
    is_trained_here,
    library_weights,
    load_given,
    own_files,
    recorded_normalize,
    without_own,
)
from limbeck.data import Data
from limbeck.errors import UserError
from limbeck.models.estimators.network import EstimatorNetwork
from limbeck.models.text.hugging_face import recorded_config
from limbeck.randomness.seeding import seed_everything
from limbeck.recipes.network_settings import NetworkSettings, NetworkTeacherSettings
from limbeck.recipes.schema import Recipe
from limbeck.recipes.task_settings import TaskSettings
from limbeck.tasks import Task
from limbeck.teachers import InputAdapter
from limbeck.training import TrainingSettings, uses_channels_last

Module = TypeVar("Module", bound=nn.Module)


class Network(NamedTuple):
    """A network before any training, and lines about it.

    Attributes:
        module: The network, on the CPU.
        notes: Lines about its weights, such as which tensors are new.
    """

    module: nn.Module
    notes: tuple[str, ...]


def create_network(settings: NetworkSettings, data: Data, *, role: str, seed: int) -> Network:
    """Make a network for the data's classes and inputs, its initial weights a function of ``seed``.

    Args:
        settings: Name, options and weights.
        data: Decides the number of classes and the kind of inputs.
        role: ``"student"`` or ``"teacher"``, to begin error lines with.
        seed: Seed of the initial weights.

    Raises:
        UserError: If the name, an option, the weights or a layer to freeze cannot be used.
    """
    seed_everything(seed)
    if settings.name is None:
        raise UserError(
            f"{role}.name: missing, expected a network such as resnet56, timm:NAME or python:module:function"
        )
    taken = sorted(
        {"name", "num_classes", "in_channels", "facts", "weights", "log", *data.facts} & set(settings.options)
    )
    if taken:
        raise UserError(f"{role}.options: got {taken[0]}, which the data and the recipe's other keys decide")
    try:
        module, notes = _built(settings, data, role)
    except UserError as error:
        raise UserError(f"{role}: {error}") from None
    return Network(module, tuple(f"{role}: {note}" for note in notes))


def _built(settings: NetworkSettings, data: Data, role: str) -> tuple[nn.Module, list[str]]:
    notes: list[str] = []
    module = models.create(
        str(settings.name),
        num_classes=output_count(settings, data),
        facts=data.facts,
        weights=library_weights(settings),
        log=notes.append,
        **without_own(settings),
        **settings.options,
    )
    if isinstance(module, EstimatorNetwork):
        set_up_estimator(module, settings, data)
        return module, notes
    if notes and not is_trained_here(settings):
        expected = f"expected {role}.training beside it, which trains the new part, or {role}.classes, its columns"
        raise UserError(f"{notes[0]}, {expected}")
    notes += token_notes(module, settings, data)
    if settings.weights is not None and library_weights(settings) is None:
        notes += load_given(module, settings, data)
    if settings.freeze:
        frozen = models.freeze(module, settings.freeze)
        notes.append(f"{len(frozen)} of {sum(1 for _ in module.parameters())} parameter tensors are frozen")
    return module, notes


def build_student(recipe: Recipe, data: Data) -> Network:
    """Make the recipe's student; its initial weights are a function of the recipe's seed.

    Raises:
        UserError: If it cannot be made.

    Example:
        >>> from limbeck.data import load
        >>> from limbeck.recipes.loading import load_recipe
        >>> student = build_student(load_recipe("quickstart"), load("fashion_mnist_sample", train_limit=100))
        >>> parameter_count(student.module), student.notes
        (77754, ())
    """
    student = create_network(recipe.student, data, role="student", seed=recipe.seed)
    for name, parameter in student.module.named_parameters():
        if isinstance(parameter, UninitializedParameter):
            got = f"student {recipe.student.name}: {name!r} has no size yet"
            raise UserError(f"{got}, expected a network without lazy layers")
    return student


def build_teacher_network(settings: NetworkTeacherSettings, data: Data, task: Task, key: str) -> Network:
    """Make a teacher's network before any training of it, and check that it fits the data.

    Args:
        settings: The network's settings.
        data: The run's data.
        task: The run's task.
        key: The recipe's key of the network, for messages.

    Raises:
        UserError: If it cannot be made, has neither weights nor a training, or does not fit the data.
    """
    teacher = create_network(settings, data, role=key, seed=settings.seed)
    has_weights = settings.weights is not None or any(settings.options.get(name) for name in ("pretrained", "weights"))
    has_weights = has_weights or bool(own_files(settings))
    if settings.training is None and not has_weights and not str(settings.name).startswith("python:"):
        raise UserError(f"{key} {settings.name}: has no weights, expected {key}.weights or {key}.training")
    adapter = input_adapter(settings, data)
    columns = class_columns(settings, data, key)
    check_network(teacher.module, data, task, role=f"{key} {settings.name}", adapter=adapter, columns=columns)
    return teacher


def input_adapter(settings: NetworkTeacherSettings, data: Data) -> InputAdapter | None:
    """Make the map from the student's inputs to the teacher's; None where the teacher takes the student's inputs.

    Raises:
        UserError: If the normalization has another number of channels than the data.
    """
    normalize = settings.normalize or recorded_normalize(settings, data)
    if normalize is None and settings.size is None:
        return None
    if not data.mean:
        got = f"got one, but the {data.unit} of {data.name} are not normalized"
        raise UserError(f"teacher.normalize and size: {got}; they are for images with classes or masks")
    mean = normalize.mean if normalize else data.mean
    std = normalize.std if normalize else data.std
    return InputAdapter(data.mean, data.std, mean, std, size=settings.size)


def placed(module: Module, training: TrainingSettings, device: torch.device) -> Module:
    """Move a module to a device, in the memory format of a training, and return it.

    Example:
        >>> placed(nn.Conv2d(3, 4, 3), TrainingSettings(), torch.device("cpu")).weight.is_contiguous()
        False
    """
    module.to(device)
    if uses_channels_last(training, device.type):
        module.to(memory_format=torch.channels_last)
    return module


def parameter_count(network: nn.Module) -> int:
    """Count the parameters of a network.

    Example:
        >>> parameter_count(nn.Linear(2, 3))
        9
    """
    return sum(parameter.numel() for parameter in network.parameters())


def describe(
    settings: NetworkSettings, network: nn.Module, data: Data, task: TaskSettings, training: TrainingSettings
) -> dict[str, Any]:
    """Return the metadata of a weights file, from which :func:`limbeck.students.load` makes the network again.

    Args:
        settings: The network's settings.
        network: The network.
        data: The data that it was trained on.
        task: What it was trained for.
        training: Its training, with what was decided for ``auto``.

    Returns:
        As JSON takes it: the network, its classes, its task, how samples become its inputs, and how it was measured.
    """
    computing = {"precision": training.precision, "channels_last": training.channels_last}
    return {
        "name": settings.name,
        "options": settings.options,
        "pretrained": library_weights(settings) or settings.options.get("pretrained", False),
        "config": recorded_config(network),
        "num_classes": len(data.classes),
        "outputs": output_count(settings, data),
        **data.facts,
        "facts": data.facts,
        "classes": list(data.classes),
        "task": {"name": task.name, "options": task.options},
        "data": data.name,
        "computing": {**computing, "batch_size": data.measuring_batch},
        **data.preparation,
    }
