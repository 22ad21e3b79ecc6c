"""Networks for inputs other than images, or outputs other than one row of logits, by name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import nn

from limbeck.models.detectors.builders import fasterrcnn, retinanet, small_detector
from limbeck.models.segmenters import SmallSegmenter, TimmSegmenter
from limbeck.models.tables.cnn1d import cnn1d
from limbeck.models.tables.mlp import mlp
from limbeck.models.text.bag import BagOfEmbeddings
from limbeck.models.text.cnn import TextCNN
from limbeck.models.text.lstm import BiLSTM
from limbeck.models.text.transformer import TextTransformer

_TABLES: Mapping[str, Callable[..., nn.Module]] = {"mlp": mlp, "cnn1d": cnn1d}
_TEXTS: Mapping[str, Callable[..., nn.Module]] = {
    "bag_of_embeddings": BagOfEmbeddings,
    "text_cnn": TextCNN,
    "bilstm": BiLSTM,
    "text_transformer": TextTransformer,
}
_MAPS: Mapping[str, Callable[..., nn.Module]] = {"segmenter": TimmSegmenter, "small_segmenter": SmallSegmenter}
_BOXES: Mapping[str, Callable[..., nn.Module]] = {
    "fasterrcnn": fasterrcnn,
    "retinanet": retinanet,
    "small_detector": small_detector,
}
OTHERS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType({**_MAPS, **_BOXES, **_TABLES, **_TEXTS})
"""Each is called with a recipe's options, and with what its signature takes of ``num_classes`` and the data's facts."""
