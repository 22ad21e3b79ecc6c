"""What a network is made from, beside its settings: the user's own code and the content of its weights."""

import sys
from pathlib import Path
from typing import NamedTuple

from torch import nn

from limbeck.build.weights import weights_identity
from limbeck.cache.key import user_code
from limbeck.files import content_digest
from limbeck.recipes.network_settings import NetworkSettings


class Origin(NamedTuple):
    """What a network is made from, beside its settings.

    Attributes:
        code: The hash of the user's own files that define it.
        weights: What identifies the weights that its settings name; None without.
    """

    code: str
    weights: str | None


def network_origin(network: nn.Module, settings: NetworkSettings) -> Origin:
    """Return what a network is made from, beside its settings.

    Raises:
        OSError: If its weights' file has gone.

    Example:
        >>> from limbeck.recipes.network_settings import ModelSettings
        >>> network_origin(nn.Linear(1, 1), ModelSettings(name="resnet8")).weights is None
        True
    """
    return Origin(code_hash(network, str(settings.name)), weights_identity(settings))


def code_hash(network: nn.Module, name: str = "") -> str:
    """Hash the user's own files that define a network; what counts is what counts for a logit cache.

    Args:
        network: The network.
        name: The recipe's name of it; the module of a ``python:module:function`` counts too.

    Returns:
        The SHA-256, 64 hexadecimal digits.

    Example:
        >>> code_hash(nn.Linear(1, 1)) == code_hash(nn.ReLU())
        True
    """
    module = sys.modules.get(name.split(":")[1]) if name.startswith("python:") else None
    path = getattr(module, "__file__", None)
    return content_digest(*user_code(network), *([Path(path).read_bytes()] if path else []))
