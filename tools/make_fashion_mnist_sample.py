"""Make the embedded sample of Fashion-MNIST: python tools/make_fashion_mnist_sample.py FOLDER_OF_THE_IDX_FILES."""

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

import limbeck.data.images
from limbeck.data.images.files import Bytes
from limbeck.data.images.mnist import FASHION, read_idx
from limbeck.data.images.sample import FILE, TEST_PER_CLASS, TRAIN_PER_CLASS, pack


def first_of_each_class(labels: Bytes, count: int) -> npt.NDArray[np.int64]:
    """Return the positions of the first ``count`` samples of each class, class after class."""
    return np.concatenate([np.flatnonzero(labels == k)[:count] for k in range(len(FASHION))])


def chosen(folder: Path, prefix: str, count: int) -> tuple[Bytes, Bytes]:
    """Return the chosen images and labels of one split."""
    images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz", 3)
    labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", 1)
    rows = first_of_each_class(labels, count)
    return images[rows], labels[rows]


def main(folder: Path) -> None:
    """Write the sample beside the package's code and print its size."""
    train = chosen(folder, "train", TRAIN_PER_CLASS)
    test = chosen(folder, "t10k", TEST_PER_CLASS)
    content = pack(np.concatenate([train[0], test[0]]), np.concatenate([train[1], test[1]]))
    path = Path(limbeck.data.images.__file__).parent / "samples" / FILE
    path.write_bytes(content)
    print(f"{path}: {len(train[1])} + {len(test[1])} images, {len(content)} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
