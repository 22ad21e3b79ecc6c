"""Networks for inputs other than images, by name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import nn

OTHERS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType({})
"""Each is called with a recipe's options, and with what its signature takes of ``num_classes`` and the data's facts."""
