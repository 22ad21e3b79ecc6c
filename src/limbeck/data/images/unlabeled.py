"""Images without classes beside a labeled set: a folder of them, and both as one split."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from limbeck.data.images.augment import Augment
from limbeck.data.images.decode import Inspected, inspect_all
from limbeck.data.images.file_view import view_of_file
from limbeck.data.images.folder_files import UNREADABLE, Skipped, list_images
from limbeck.data.images.inspected import are_large
from limbeck.data.images.pixels import JoinedPixels, Pixels
from limbeck.data.images.splits import FolderSet, ImageSet, Split
from limbeck.data.images.stored import StoredSet
from limbeck.data.threads import map_in_threads
from limbeck.errors import UserError
from limbeck.files import is_folder
from limbeck.rows import ABSENT

_KEY = "data.unlabeled"


class Unlabeled(NamedTuple):
    """Images without labels.

    Attributes:
        split: The images; their labels are all -100.
        note: A line about the files.
        skipped: The files that are left out because they cannot be read, a line each.

    Example:
        >>> split = ImageSet(torch.zeros(1, 1, 4, 4, dtype=torch.uint8), torch.tensor([-100]))
        >>> Unlabeled(split, "unlabeled: 1 image").skipped
        ()
    """

    split: Split
    note: str
    skipped: tuple[str, ...] = ()


def read_unlabeled(folder: Path, like: Split, others: tuple[Split, ...] = (), *, skip_bad: bool = False) -> Unlabeled:
    """Read the images below a folder, whatever its subfolders, as samples without labels.

    They get the size and the color of the labeled ones: images in files stay there, and beside images in memory they
    are resized and cut to their center once, in memory too. Files that belong to a labeled split are left out.

    Args:
        folder: The folder.
        like: The labeled training split.
        others: The other splits whose files are left out.
        skip_bad: Whether images that cannot be read are left out.

    Raises:
        UserError: If the folder is missing or holds no other whole image, an image cannot be read, or the labeled
            images are not square.

    Example:
        >>> read_unlabeled(Path("/nowhere"), ImageSet(torch.zeros(1, 1, 4, 4, dtype=torch.uint8), torch.tensor([0])))
        Traceback (most recent call last):
        limbeck.errors.UserError: data.unlabeled: the folder /nowhere does not exist
    """
    if not is_folder(folder):
        raise UserError(f"{_KEY}: the folder {folder} does not exist")
    skipped = Skipped(folder, skip_bad)
    paths, inspected = _whole(_not_among(list_images(folder, skipped), (like, *others), skipped), skipped)
    skipped.check(_KEY)
    if not paths:
        why = f" ({skipped})" if str(skipped) else ""
        raise UserError(f"{_KEY}: {folder} holds no images that can be read and are no labeled ones{why}")
    note = f"unlabeled: {len(paths):,} images from {folder}" + (f"; {skipped}" if str(skipped) else "")
    return Unlabeled(_as(like, folder, paths, inspected), note, skipped.lines)


def _not_among(paths: list[Path], splits: tuple[Split, ...], skipped: Skipped) -> list[Path]:
    labeled = {os.path.realpath(path) for split in splits if isinstance(split, FolderSet) for path in split.paths}
    kept = [path for path in paths if os.path.realpath(path) not in labeled]
    if len(kept) < len(paths):
        skipped.count("labeled", len(paths) - len(kept))
    return kept


def _whole(paths: list[Path], skipped: Skipped) -> tuple[tuple[Path, ...], list[Inspected]]:
    whole, inspected = [], []
    for path, finding in zip(paths, inspect_all(paths, decoding=skipped.skip_bad), strict=True):
        if isinstance(finding, Inspected):
            whole.append(path)
            inspected.append(finding)
        else:
            skipped.name(UNREADABLE, path, finding)
    return tuple(whole), inspected


def _as(like: Split, folder: Path, paths: tuple[Path, ...], inspected: Sequence[Inspected]) -> Split:
    labels = like.labels.new_full((len(paths), *like.labels.shape[1:]), ABSENT)
    channels, height, width = like.shape
    if height != width:
        raise UserError(f"{_KEY}: got a folder beside images of {width}x{height} pixels, expected square images")
    reduced = are_large(inspected, height)
    files = FolderSet(folder, paths, labels, "rgb" if channels == 3 else "gray", height, reduced)
    return files if isinstance(like, FolderSet) else ImageSet(_decoded(files), labels)


def _decoded(files: FolderSet) -> Tensor:
    def view(index: int) -> Tensor:
        return view_of_file(files, index, Augment(), seed=0, epoch=0)

    return torch.stack(map_in_threads(view, range(len(files))))


def joined(labeled: Split, unlabeled: Split) -> Split:
    """Return one split of the labeled samples and, behind them, those without labels.

    Args:
        labeled: Images with labels.
        unlabeled: Images of the same kind, size and color, from :func:`read_unlabeled`.

    Raises:
        UserError: If one is in memory and the other in files.

    Example:
        >>> labeled = ImageSet(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 1]))
        >>> joined(labeled, replace(labeled, labels=torch.tensor([-100, -100]))).labels
        tensor([   0,    1, -100, -100])
    """
    labels = torch.cat([labeled.labels, unlabeled.labels])
    if isinstance(labeled, ImageSet) and isinstance(unlabeled, ImageSet):
        return ImageSet(torch.cat([labeled.images, unlabeled.images]), labels)
    if not (isinstance(labeled, FolderSet) and isinstance(unlabeled, FolderSet)):
        raise UserError(f"{_KEY}: got images in memory beside images in files, expected one of the two")
    # The fingerprint takes paths relative to the root.
    root = Path(os.path.commonpath([_absolute(split.root) for split in (labeled, unlabeled)]))
    paths = tuple(map(_absolute, (*labeled.paths, *unlabeled.paths)))
    reduced = labeled.reduced or unlabeled.reduced
    return replace(labeled, root=root, paths=paths, labels=labels, reduced=reduced, **_pixels(labeled, unlabeled))


def _pixels(labeled: FolderSet, unlabeled: FolderSet) -> dict[str, Any]:
    """Return the stored pixels of both, where they are stored."""
    if not (isinstance(labeled, StoredSet) and isinstance(unlabeled, StoredSet)):
        return {}
    assert isinstance(labeled.pixels, Pixels)
    assert isinstance(unlabeled.pixels, Pixels)
    rows = torch.cat([labeled.rows, unlabeled.rows + len(labeled.pixels)])
    return {"pixels": JoinedPixels(labeled.pixels, unlabeled.pixels), "rows": rows}


def _absolute(path: Path) -> Path:
    # Links stay as they are: their targets may lie outside of the root.
    return Path(os.path.abspath(path))  # noqa: PTH100
