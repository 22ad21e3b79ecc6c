"""Anybody's own images: a folder for each class."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from limbeck.data.images.decode import Inspected, inspect_all
from limbeck.data.images.folder_files import Skipped, is_hidden, list_images, subfolders
from limbeck.data.images.folder_layout import Layout, find_layout
from limbeck.data.images.splits import Color, FolderSet, Splits
from limbeck.data.split import hold_out
from limbeck.errors import UserError

MAX_DEFAULT_SIZE = 224
_OUTSIDE = "outside of the class folders"
_LOOKED_AT = 32  # images whose colors decide what "auto" means


@dataclass(frozen=True)
class _Found:
    """The whole images of one folder of classes."""

    folder: Path
    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: tuple[int, ...]
    looks: tuple[Inspected, ...]


def read_image_folder(
    root: Path,
    *,
    size: int | None = None,
    color: Literal["auto", "rgb", "gray"] = "auto",
    test_share: float = 0.2,
    seed: int = 0,
) -> Splits:
    """Read the paths of the images below a folder and look whether each of them is whole.

    There are two layouts. ``root/train/CLASS/*`` with ``root/test`` or ``root/val`` beside it, in any usual spelling
    (see :func:`limbeck.data.images.folder_layout.find_layout`): where there are both, ``val`` is the validation
    split, else it is the test split. Or ``root/CLASS/*`` alone, from which ``test_share`` is cut off as the test
    split, seeded and per class. Classes are sorted by name; images may lie deeper than the class's folder and have any
    size. Files that are no images or broken are skipped and counted by reason in the notes of what is returned.

    Args:
        root: The folder.
        size: Height and width in pixels of what the student sees; None for the median of the shorter sides of the
            images (of the training split where there is one; of two in the middle the smaller), at most 224, so that
            images of one size up to 224 keep it.
        color: ``"rgb"``, ``"gray"``, or ``"auto"`` for what the first images of the training split are.
        test_share: How much of the plain layout is the test split, in (0, 1).
        seed: The seed of that cut.

    Raises:
        UserError: If a folder is missing or has no whole image, it is unclear which folders are splits, or classes
            differ between splits.

    Example:
        >>> read_image_folder(Path("/nowhere"))
        Traceback (most recent call last):
        limbeck.errors.UserError: data.root: the folder /nowhere does not exist
    """
    if not root.is_dir():
        raise UserError(f"data.root: the folder {root} does not exist")
    layout, skipped = find_layout(root), Skipped(root)
    if layout is not None:
        return _read_divided(root, layout, skipped, size, color)
    found = _read_classes(root, skipped)
    everything = _to_set(root, found, _resolve(color, found), size or default_size(found.looks))
    try:
        stay, cut = hold_out(everything.labels, test_share, seed=seed)
    except UserError as error:
        raise UserError(f"data.test_share: {error}") from None
    notes = _notes([found], skipped)
    return Splits(found.classes, everything.select(stay), everything.select(cut), notes=notes)


def default_size(looks: tuple[Inspected, ...]) -> int:
    """Return the median of the images' shorter sides (the smaller of two in the middle), at most 224.

    Example:
        >>> default_size((Inspected(32, 32, False), Inspected(40, 64, False), Inspected(50, 60, False)))
        40
        >>> default_size((Inspected(500, 375, False),))
        224
    """
    median = int(torch.tensor([look.shorter for look in looks]).median())
    return min(median, MAX_DEFAULT_SIZE)


def _read_divided(
    root: Path, layout: Layout, skipped: Skipped, size: int | None, color: Literal["auto", "rgb", "gray"]
) -> Splits:
    folders = [folder for folder in (layout.train, layout.test, layout.validation) if folder]
    found = [_read_classes(folder, skipped) for folder in folders]
    _count_others(root, folders, layout.unlabeled, skipped)
    train = found[0]
    for other in found[1:]:
        _check_same_classes(root, train, other)
    resolved, side = _resolve(color, train), size or default_size(train.looks)
    sets = [_to_set(root, part, resolved, side) for part in found]
    validation = sets[2] if layout.validation else None
    return Splits(train.classes, sets[0], sets[1], validation, (_places(root, layout), *_notes(found, skipped)))


def _count_others(root: Path, folders: list[Path], unlabeled: tuple[Path, ...], skipped: Skipped) -> None:
    for place, inside, files in os.walk(root):
        here = Path(place)
        without_labels = next((folder for folder in unlabeled if here.is_relative_to(folder)), None)
        reason = f"in {without_labels.name} (a folder without labels)" if without_labels else _OUTSIDE
        if files:
            skipped.count(reason, len(files))
        inside[:] = [name for name in inside if here / name not in folders and not is_hidden(name)]


def _check_same_classes(root: Path, train: _Found, other: _Found) -> None:
    odd = sorted(set(other.classes) ^ set(train.classes))
    if odd:
        where = f"only in {(train if odd[0] in train.classes else other).folder.name}"
        more = f" (and {len(odd) - 1} more)" if len(odd) > 1 else ""
        raise UserError(f"data.root: the class {odd[0]!r} is {where}{more}, expected the same classes in {root}")


def _read_classes(folder: Path, skipped: Skipped) -> _Found:
    folders = subfolders(folder)
    _check_classes(folder, folders)
    for path in folder.iterdir():
        if not path.is_dir():
            skipped.count(_OUTSIDE)
    whole = _whole(folders, skipped)
    empty = sorted(set(range(len(folders))) - {label for _, label, _ in whole})
    if empty:
        why = f" ({skipped})" if str(skipped) else ""
        raise UserError(f"data.root: the class folder {folders[empty[0]]} holds no images that can be read{why}")
    paths, labels, looks = zip(*whole, strict=True)
    return _Found(folder, tuple(path.name for path in folders), paths, labels, looks)


def _whole(folders: list[Path], skipped: Skipped) -> list[tuple[Path, int, Inspected]]:
    listed = [(path, label) for label, folder in enumerate(folders) for path in list_images(folder, skipped)]
    whole = []
    for (path, label), look in zip(listed, inspect_all([path for path, _ in listed]), strict=True):
        if isinstance(look, Inspected):
            whole.append((path, label, look))
        else:
            skipped.name("unreadable", path, look)
    return whole


def _check_classes(folder: Path, folders: list[Path]) -> None:
    if len(folders) < 2:
        inside = subfolders(folders[0]) if folders else []
        hint = f"; did you mean {folders[0]}?" if len(inside) > 1 else ""
        raise UserError(
            f"data.root: {folder} has {len(folders)} class folders, expected at least 2 with images in them{hint}"
        )
    for path in folders:
        if path.name != os.fsencode(path.name).decode(errors="replace"):
            raise UserError(f"data.root: {folder} has the class folder {path.name!a}, expected a name in UTF-8")


def _resolve(color: Literal["auto", "rgb", "gray"], found: _Found) -> Color:
    if color != "auto":
        return color
    looks = found.looks[:: max(1, len(found.looks) // _LOOKED_AT)][:_LOOKED_AT]
    return "gray" if all(look.gray for look in looks) else "rgb"


def _to_set(root: Path, found: _Found, color: Color, size: int) -> FolderSet:
    return FolderSet(root, found.paths, torch.tensor(found.labels), color, size)


def _places(root: Path, layout: Layout) -> str:
    places = {"training": layout.train, "test": layout.test, "validation": layout.validation}
    return "splits: " + ", ".join(f"{name} from {path.relative_to(root)}" for name, path in places.items() if path)


def _notes(found: list[_Found], skipped: Skipped) -> tuple[str, ...]:
    looks = sorted({(look.width, look.height) for part in found for look in part.looks}, key=lambda s: (s[0] * s[1], s))
    smallest, largest = (f"{width}x{height}" for width, height in (looks[0], looks[-1]))
    if len(looks) == 1:
        sizes = f"files: all {smallest} pixels"
    else:
        shorter = int(torch.tensor([look.shorter for part in found for look in part.looks]).median())
        sizes = f"files: {smallest} to {largest} pixels, median of the shorter sides {shorter}"
    return (sizes, str(skipped)) if str(skipped) else (sizes,)
