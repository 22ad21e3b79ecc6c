"""Data sets by name, and replayable views of images."""

from limbeck.data.batch import Batch, Epochs
from limbeck.data.data import Data
from limbeck.data.images.augment import Augment, Placement
from limbeck.data.images.splits import FolderSet, ImageSet, Split
from limbeck.data.images.views import Views, kept_workers
from limbeck.data.registry import load, names, register
from limbeck.data.samples import Samples, fingerprint

__all__ = [
    "Augment",
    "Batch",
    "Data",
    "Epochs",
    "FolderSet",
    "ImageSet",
    "Placement",
    "Samples",
    "Split",
    "Views",
    "fingerprint",
    "kept_workers",
    "load",
    "names",
    "register",
]
