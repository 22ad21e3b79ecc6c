"""Tiny-ImageNet-200 (Stanford CS231n) from its official folder."""

from collections.abc import Sequence
from pathlib import Path

import torch

from limbeck.data.images.decode import decode_all, inspect_all
from limbeck.data.images.files import find_file, read_text
from limbeck.data.images.folder_files import UNREADABLE, Skipped
from limbeck.data.images.splits import ImageSet, Splits
from limbeck.errors import UserError

FOLDER = "tiny-imagenet-200"
SIZE = 64


def read_tiny_imagenet(root: Path, *, skip_bad: bool = False) -> Splits:
    """Read Tiny-ImageNet from ``root`` or ``root/tiny-imagenet-200``, decoded once into memory.

    The labels follow the sorted WordNet ids, as in ImageNet. The official validation images are the test split, since
    the labels of the official test images were never published.

    Args:
        root: The folder.
        skip_bad: Whether images that cannot be read are left out.

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
    wnids, skipped = sorted(read_text(folder / "wnids.txt").split()), Skipped(folder, skip_bad)
    names = _class_names(folder, wnids)
    train, test = (_decoded(*files, skipped) for files in (_train_files(folder, wnids), _test_files(folder, wnids)))
    notes = (str(skipped),) if str(skipped) else ()
    return Splits(names, train, test, notes=notes, skipped=skipped.lines)


def _decoded(paths: Sequence[Path], labels: Sequence[int], skipped: Skipped) -> ImageSet:
    kept = list(range(len(paths)))
    if skipped.skip_bad:
        for number, finding in enumerate(inspect_all(paths, decoding=True)):
            if isinstance(finding, str):
                kept.remove(number)
                skipped.name(UNREADABLE, paths[number], finding)
    if not kept:
        raise UserError(f"data.root: {skipped.root} holds no images that can be read ({skipped})")
    images = decode_all([paths[number] for number in kept], "rgb", SIZE)
    return ImageSet(images, torch.tensor([labels[number] for number in kept]))


def _class_names(folder: Path, wnids: list[str]) -> tuple[str, ...]:
    lines = read_text(folder / "words.txt").splitlines()
    names = dict(line.split("\t", 1) for line in lines if "\t" in line)
    missing = next((wnid for wnid in wnids if wnid not in names), None)
    if missing is not None:
        raise UserError(f"data.root: {folder / 'words.txt'} has no line for {missing}, a class of wnids.txt")
    return tuple(names[wnid].strip() for wnid in wnids)


def _train_files(folder: Path, wnids: list[str]) -> tuple[list[Path], list[int]]:
    paths: list[Path] = []
    labels: list[int] = []
    for label, wnid in enumerate(wnids):
        images = folder / "train" / wnid / "images"
        files = sorted(images.glob("*.JPEG"))
        if not files:
            raise UserError(f"data.root: {images} holds no .JPEG files, expected the training images of a class")
        paths += files
        labels += [label] * len(files)
    return paths, labels


def _test_files(folder: Path, wnids: list[str]) -> tuple[list[Path], list[int]]:
    numbers = {wnid: label for label, wnid in enumerate(wnids)}
    annotations = folder / "val" / "val_annotations.txt"
    rows = [line.split("\t") for line in read_text(annotations).splitlines() if line.strip()]
    wrong = next((row for row in rows if len(row) < 2 or row[1] not in numbers), None)
    if wrong is not None or not rows:
        raise UserError(f"data.root: {annotations} has the line {wrong}, expected a file name and an id of wnids.txt")
    paths = [annotations.parent / "images" / row[0] for row in rows]
    return paths, [numbers[row[1]] for row in rows]
