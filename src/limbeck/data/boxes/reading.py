"""From annotated image files to a data set: sizes, pixels in memory or in files, and the splits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from limbeck.data.boxes.checked import Annotated, Findings, checked_target
from limbeck.data.boxes.data import BoxData
from limbeck.data.boxes.splits import BoxSet, ImageFile, Size
from limbeck.data.images.decode import inspect_all
from limbeck.data.images.folder_files import UNREADABLE, UNUSABLE, Skipped
from limbeck.data.split import hold_out
from limbeck.data.threads import map_in_threads
from limbeck.errors import UserError, shortened
from limbeck.files import is_file, is_folder

WHOLE = "whole"
"""The name of the only split of files that have none."""
# Of decoded pixels that are held in memory by default.
_MOST_BYTES = 2**31
# Of a resized image: one of a single row would take gigabytes where its shorter side is enlarged.
_MOST_PIXELS = 2**28


@dataclass(frozen=True)
class Form:
    """What images are read as.

    Args:
        size: The shorter side in pixels that images are resized to, in their own proportions; None leaves them.
        shape: Height and width that they are resized to instead.
        in_memory: Whether images are decoded once and held in memory, instead of in every epoch; None for up to 2 GiB.
        test_share: The share of files without splits to cut off as the test split.
        seed: The seed of this cut.

    Raises:
        UserError: If a setting is out of range, or there are both sizes.

    Example:
        >>> Form(size=48).of((480, 640)), Form(shape=(32, 32)).of((480, 640)), Form().of((480, 640))
        ((48, 64), (32, 32), (480, 640))
    """

    size: int | None = None
    shape: Sequence[int] | None = None
    in_memory: bool | None = None
    test_share: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size is not None and self.shape is not None:
            raise UserError(f"data.size: got {self.size} beside data.options.shape, expected only one of the two")
        if self.size is not None and self.size < 1:
            raise UserError(f"data.size: got {self.size}, expected the shorter side in pixels")
        if self.shape is not None and (len(self.shape) != 2 or min(self.shape) < 1):
            raise UserError(f"data.options.shape: got {shortened(self.shape)}, expected height and width in pixels")

    @property
    def resizing(self) -> dict[str, Any]:
        """The settings that :meth:`of` depends on, as JSON takes them."""
        return {"size": self.size, "shape": None if self.shape is None else list(self.shape)}

    def of(self, size: Size) -> Size:
        """Return the height and width that an image of a size is resized to.

        Raises:
            UserError: If that is far more than it has, as where a single row is enlarged.
        """
        if self.shape is not None:
            return self.shape[0], self.shape[1]
        if self.size is None:
            return size
        height, width = (max(1, round(side * self.size / min(size))) for side in size)
        if height * width > max(_MOST_PIXELS, size[0] * size[1]):
            got = f"is {size[1]}x{size[0]} pixels, which data.size {self.size} makes {width}x{height}"
            raise UserError(f"{got}, expected at most {_MOST_PIXELS:,} pixels")
        return height, width


def box_data(
    name: str, classes: Sequence[str], found: Mapping[str, Sequence[Annotated]], form: Form, skipped: Skipped
) -> BoxData:
    """Read the images of all splits, and make the data set.

    Args:
        name: The data set's name.
        classes: The class names without the background.
        found: The images of each split with their annotations: ``train``, ``validation`` and ``test``, or ``whole``.
        form: What images are read as.
        skipped: The samples that cannot be read; those of the images are added, and all of them refused or left out.

    Raises:
        UserError: If an image cannot be read or has another size than its annotations give, or a split is missing.
    """
    if not classes:
        skipped.check()
        raise UserError("data.root: no box has a class, expected annotations with classes")
    findings = Findings()
    crowds = any(any(image.crowd) for split in found.values() for image in split)
    sized = {split: _sized(images, form, skipped) for split, images in found.items()}
    skipped.check()
    in_memory = _in_memory(form, [form.of(size) for of_split in sized.values() for _, size in of_split])
    sets = {}
    for split, rows in sized.items():
        if not rows:
            raise UserError(
                f"data.root: {skipped.root} has no images of the split {split} that can be read ({skipped})"
            )
        files = [ImageFile(image.image, form.of(size)) for image, size in rows]
        targets = [
            checked_target(*row, file.size, findings, crowds=crowds) for row, file in zip(rows, files, strict=True)
        ]
        sets[split] = BoxSet(map_in_threads(ImageFile.read, files) if in_memory else files, targets)
    notes = (*findings.notes, str(skipped)) if str(skipped) else findings.notes
    return replace(_with_splits(name, tuple(classes), sets, form, notes), skipped=skipped.lines)


def _sized(images: Sequence[Annotated], form: Form, skipped: Skipped) -> list[tuple[Annotated, Size]]:
    """Return the images that can be read with height and width of their files, and keep the names of the others."""
    kept = []
    findings = inspect_all([image.image for image in images], decoding=skipped.skip_bad)
    for image, inspected in zip(images, findings, strict=True):
        if isinstance(inspected, str):
            missing = "" if is_file(image.image) else f", named in {image.source}"
            skipped.name(UNREADABLE, image.image, f"{inspected}{missing}")
        elif (wrong := _wrong(image, size := (inspected.height, inspected.width), form)) is not None:
            skipped.name(UNUSABLE, image.image, wrong)
        else:
            kept.append((image, size))
    return kept


def _wrong(image: Annotated, size: Size, form: Form) -> str | None:
    """Return what is wrong with the size of an image, which must be that of the annotations where these give any."""
    if image.size not in {None, size}:
        assert image.size is not None
        expected = f"the {shortened(image.size[1], 20)}x{shortened(image.size[0], 20)} of {image.source}"
        return f"is {size[1]}x{size[0]} pixels, expected {expected}"
    try:
        form.of(size)
    except UserError as error:
        return str(error)
    return None


def _in_memory(form: Form, sizes: Sequence[Size]) -> bool:
    if form.in_memory is not None:
        return form.in_memory
    return sum(3 * height * width for height, width in sizes) <= _MOST_BYTES


def _with_splits(
    name: str, classes: tuple[str, ...], sets: Mapping[str, BoxSet], form: Form, notes: tuple[str, ...]
) -> BoxData:
    if WHOLE in sets:
        whole = sets[WHOLE]
        try:
            stay, cut = hold_out(whole.labels, form.test_share, seed=form.seed)
        except UserError as error:
            raise UserError(f"data.test_share: {error}") from None
        return BoxData(name, classes, whole.select(stay), None, whole.select(cut), notes=notes, resizing=form.resizing)
    validation = sets.get("validation")
    if "test" in sets:
        return BoxData(name, classes, sets["train"], validation, sets["test"], notes=notes, resizing=form.resizing)
    if validation is None:
        raise UserError("data.root: has no split test, expected one beside train")
    note = "the validation split is the test split, as there is no other"
    return BoxData(name, classes, sets["train"], None, validation, notes=(note, *notes), resizing=form.resizing)


def existing_root(root: Path | None, name: str) -> Path:
    """Return the folder of a data set.

    Raises:
        UserError: If there is none.

    Example:
        >>> existing_root(None, "voc")
        Traceback (most recent call last):
        limbeck.errors.UserError: data.root: got none, expected the folder of voc
    """
    if root is None:
        raise UserError(f"data.root: got none, expected the folder of {name}")
    if not is_folder(root):
        unpacked = "; unpack the archive" if is_file(root) else ""
        raise UserError(f"data.root: got {root}, expected the folder of {name}{unpacked}")
    return root


def class_names(given: Sequence[object]) -> tuple[str, ...]:
    """Return class names that a user gave.

    Raises:
        UserError: If a name is there twice, or there is none.

    Example:
        >>> class_names(["cat", 1])
        ('cat', '1')
    """
    names = tuple(map(str, given))
    if not names or len(set(names)) < len(names):
        got = f"got {len(names)} names, {len(set(names))} of them different"
        raise UserError(f"data.options.classes: {got}, expected at least one, all different")
    return names
