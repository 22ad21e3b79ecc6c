"""Networks for inputs other than images, or outputs other than one row of logits, by name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import nn

from limbeck.models.segmenters import SmallSegmenter, TimmSegmenter

OTHERS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {
        "segmenter": TimmSegmenter,
        "small_segmenter": SmallSegmenter,
    }
)
"""Each is called with a recipe's options, and with what its signature takes of ``num_classes`` and the data's facts."""
