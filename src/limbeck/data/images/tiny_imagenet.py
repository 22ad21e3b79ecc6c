"""Tiny-ImageNet-200 (Stanford CS231n) from its official folder."""

from pathlib import Path

import torch

from limbeck.data.images.decode import decode_all
from limbeck.data.images.files import find_file
from limbeck.data.images.splits import ImageSet, Splits
from limbeck.errors import UserError

FOLDER = "tiny-imagenet-200"
SIZE = 64


def read_tiny_imagenet(root: Path) -> Splits:
    """Read Tiny-ImageNet from ``root`` or ``root/tiny-imagenet-200``, decoded once into memory.

    The labels follow the sorted WordNet ids, as in ImageNet. The official validation images are the test split, since
    the labels of the official test images were never published.

    Raises:
        UserError: If a file is missing, damaged, or not 64x64 pixels.

    Example:
        >>> read_tiny_imagenet(Path("/nowhere"))
        Traceback (most recent call last):
        limbeck.data.images.files.MissingFilesError: data.root: wnids.txt is not in /nowhere or ...
    """
    hint = "get tiny-imagenet-200.zip from the CS231n page of Stanford and unpack it"
    folder = find_file((root, root / FOLDER), ["wnids.txt"], hint).parent
    for file in ("words.txt", "val/val_annotations.txt"):
        find_file([folder], [file], "the folder is not complete, unpack the archive again")
    wnids = sorted((folder / "wnids.txt").read_text("utf-8").split())
    return Splits(_class_names(folder, wnids), _read_train(folder, wnids), _read_test(folder, wnids))


def _class_names(folder: Path, wnids: list[str]) -> tuple[str, ...]:
    lines = (folder / "words.txt").read_text("utf-8").splitlines()
    names = dict(line.split("\t", 1) for line in lines if "\t" in line)
    missing = next((wnid for wnid in wnids if wnid not in names), None)
    if missing is not None:
        raise UserError(f"data.root: {folder / 'words.txt'} has no line for {missing}, a class of wnids.txt")
    return tuple(names[wnid].strip() for wnid in wnids)


def _read_train(folder: Path, wnids: list[str]) -> ImageSet:
    paths: list[Path] = []
    labels: list[int] = []
    for label, wnid in enumerate(wnids):
        images = folder / "train" / wnid / "images"
        files = sorted(images.glob("*.JPEG"))
        if not files:
            raise UserError(f"data.root: {images} holds no .JPEG files, expected the training images of a class")
        paths += files
        labels += [label] * len(files)
    return ImageSet(decode_all(paths, "rgb", SIZE), torch.tensor(labels))


def _read_test(folder: Path, wnids: list[str]) -> ImageSet:
    numbers = {wnid: label for label, wnid in enumerate(wnids)}
    annotations = folder / "val" / "val_annotations.txt"
    rows = [line.split("\t") for line in annotations.read_text("utf-8").splitlines() if line.strip()]
    wrong = next((row for row in rows if len(row) < 2 or row[1] not in numbers), None)
    if wrong is not None or not rows:
        raise UserError(f"data.root: {annotations} has the line {wrong}, expected a file name and an id of wnids.txt")
    paths = [annotations.parent / "images" / row[0] for row in rows]
    return ImageSet(decode_all(paths, "rgb", SIZE), torch.tensor([numbers[row[1]] for row in rows]))
