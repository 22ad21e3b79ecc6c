"""The part of Fashion-MNIST that is embedded in the package, so that a first run needs no download."""

import lzma
from importlib.resources import files
from pathlib import Path

import numpy as np

from limbeck.data.images.files import Bytes, labeled
from limbeck.data.images.mnist import FASHION
from limbeck.data.images.splits import ImageSet, Splits

FILE = "fashion_mnist_sample.xz"
SIDE = 28
TRAIN_PER_CLASS = 1000
TEST_PER_CLASS = 500


def pack(images: Bytes, labels: Bytes) -> bytes:
    """Pack images (N, 28, 28) and labels (N,), training images first, to the content of the sample's file.

    Of LZMA, bzip2, PNG and lossless WebP, with and without prediction of the pixels, plain LZMA was the smallest.

    Example:
        >>> content = pack(np.zeros((15000, 28, 28), np.uint8), np.zeros(15000, np.uint8))
        >>> [len(split) for split in unpack(content)]
        [10000, 5000]
    """
    return lzma.compress(labels.tobytes() + images.tobytes(), preset=9 | lzma.PRESET_EXTREME)


def unpack(content: bytes) -> tuple[ImageSet, ImageSet]:
    """Return the training and the test split of a file that :func:`pack` made.

    Example:
        >>> content = pack(np.zeros((15000, 28, 28), np.uint8), np.full(15000, 3, np.uint8))
        >>> unpack(content)[1].labels[:2]
        tensor([3, 3])
    """
    values = np.frombuffer(lzma.decompress(content), np.uint8)
    cut, total = (len(FASHION) * n for n in (TRAIN_PER_CLASS, TRAIN_PER_CLASS + TEST_PER_CLASS))
    labels, images = values[:total], values[total:].reshape(total, 1, SIDE, SIDE)
    path = Path(FILE)
    train = labeled(images[:cut], labels[:cut], len(FASHION), path)
    return train, labeled(images[cut:], labels[cut:], len(FASHION), path)


def read_sample() -> Splits:
    """Read the embedded 10,000 training and 5,000 test images of Fashion-MNIST (MIT license, Zalando SE).

    They are the first 1,000 training and the first 500 test images of each class, bit for bit.

    Example:
        >>> read_sample().train.labels.bincount().tolist() == [1000] * 10
        True
    """
    content = (files("limbeck.data.images") / "samples" / FILE).read_bytes()
    return Splits(FASHION, *unpack(content))
