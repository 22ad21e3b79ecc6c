"""The data sets of images with masks that limbeck reads or makes, by name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from limbeck.data.data import Data
from limbeck.data.masks.folder import mask_folder
from limbeck.data.masks.shapes import drawn_shapes

LOADERS: Mapping[str, Callable[..., Data]] = MappingProxyType({"mask_folder": mask_folder, "shapes": drawn_shapes})
"""The loaders by name; what their signatures have beside a recipe's settings stands in ``data.options``."""
