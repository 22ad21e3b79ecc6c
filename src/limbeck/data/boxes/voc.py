"""Folders in the layout of Pascal VOC: an XML file of boxes for each image."""

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from xml.etree.ElementTree import Element

from limbeck.data.boxes.checked import Annotated
from limbeck.data.boxes.data import BoxData
from limbeck.data.boxes.reading import Form, box_data, class_names, existing_root
from limbeck.data.boxes.splits import Size
from limbeck.data.images.folder_files import UNUSABLE, Skipped
from limbeck.data.masks.files import images_in
from limbeck.data.threads import map_in_threads
from limbeck.errors import UserError, one_line, shortened, unknown_name
from limbeck.files import check_regular

_SPLITS = {"train": "train", "val": "validation", "test": "test"}
_EDGES = ("xmin", "ymin", "xmax", "ymax")
_LAYOUT = "expected JPEGImages, Annotations and ImageSets/Main/train.txt"
# Most digits of an image's sides.
_DIGITS = 10
_NESTED = ("*", "VOCdevkit/*")


def voc(
    root: Path | None = None,
    *,
    size: int | None = None,
    classes: Sequence[object] | None = None,
    splits: Mapping[str, str] | None = None,
    shape: Sequence[int] | None = None,
    in_memory: bool | None = None,
    first_pixel: int = 1,
    difficult: bool = True,
    skip_bad: bool = False,
) -> BoxData:
    """Read a folder in the layout of Pascal VOC.

    There are the images ``JPEGImages/NAME.jpg`` (or another ending), ``Annotations/NAME.xml`` with the boxes of each,
    and ``ImageSets/Main/train.txt``, ``val.txt`` and ``test.txt`` with the names of each split, one a line; without
    ``test.txt``, ``val.txt`` is the test split. The folder may lie in the root alone, as ``VOCdevkit/VOC2007`` does.

    Args:
        root: The folder.
        size: The shorter side in pixels that images are resized to, in their own proportions.
        classes: The class names in their order; by default those of all annotations, sorted.
        splits: The lists to read as ``train``, ``val`` and ``test``, such as ``{"train": "trainval", "test": "test"}``.
        shape: Height and width that images are resized to.
        in_memory: Whether images are decoded once and held in memory, instead of in every epoch; by default up to
            2 GiB of pixels.
        first_pixel: The number of an image's first pixel: 1 in VOC itself, 0 in the files of some programs. An edge is
            then its pixel's outer one.
        difficult: Whether objects that are marked as difficult count; they do for VOC's training, and not for its
            figures.
        skip_bad: Whether images are left out that cannot be read, or whose annotations cannot; else they are an error.

    Raises:
        UserError: If a file is missing or damaged, or a box is of a class that is not among ``classes``.
    """
    form = Form(size, shape, in_memory)
    if first_pixel not in {0, 1}:
        raise UserError(f"data.options.first_pixel: got {first_pixel}, expected 0 or 1")
    home = _home(existing_root(root, "voc"))
    names = _names(home, splits)
    files = {name: home / "Annotations" / f"{name}.xml" for of_split in names.values() for name in of_split}
    parsed = dict(zip(files, map_in_threads(_tree, list(files.values())), strict=True))
    known = class_names(classes) if classes is not None else _classes(parsed)
    images, skipped = images_in(home / "JPEGImages"), Skipped(home, skip_bad)
    read = partial(_annotated, classes=known, first_pixel=first_pixel, difficult=difficult)
    found: dict[str, list[Annotated]] = {}
    for split, of_split in names.items():
        found[split] = []
        for name in of_split:
            try:
                found[split].append(read(parsed[name], files[name], _image(images, name, home)))
            except _DamagedError as error:
                skipped.name(UNUSABLE, error.path, error.detail)
    return box_data("voc", known, found, form, skipped)


class _DamagedError(Exception):
    """An image's part that cannot be read, which may be left out with it."""

    def __init__(self, path: Path, detail: str) -> None:
        super().__init__(path, detail)
        self.path, self.detail = path, detail


def _home(root: Path) -> Path:
    """Return the folder with ``ImageSets``: the root, or the only such one below it."""
    if (root / "ImageSets").is_dir():
        return root
    below = [path for pattern in _NESTED for path in sorted(root.glob(pattern)) if (path / "ImageSets").is_dir()]
    if len(below) != 1:
        several = f"has {len(below)} such folders" if below else "has no ImageSets"
        raise UserError(f"data.root: {root} {several}, {_LAYOUT}")
    return below[0]


def _names(home: Path, splits: Mapping[str, str] | None) -> dict[str, list[str]]:
    lists = home / "ImageSets" / "Main"
    if splits is None:
        chosen = {name: name for name in _SPLITS if (lists / f"{name}.txt").is_file()}
    else:
        chosen = {str(name): str(file) for name, file in splits.items()}
        for name in chosen:
            if name not in _SPLITS:
                raise UserError(f"data.options.splits: {unknown_name('split', name, _SPLITS)}")
    if "train" not in chosen:
        raise UserError(f"data.root: {home} has no split train, {_LAYOUT}")
    return {_SPLITS[name]: _listed(lists / f"{file}.txt") for name, file in chosen.items()}


def _listed(path: Path) -> list[str]:
    try:
        check_regular(path)
        names = [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"data.root: {path} cannot be read ({one_line(error)}), expected a name a line") from None
    if not names:
        raise UserError(f"data.root: {path} names no image, expected a name a line")
    return names


def _tree(path: Path) -> Element | str:
    """Return the content of a file, or why it cannot be read."""
    try:
        check_regular(path)
        return ET.parse(path).getroot()
    except (OSError, ET.ParseError, ValueError, LookupError) as error:
        return f"cannot be read as annotations ({one_line(error)})"


def _classes(parsed: Mapping[str, Element | str]) -> tuple[str, ...]:
    things = (thing for tree in parsed.values() if not isinstance(tree, str) for thing in tree.iter("object"))
    return tuple(sorted({_text(thing, "name") for thing in things} - {""}))


def _image(images: Mapping[str, object], name: str, home: Path) -> Path:
    image, folder = images.get(name), home / "JPEGImages"
    if not isinstance(image, Path):
        raise _DamagedError(folder / name, f"named in {home / 'ImageSets' / 'Main'}, has no image, expected one there")
    return image


def _annotated(
    tree: Element | str, path: Path, image: Path, *, classes: Sequence[str], first_pixel: int, difficult: bool
) -> Annotated:
    if isinstance(tree, str):
        raise _DamagedError(path, tree)
    annotated = Annotated(image, str(path), _size(tree))
    labels = {name: label for label, name in enumerate(classes, start=1)}
    for number, thing in enumerate(tree.iter("object"), start=1):
        name = _text(thing, "name")
        if name not in labels:
            raise UserError(f"data.root: {path} box {number}: {unknown_name('class', name, classes)}")
        if difficult or _text(thing, "difficult") != "1":
            annotated.add(f"{path.name} box {number}", _box(thing, first_pixel, path, number), labels[name])
    return annotated


def _size(tree: Element) -> Size | None:
    """Return height and width, where the file gives them: some programs write zeros."""
    sides = [_text(tree, f"size/{side}") for side in ("height", "width")]
    if not all(side.isdecimal() and len(side) <= _DIGITS and int(side) for side in sides):
        return None
    return int(sides[0]), int(sides[1])


def _box(thing: Element, first_pixel: int, path: Path, number: int) -> tuple[float, ...]:
    texts = [_text(thing, f"bndbox/{edge}") for edge in _EDGES]
    try:
        left, top, right, bottom = map(float, texts)
    except ValueError:
        got = ", ".join(f"{edge} {shortened(text)}" for edge, text in zip(_EDGES, texts, strict=True))
        raise _DamagedError(path, f"box {number}: got {got}, expected four numbers") from None
    # A box whose edges are one pixel is one that a click made; it has no area here either.
    if right <= left or bottom <= top:
        return left, top, left, top
    return left - first_pixel, top - first_pixel, right, bottom


def _text(element: Element, path: str) -> str:
    return (element.findtext(path) or "").strip()
