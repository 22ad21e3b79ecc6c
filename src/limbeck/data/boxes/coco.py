"""Images with annotations in COCO's JSON files."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from limbeck.data.boxes.checked import Annotated
from limbeck.data.boxes.coco_layout import Place, find_places
from limbeck.data.boxes.data import BoxData
from limbeck.data.boxes.reading import Form, box_data, class_names, existing_root
from limbeck.data.boxes.splits import Size
from limbeck.data.images.folder_files import UNUSABLE, Skipped
from limbeck.errors import UserError, one_line, shortened
from limbeck.files import check_regular

Entry = Mapping[str, Any]


def coco(
    root: Path | None = None,
    *,
    size: int | None = None,
    test_share: float = 0.2,
    seed: int = 0,
    annotations: str | Mapping[str, str] | None = None,
    images: str | Mapping[str, str] | None = None,
    classes: Sequence[object] | None = None,
    shape: Sequence[int] | None = None,
    in_memory: bool | None = None,
    skip_bad: bool = False,
) -> BoxData:
    """Read images with boxes from COCO's JSON files.

    The annotations of a split are ``annotations/instances_train2017.json`` (and ``val``, ``test``),
    ``annotations/train.json``, ``train.json``, ``train/_annotations.coco.json`` or ``train/annotations.json``; its
    images lie beside that file, or in ``images/train2017``, ``train2017``, ``train/images``, ``train``, ``images`` or
    the root. Without annotations of ``test``, ``val`` is the test split.

    Args:
        root: The folder.
        size: The shorter side in pixels that images are resized to, in their own proportions.
        test_share: The share of the images of a single file to cut off as the test split.
        seed: The seed of this cut.
        annotations: The files in ``root`` by split (``train``, ``val``, ``test``), or one file without splits.
        images: The folders of images in ``root`` by split, or one for all.
        classes: The class names in their order; by default the categories of the first file, by their numbers.
        shape: Height and width that images are resized to.
        in_memory: Whether images are decoded once and held in memory, instead of in every epoch; by default up to
            2 GiB of pixels.
        skip_bad: Whether images are left out that cannot be read, or have another size than the annotations give or a
            malformed box; else they are an error.

    Raises:
        UserError: If a file is missing or damaged, or an annotation is of an image or a class that is not there.
    """
    form = Form(size, shape, in_memory, test_share, seed)
    home = existing_root(root, "coco")
    read = {split: (place, _content(place.file)) for split, place in find_places(home, annotations, images).items()}
    known = class_names(classes if classes is not None else _first_categories(read))
    skipped = Skipped(home, skip_bad)
    found = {split: _annotated(place, content, known, skipped) for split, (place, content) in read.items()}
    return box_data("coco", known, found, form, skipped)


def _content(file: Path) -> dict[str, list[Entry]]:
    try:
        check_regular(file)
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"data.root: {file} cannot be read as annotations ({one_line(error)})") from None
    for key in ("images", "annotations", "categories"):
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(_has_id(entry) for entry in entries):
            raise UserError(f"data.root: {file} has no list {key!r} of entries with an id, expected COCO's format")
    _check_numbers(file, "categories", content["categories"])
    return {key: content[key] for key in ("images", "annotations", "categories")}


def _has_id(entry: Any) -> bool:
    return isinstance(entry, dict) and _key(entry, "id") is not None


def _check_numbers(file: Path, kind: str, entries: Sequence[Entry]) -> None:
    """Check that no two entries have one id."""
    numbers = {_key(entry, "id") for entry in entries}
    if len(numbers) < len(entries):
        raise UserError(f"data.root: {file} has {len(entries)} {kind}, but only {len(numbers)} ids of them")


def _first_categories(read: Mapping[str, tuple[Place, Mapping[str, Sequence[Entry]]]]) -> list[str]:
    place, content = next(iter(read.values()))
    try:
        return [str(entry["name"]) for entry in sorted(content["categories"], key=lambda entry: entry["id"])]
    except (KeyError, TypeError) as error:
        got = f"{place.file} has categories without a name or with ids of several kinds ({one_line(error)})"
        raise UserError(f"data.root: {got}, expected an id and a name each") from None


def _annotated(
    place: Place, content: Mapping[str, Sequence[Entry]], classes: Sequence[str], skipped: Skipped
) -> list[Annotated]:
    names = {_key(entry, "id"): str(entry.get("name")) for entry in content["categories"]}
    labels = {name: label for label, name in enumerate(classes, start=1)}
    images, damaged = _images(place, content["images"]), set()
    for entry in content["annotations"]:
        where = f"data.root: {place.file} annotation {shortened(entry['id'])}"
        image, name = images.get(_key(entry, "image_id")), names.get(_key(entry, "category_id"))
        if image is None:
            got = f"is of image {shortened(entry.get('image_id'))}"
            raise UserError(f"{where}: {got}, expected one of the file's {len(images):,} images")
        if name not in labels:
            got = f"is of category {shortened(entry.get('category_id'))}" + (f" ({name})" if name else "")
            raise UserError(f"{where}: {got}, expected one of the {len(classes)} classes")
        box = _box(entry.get("bbox"))
        if box is None:
            wrong = f"annotation {shortened(entry['id'])}: got for bbox {shortened(entry.get('bbox'))}"
            expected = f"expected four numbers: left, top, width, height ({place.file})"
            skipped.name(UNUSABLE, image.image, f"{wrong}, {expected}")
            damaged.add(_key(entry, "image_id"))
            continue
        crowd = bool(entry.get("iscrowd", 0))
        image.add(f"{image.image.name} annotation {shortened(entry['id'])}", box, labels[name], crowd=crowd)
    return [image for key, image in images.items() if key not in damaged]


def _images(place: Place, entries: Sequence[Entry]) -> dict[Any, Annotated]:
    if not entries:
        raise UserError(f"data.root: {place.file} has no images, expected at least one")
    names = {_key(entry, "id"): entry.get("file_name") for entry in entries}
    for key, name in names.items():
        if not isinstance(name, str) or not name:
            raise UserError(f"data.root: {place.file} image {shortened(key)}: has no file_name, expected one")
    _check_numbers(place.file, "images", entries)
    folder = place.folder([*map(str, names.values())])
    sizes = {_key(entry, "id"): _size(entry) for entry in entries}
    return {key: Annotated(folder / str(name), str(place.file), sizes[key]) for key, name in names.items()}


def _key(entry: Entry, name: str) -> int | str | None:
    value = entry.get(name)
    return value if isinstance(value, int | str) else None


def _size(entry: Entry) -> Size | None:
    height, width = (entry.get(side) for side in ("height", "width"))
    return (height, width) if isinstance(height, int) and isinstance(width, int) and height and width else None


def _box(box: Any) -> tuple[float, ...] | None:
    numbers = isinstance(box, list) and len(box) == 4 and all(type(side) in {int, float} for side in box)
    try:
        left, top, width, height = map(float, box if numbers else ())
    except (ValueError, OverflowError):
        return None
    return left, top, left + width, top + height
