"""Anybody's own images: a folder for each class."""

from pathlib import Path
from typing import Literal

import torch

from limbeck.data.decode import check_all, guess_color
from limbeck.data.images import Color, FolderSet, Splits
from limbeck.data.split import hold_out
from limbeck.errors import UserError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp")
_LOOKED_AT = 32  # images whose colours decide what "auto" means


def read_image_folder(
    root: Path, *, size: int, color: Literal["auto", "rgb", "grey"], test_share: float, seed: int
) -> Splits:
    """Read the paths of the images below a folder and check that each of them is whole.

    There are two layouts. ``root/train/CLASS/*`` with ``root/test`` or ``root/val`` beside it: the first of these is
    the test split, and where there are both, ``val`` is the validation split. Or plain ``root/CLASS/*``, from which
    ``test_share`` is cut off as the test split, seeded and per class. Classes are sorted by name; images may lie
    deeper than the class's folder and have any size.

    Args:
        root: The folder.
        size: Height and width in pixels of what the student sees.
        color: ``"rgb"``, ``"grey"``, or ``"auto"`` for what the first images of the training split are.
        test_share: How much of the plain layout is the test split, in (0, 1).
        seed: The seed of that cut.

    Raises:
        UserError: If a folder is missing or empty, classes differ between splits, or an image is damaged.

    Example:
        >>> read_image_folder(Path("/nowhere"), size=64, color="auto", test_share=0.2, seed=0)
        Traceback (most recent call last):
        limbeck.errors.UserError: data.root: the folder /nowhere does not exist
    """
    if not root.is_dir():
        raise UserError(f"data.root: the folder {root} does not exist")
    if (root / "train").is_dir() and _subfolders(root / "train"):
        return _read_divided(root, size, color)
    classes, paths, labels = _list(root)
    everything = _to_set(root, paths, labels, _resolve(color, paths), size)
    try:
        stay, cut = hold_out(everything.labels, test_share, seed=seed)
    except UserError as error:
        raise UserError(f"data.test_share: {error}") from None
    return Splits(classes, everything.select(stay), everything.select(cut))


def _read_divided(root: Path, size: int, color: Literal["auto", "rgb", "grey"]) -> Splits:
    beside = [name for name in ("test", "val") if (root / name).is_dir()]
    if not beside:
        raise UserError(f"data.root: {root} has a folder train, expected a folder test or val beside it")
    classes, paths, labels = _list(root / "train")
    resolved = _resolve(color, paths)
    train = _to_set(root, paths, labels, resolved, size)
    others = [_read_other(root, name, classes, resolved, size) for name in beside]
    return Splits(classes, train, *others)


def _read_other(root: Path, name: str, classes: tuple[str, ...], color: Color, size: int) -> FolderSet:
    found, paths, labels = _list(root / name)
    odd = sorted(set(found) ^ set(classes))
    if odd:
        where = "only in train" if odd[0] in classes else f"only in {name}"
        more = f" (and {len(odd) - 1} more)" if len(odd) > 1 else ""
        raise UserError(f"data.root: the class {odd[0]!r} is {where}{more}, expected the same classes in {root}")
    return _to_set(root, paths, labels, color, size)


def _list(folder: Path) -> tuple[tuple[str, ...], list[Path], list[int]]:
    classes = tuple(path.name for path in _subfolders(folder))
    if len(classes) < 2:
        raise UserError(
            f"data.root: {folder} has {len(classes)} class folders, expected at least 2 with images in them"
        )
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = _images(folder / name)
        paths += found
        labels += [label] * len(found)
    return classes, paths, labels


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not _is_litter(path))


def _is_litter(path: Path) -> bool:
    """Tell whether an operating system or a notebook left this beside the images."""
    return path.name.startswith(".") or path.name == "__MACOSX"


def _images(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS and path.is_file())
    found = [path for path in found if not any(_is_litter(Path(part)) for part in path.relative_to(folder).parts)]
    if not found:
        raise UserError(f"data.root: the class folder {folder} holds no images ({', '.join(EXTENSIONS)})")
    return found


def _resolve(color: Literal["auto", "rgb", "grey"], paths: list[Path]) -> Color:
    if color != "auto":
        return color
    return guess_color(paths[:: max(1, len(paths) // _LOOKED_AT)][:_LOOKED_AT])


def _to_set(root: Path, paths: list[Path], labels: list[int], color: Color, size: int) -> FolderSet:
    check_all(paths)
    return FolderSet(root, tuple(paths), torch.tensor(labels), color, size)
