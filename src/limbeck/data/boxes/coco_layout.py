"""Where the annotation files and the images of each split lie in a folder of COCO's kind."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from limbeck.data.boxes.reading import WHOLE
from limbeck.errors import UserError, shortened, unknown_name
from limbeck.files import is_file

_SPLITS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
_PATTERNS = (
    "annotations/instances_{}*.json",
    "annotations/{}.json",
    "{}.json",
    "{}/_annotations.coco.json",
    "{}/annotations.json",
)
_LAYOUTS = "expected annotations/instances_train*.json, annotations/train.json, train/_annotations.coco.json"
Places = str | Mapping[str, str] | None


class Place(NamedTuple):
    """The annotation file of a split, and the folders that may hold its images.

    Attributes:
        file: The annotation file.
        folders: The folders, the likeliest first.
    """

    file: Path
    folders: tuple[Path, ...]

    def folder(self, images: Sequence[str]) -> Path:
        """Return the first folder that holds any of the images.

        Raises:
            UserError: If none does.
        """
        for folder in self.folders:
            if any(is_file(folder / image) for image in images):
                return folder
        got = f"{self.file} names {shortened(images[0], quoted=False)}, which is in none of its folders"
        expected = f"expected it in {self.folders[0]}" if len(self.folders) == 1 else "expected data.options.images"
        raise UserError(f"data.root: {got}, {expected}")


def find_places(root: Path, annotations: Places, images: Places) -> dict[str, Place]:
    """Find the annotation file and the images of each split.

    Args:
        root: The folder of the data set.
        annotations: The files by split, one for all, or None to look for them.
        images: The folders of images by split, one for all, or None to look for them.

    Returns:
        By split: ``train``, ``validation`` and ``test``, or ``whole``.

    Raises:
        UserError: If there is no file for the training split, or several.

    Example:
        >>> find_places(Path("/nowhere"), {"train": "a.json", "test": "b.json"}, "images")["test"].file
        PosixPath('/nowhere/b.json')
    """
    if isinstance(annotations, str):
        files = {WHOLE: root / annotations}
    elif annotations is not None:
        files = {_split("annotations", name): root / file for name, file in annotations.items()}
    else:
        files = _found(root)
    if not {"train", WHOLE} & files.keys():
        raise UserError(f"data.root: {root} has no annotations of the split train, {_LAYOUTS}, or data.options")
    return {split: Place(file, _folders(root, split, file, images)) for split, file in files.items()}


def _found(root: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for name, split in _SPLITS.items():
        listed = next((found for pattern in _PATTERNS if (found := sorted(root.glob(pattern.format(name))))), [])
        if len(listed) > 1:
            got = f"{root} has {listed[0].name} and {listed[1].name}"
            raise UserError(f"data.root: {got}, expected one of them in data.options.annotations: {{{name}: ...}}")
        if listed:
            files.setdefault(split, listed[0])
    return files


def _folders(root: Path, split: str, file: Path, images: Places) -> tuple[Path, ...]:
    if isinstance(images, str):
        return (root / images,)
    if images is not None:
        chosen = {_split("images", name): root / folder for name, folder in images.items()}
        if split not in chosen:
            raise UserError(f"data.options.images: got {', '.join(images)}, expected the folder of {split} too")
        return (chosen[split],)
    stem = file.stem.removeprefix("instances_")
    names = [stem, *(name for name, known in _SPLITS.items() if known == split)]
    named = [folder for name in names for folder in (root / "images" / name, root / name / "images", root / name)]
    return (file.parent, *named, root / "images", root)


def _split(option: str, name: str) -> str:
    if name not in _SPLITS:
        raise UserError(f"data.options.{option}: {unknown_name('split', name, _SPLITS)}")
    return _SPLITS[name]
