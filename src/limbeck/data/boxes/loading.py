"""The data sets of images with boxes that limbeck reads or makes, by name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from limbeck.data.boxes.coco import coco
from limbeck.data.boxes.shapes import drawn_boxes
from limbeck.data.boxes.voc import voc
from limbeck.data.data import Data

LOADERS: Mapping[str, Callable[..., Data]] = MappingProxyType({"coco": coco, "voc": voc, "boxes_sample": drawn_boxes})
"""The loaders by name; what their signatures have beside a recipe's settings stands in ``data.options``."""
