"""Classification image data by name, in replayable views."""

from limbeck.data.batch import Batch, Epochs
from limbeck.data.images.augment import Augment, Placement
from limbeck.data.images.data import Data
from limbeck.data.images.fingerprint import fingerprint
from limbeck.data.images.splits import FolderSet, ImageSet, Split
from limbeck.data.images.views import Views, kept_workers
from limbeck.data.registry import load, names

__all__ = [
    "Augment",
    "Batch",
    "Data",
    "Epochs",
    "FolderSet",
    "ImageSet",
    "Placement",
    "Split",
    "Views",
    "fingerprint",
    "kept_workers",
    "load",
    "names",
]
