"""The network of a live or self-teacher, made and checked before it is trained or run."""

from typing import NamedTuple

from torch import nn

from limbeck.build.network_checks import check_network
from limbeck.build.networks import create_network, input_adapter
from limbeck.data import Data
from limbeck.errors import UserError
from limbeck.recipes.network_settings import NetworkTeacherSettings


class TeacherNetwork(NamedTuple):
    """A teacher's network as it is before any training of it.

    Attributes:
        network: The network, on the CPU.
        notes: Lines about its weights.
    """

    network: nn.Module
    notes: tuple[str, ...]


def build_teacher_network(settings: NetworkTeacherSettings, data: Data, key: str) -> TeacherNetwork:
    """Make a teacher's network, with the weights that its settings name, and check that it fits the data.

    Args:
        settings: The network's settings.
        data: The run's data.
        key: The recipe's key of the network, for messages.

    Raises:
        UserError: If it cannot be made, has neither weights nor a training, or does not fit the data.

    Example:
        >>> from limbeck.data import load
        >>> settings = NetworkTeacherSettings(name="resnet8", training={"epochs": 1})
        >>> build_teacher_network(settings, load("fashion_mnist_sample", train_limit=100), "teacher").notes
        ()
    """
    notes: list[str] = []
    network = create_network(settings, data, role=key, seed=settings.seed, log=notes.append)
    if settings.training is None and not _is_trained_elsewhere(settings):
        raise UserError(f"{key} {settings.name}: has no weights, expected {key}.weights or {key}.training")
    check_network(network, data, role=f"{key} {settings.name}", adapter=input_adapter(settings, data))
    return TeacherNetwork(network, tuple(notes))


def _is_trained_elsewhere(settings: NetworkTeacherSettings) -> bool:
    has_weights = settings.weights is not None or any(settings.options.get(key) for key in ("pretrained", "weights"))
    return has_weights or str(settings.name).startswith("python:")
