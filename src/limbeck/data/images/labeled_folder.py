"""A folder of images, several classes each, that a CSV file has."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from limbeck.data.images.decode import Inspected, inspect_all
from limbeck.data.images.folder_files import UNREADABLE, Skipped, list_images
from limbeck.data.images.inspected import are_large, default_size, resolve_color, sizes_note
from limbeck.data.images.label_table import LabelTable, read_label_table
from limbeck.data.images.splits import FolderSet, Splits
from limbeck.data.split import hold_out
from limbeck.errors import UserError, shortened
from limbeck.files import expanded, is_file, is_folder


def read_labeled_folder(
    root: Path,
    labels: str | Path,
    *,
    size: int | None = None,
    color: Literal["auto", "rgb", "gray"] = "auto",
    test_share: float = 0.2,
    seed: int = 0,
    skip_bad: bool = False,
) -> Splits:
    """Read the images below a folder that a CSV file names, with the classes of each.

    Args:
        root: The folder of images.
        labels: The file, see :func:`limbeck.data.images.label_table.read_label_table`; relative to ``root``.
        size: As for :func:`limbeck.data.images.folder.read_image_folder`.
        color: As for that.
        test_share: How much is cut off as the test split, seeded, where the file has no column ``split``.
        seed: The seed of that cut.
        skip_bad: Whether images that are missing or cannot be read are left out, see that function.

    Returns:
        The splits, with labels (N, C) of 1, 0 and -1 (not known). Images of the folder without a row in the file are
        counted in the notes.

    Raises:
        UserError: If folder or file is missing or no such table, or an image that it names is not there or cannot be
            read.

    Example:
        >>> read_labeled_folder(Path("/nowhere"), "labels.csv")
        Traceback (most recent call last):
        limbeck.errors.UserError: data.root: the folder /nowhere does not exist
    """
    if not is_folder(root):
        raise UserError(f"data.root: the folder {root} does not exist")
    place = root / expanded(labels)
    table = read_label_table(place)
    skipped = Skipped(root, skip_bad)
    paths = _existing(root, place, table, skipped)
    findings = inspect_all(paths, decoding=skip_bad)
    kept = _whole(paths, findings, skipped)
    skipped.check()
    _count_others(root, paths, skipped)
    inspected = [finding for finding in findings if isinstance(finding, Inspected)]
    if not inspected:
        raise UserError(f"data.root: {root} holds no images of {place} that can be read ({skipped})")
    resolved, side = resolve_color(color, inspected), size or default_size(inspected)
    reduced = are_large(inspected, side)
    everything = FolderSet(root, tuple(paths), torch.tensor(table.labels), resolved, side, reduced)
    parts = _parts(table, kept, everything.labels, test_share, seed, place)
    train, test = everything.select(parts["train"]), everything.select(parts["test"])
    validation = everything.select(parts["validation"]) if "validation" in parts else None
    notes = (sizes_note(inspected), *([str(skipped)] if str(skipped) else []))
    return Splits(table.classes, train, test, validation, notes, skipped.lines)


def _existing(root: Path, place: Path, table: LabelTable, skipped: Skipped) -> list[Path]:
    paths = [root / name for name in table.files]
    missing = [name for name, path in zip(table.files, paths, strict=True) if not _is_in(root, path)]
    if missing and not skipped.skip_bad:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        got = f"{place} names the image {shortened(missing[0])}{more}"
        raise UserError(f"data.options.labels: {got}, which is not in {root}")
    return paths


def _is_in(root: Path, path: Path) -> bool:
    # Through links an image may lie elsewhere, not through its name.
    return path.is_relative_to(root) and ".." not in path.relative_to(root).parts and is_file(path)


def _whole(paths: Sequence[Path], findings: Sequence[Inspected | str], skipped: Skipped) -> Tensor:
    """Return the positions of the images that can be read."""
    kept = []
    for number, (path, finding) in enumerate(zip(paths, findings, strict=True)):
        if isinstance(finding, Inspected):
            kept.append(number)
        else:
            skipped.name(UNREADABLE, path, finding)
    return torch.tensor(kept, dtype=torch.int64)


def _count_others(root: Path, paths: Sequence[Path], skipped: Skipped) -> None:
    without = len(set(list_images(root, Skipped(root))) - set(paths))
    if without:
        skipped.count("without a row of labels", without)


def _parts(
    table: LabelTable, kept: Tensor, labels: Tensor, test_share: float, seed: int, place: Path
) -> dict[str, Tensor]:
    """Return the positions of each split."""
    if table.splits is None:
        try:
            stay, cut = hold_out(labels[kept], test_share, seed=seed)
        except UserError as error:
            raise UserError(f"data.test_share: {error}") from None
        return {"train": kept[stay], "test": kept[cut]}
    of_split: dict[str, list[int]] = {}
    for number in kept.tolist():
        of_split.setdefault(table.splits[number], []).append(number)
    for name in ("train", "test"):
        if name not in of_split:
            raise UserError(f"data.options.labels: {place} has no images of the split {name!r}, expected some")
    return {name: torch.tensor(numbers) for name, numbers in of_split.items()}
