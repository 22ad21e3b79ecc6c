"""A user's own images: a folder for each class."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from limbeck.data.images.decode import Inspected, inspect_all
from limbeck.data.images.folder_files import UNREADABLE, Skipped, is_hidden, list_images, subfolders
from limbeck.data.images.folder_layout import Layout, find_layout
from limbeck.data.images.inspected import are_large, default_size, resolve_color, sizes_note
from limbeck.data.images.splits import Color, FolderSet, Splits
from limbeck.data.split import hold_out
from limbeck.errors import UserError
from limbeck.files import is_folder

_OUTSIDE = "outside of the class folders"


@dataclass(frozen=True)
class _Classes:
    """The whole images of one folder of classes."""

    folder: Path
    names: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: tuple[int, ...]
    inspected: tuple[Inspected, ...]


def read_image_folder(
    root: Path,
    *,
    size: int | None = None,
    color: Literal["auto", "rgb", "gray"] = "auto",
    test_share: float = 0.2,
    seed: int = 0,
    skip_bad: bool = False,
) -> Splits:
    """Read the paths of the images below a folder and check whether each of them is whole.

    There are two layouts. ``root/train/CLASS/*`` with ``root/test`` or ``root/val`` beside it, in any usual spelling
    (see :func:`limbeck.data.images.folder_layout.find_layout`): where there are both, ``val`` is the validation
    split, else it is the test split. Or ``root/CLASS/*`` alone, from which ``test_share`` is cut off as the test
    split, seeded and per class. Classes are sorted by name; images may lie deeper than the class's folder and have any
    size. Files that are no images by their names are skipped and counted by reason in the notes of what is returned.

    Args:
        root: The folder.
        size: Height and width in pixels of the student's inputs; None for the median of the shorter sides of the
            images (of the training split where there is one; of two in the middle the smaller), at most 224, so that
            images of one size up to 224 keep it.
        color: ``"rgb"``, ``"gray"``, or ``"auto"`` for what the first images of the training split are.
        test_share: How much of the plain layout is the test split, in (0, 1).
        seed: The seed of that cut.
        skip_bad: Whether images that cannot be read are left out, and named in what is returned. Each is decoded then,
            so that none is found in the training.

    Raises:
        UserError: If a folder is missing or has no whole image, an image cannot be read, it is unclear which folders
            are splits, or classes differ between splits.

    Example:
        >>> read_image_folder(Path("/nowhere"))
        Traceback (most recent call last):
        limbeck.errors.UserError: data.root: the folder /nowhere does not exist
    """
    if not is_folder(root):
        raise UserError(f"data.root: the folder {root} does not exist")
    layout, skipped = find_layout(root), Skipped(root, skip_bad)
    if layout is not None:
        return _read_divided(root, layout, skipped, size, color)
    classes = _read_classes(root, skipped)
    skipped.check()
    everything = _to_set(
        root, classes, resolve_color(color, classes.inspected), size or default_size(classes.inspected)
    )
    try:
        stay, cut = hold_out(everything.labels, test_share, seed=seed)
    except UserError as error:
        raise UserError(f"data.test_share: {error}") from None
    notes = _notes([classes], skipped)
    return Splits(classes.names, everything.select(stay), everything.select(cut), notes=notes, skipped=skipped.lines)


def _read_divided(
    root: Path, layout: Layout, skipped: Skipped, size: int | None, color: Literal["auto", "rgb", "gray"]
) -> Splits:
    folders = [folder for folder in (layout.train, layout.test, layout.validation) if folder]
    parts = [_read_classes(folder, skipped) for folder in folders]
    skipped.check()
    _count_others(root, folders, layout.unlabeled, skipped)
    train, *held_out = parts
    for part in held_out:
        _check_same_classes(root, train, part)
    resolved, side = resolve_color(color, train.inspected), size or default_size(train.inspected)
    sets = [_to_set(root, part, resolved, side) for part in parts]
    validation = sets[2] if layout.validation else None
    notes = (_places(root, layout), *_notes(parts, skipped))
    return Splits(train.names, sets[0], sets[1], validation, notes, skipped.lines)


def _count_others(root: Path, folders: list[Path], unlabeled: tuple[Path, ...], skipped: Skipped) -> None:
    for place, inside, files in os.walk(root):
        here = Path(place)
        without_labels = next((folder for folder in unlabeled if here.is_relative_to(folder)), None)
        reason = f"in {without_labels.name} (a folder without labels)" if without_labels else _OUTSIDE
        if files:
            skipped.count(reason, len(files))
        inside[:] = [name for name in inside if here / name not in folders and not is_hidden(name)]


def _check_same_classes(root: Path, train: _Classes, held_out: _Classes) -> None:
    odd = sorted(set(held_out.names) ^ set(train.names))
    if odd:
        where = f"only in {(train if odd[0] in train.names else held_out).folder.name}"
        more = f" (and {len(odd) - 1} more)" if len(odd) > 1 else ""
        raise UserError(f"data.root: the class {odd[0]!r} is {where}{more}, expected the same classes in {root}")


def _read_classes(folder: Path, skipped: Skipped) -> _Classes:
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
    return _Classes(folder, tuple(path.name for path in folders), *zip(*whole, strict=True))


def _whole(folders: list[Path], skipped: Skipped) -> list[tuple[Path, int, Inspected]]:
    listed = [(path, label) for label, folder in enumerate(folders) for path in list_images(folder, skipped)]
    whole = []
    findings = inspect_all([path for path, _ in listed], decoding=skipped.skip_bad)
    for (path, label), finding in zip(listed, findings, strict=True):
        if isinstance(finding, Inspected):
            whole.append((path, label, finding))
        else:
            skipped.name(UNREADABLE, path, finding)
    return whole


def _check_classes(folder: Path, folders: list[Path]) -> None:
    if len(folders) < 2:
        inside = subfolders(folders[0]) if folders else []
        hint = f"; did you mean {folders[0]}?" if len(inside) > 1 else ""
        raise UserError(
            f"data.root: {folder} has {len(folders)} class folders, expected at least 2 with images in them{hint}"
        )
    for path in folders:
        if path.is_symlink() and folder.resolve().is_relative_to(path.resolve()):
            raise UserError(f"data.root: the class folder {path} is a link to {path.resolve()}, which holds it")
        if path.name != os.fsencode(path.name).decode(errors="replace"):
            raise UserError(f"data.root: {folder} has the class folder {path.name!a}, expected a name in UTF-8")


def _to_set(root: Path, classes: _Classes, color: Color, size: int) -> FolderSet:
    labels, reduced = torch.tensor(classes.labels), are_large(classes.inspected, size)
    return FolderSet(root, classes.paths, labels, color, size, reduced)


def _places(root: Path, layout: Layout) -> str:
    places = {"training": layout.train, "test": layout.test, "validation": layout.validation}
    return "splits: " + ", ".join(f"{name} from {path.relative_to(root)}" for name, path in places.items() if path)


def _notes(parts: list[_Classes], skipped: Skipped) -> tuple[str, ...]:
    images = [image for part in parts for image in part.inspected]
    note = sizes_note(images)
    return (note, str(skipped)) if str(skipped) else (note,)
