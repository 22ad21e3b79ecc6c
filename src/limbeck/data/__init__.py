"""Data sets by name, and replayable views of their samples."""

from limbeck.data.batch import Batch, Epochs, kept_workers
from limbeck.data.data import Data
from limbeck.data.images.augment import Augment, Placement
from limbeck.data.images.splits import FolderSet, ImageSet, Split
from limbeck.data.images.views import Views
from limbeck.data.registry import load, names, register
from limbeck.data.samples import Samples, fingerprint
from limbeck.data.source import Batches, Source

__all__ = [
    "Augment",
    "Batch",
    "Batches",
    "Data",
    "Epochs",
    "FolderSet",
    "ImageSet",
    "Placement",
    "Samples",
    "Source",
    "Split",
    "Views",
    "fingerprint",
    "kept_workers",
    "load",
    "names",
    "register",
]
