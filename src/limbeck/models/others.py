"""Networks for inputs other than images, by name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import nn

from limbeck.models.tables.cnn1d import cnn1d
from limbeck.models.tables.mlp import mlp

OTHERS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {
        "mlp": mlp,
        "cnn1d": cnn1d,
    }
)
"""Each is called with a recipe's options, and with what its signature takes of ``num_classes`` and the data's facts."""
