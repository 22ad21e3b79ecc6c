"""Writers of tiny data sets in the official layouts."""

import gzip
import pickle
import struct
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image


def pixels(count, *shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def write_idx(path, values, *, pack=False):
    content = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes() + values.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if pack else content)


def write_mnist(folder, train=20, test=10, *, pack=False):
    """Write the four idx files; return the training images and labels."""
    ending = ".gz" if pack else ""
    for prefix, count in (("t10k", test), ("train", train)):
        images, labels = pixels(count, 28, 28, seed=count), np.arange(count, dtype=np.uint8) % 10
        write_idx(folder / f"{prefix}-images-idx3-ubyte{ending}", images, pack=pack)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte{ending}", labels, pack=pack)
    return images, labels


class Python2Pickler(pickle._Pickler):
    """Writes byte strings with the opcode of Python 2's ``str``, as the CIFAR files hold them."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_bytes(self, value):
        self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)

    dispatch[bytes] = save_bytes


def write_python2_pickle(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        Python2Pickler(file, protocol=2).dump(values)


def write_cifar100_python(folder, train=200, test=100):
    for name, count in (("test", test), ("train", train)):
        data, labels = pixels(count, 3072, seed=count), [i % 100 for i in range(count)]
        write_python2_pickle(
            folder / name, {b"data": data, b"fine_labels": labels, b"coarse_labels": [0] * count, b"batch_label": b"x"}
        )
    write_python2_pickle(folder / "meta", {b"fine_label_names": [f"class_{i}".encode() for i in range(100)]})
    return data, labels


def write_cifar100_binary(folder, train=200, test=100):
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in (("test", test), ("train", train)):
        data, labels = pixels(count, 3072, seed=count), np.arange(count, dtype=np.uint8)[:, None] % 100
        np.concatenate([labels // 5, labels, data], 1).tofile(folder / f"{name}.bin")
    (folder / "fine_label_names.txt").write_text("".join(f"class_{i}\n" for i in range(100)))
    return data, labels[:, 0]


def write_cifar10_binary(folder, each=10):
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        labels = np.arange(each, dtype=np.uint8)[:, None] % 10
        np.concatenate([labels, pixels(each, 3072, seed=number)], 1).tofile(folder / f"{name}.bin")
    (folder / "batches.meta.txt").write_text("".join(f"class_{i}\n" for i in range(10)) + "\n")


def write_cifar10_python(folder, each=10):
    for number, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        values = {b"data": pixels(each, 3072, seed=number), b"labels": [i % 10 for i in range(each)]}
        write_python2_pickle(folder / name, values)
    write_python2_pickle(folder / "batches.meta", {b"label_names": [f"class_{i}".encode() for i in range(10)]})


def write_image(path, height=20, width=30, mode="RGB", seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = (3,) if mode == "RGB" else ()
    Image.fromarray(pixels(height, width, *channels, seed=seed)).save(path)
    return path


def write_classes(folder, classes=("cat", "dog"), each=5, **options):
    """Write a folder of images for each class, all of different sizes."""
    for k, name in enumerate(classes):
        for i in range(each):
            write_image(folder / name / f"{i}.png", 20 + i, 30 - i, seed=100 * k + i, **options)
    return folder


def write_tiny_imagenet(folder, wnids=("n03", "n01"), each=3):
    for wnid in wnids:
        for i in range(each):
            mode = "L" if i == 0 else "RGB"
            write_image(folder / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", 64, 64, mode, seed=i)
    lines = [f"val_{i}.JPEG\t{wnid}\t0\t0\t9\t9\n" for i, wnid in enumerate(wnids)]
    for i in range(len(wnids)):
        write_image(folder / "val" / "images" / f"val_{i}.JPEG", 64, 64, seed=i)
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    (folder / "wnids.txt").write_text("\n".join(wnids) + "\n")
    (folder / "words.txt").write_text("n01\tgoldfish, Carassius auratus\nn02\tother\nn03\tbullfrog\n")
    return Path(folder)
