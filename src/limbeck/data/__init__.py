"""Classification image data by name, in replayable views."""

from limbeck.data.augment import Augment, Placement
from limbeck.data.data import Data
from limbeck.data.fingerprint import fingerprint
from limbeck.data.images import Batch, FolderSet, ImageSet, Split
from limbeck.data.registry import load, names
from limbeck.data.views import Views, kept_workers

__all__ = [
    "Augment",
    "Batch",
    "Data",
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
