"""From annotated image files to a data set: sizes, pixels in memory or in files, and the splits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limbeck.data.boxes.checked import Annotated, Findings, checked_target
from limbeck.data.boxes.data import BoxData
from limbeck.data.boxes.splits import BoxSet, ImageFile, Size
from limbeck.data.images.decode import inspect_all
from limbeck.data.split import hold_out
from limbeck.data.threads import map_in_threads
from limbeck.errors import UserError, shortened

WHOLE = "whole"
"""The name of the only split of files that have none."""
# Of decoded pixels that are held in memory by default.
_MOST_BYTES = 2**31


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
        """Return the height and width that an image of a size is resized to."""
        if self.shape is not None:
            return self.shape[0], self.shape[1]
        if self.size is None:
            return size
        height, width = (max(1, round(side * self.size / min(size))) for side in size)
        return height, width


def box_data(name: str, classes: Sequence[str], found: Mapping[str, Sequence[Annotated]], form: Form) -> BoxData:
    """Read the images of all splits, and make the data set.

    Args:
        name: The data set's name.
        classes: The class names without the background.
        found: The images of each split with their annotations: ``train``, ``validation`` and ``test``, or ``whole``.
        form: What images are read as.

    Raises:
        UserError: If an image cannot be read or has another size than its annotations give, or a split is missing.
    """
    if not classes:
        raise UserError("data.root: no box has a class, expected annotations with classes")
    findings = Findings()
    crowds = any(any(image.crowd) for split in found.values() for image in split)
    sizes = {split: _sizes(images) for split, images in found.items()}
    in_memory = _in_memory(form, [form.of(size) for of_split in sizes.values() for size in of_split])
    sets = {}
    for split, images in found.items():
        files = [ImageFile(image.image, form.of(size)) for image, size in zip(images, sizes[split], strict=True)]
        rows = zip(images, sizes[split], files, strict=True)
        targets = [checked_target(image, size, file.size, findings, crowds=crowds) for image, size, file in rows]
        sets[split] = BoxSet(map_in_threads(ImageFile.read, files) if in_memory else files, targets)
    return _with_splits(name, tuple(classes), sets, form, findings.notes)


def _sizes(images: Sequence[Annotated]) -> list[Size]:
    """Return height and width of the files, which must be those of the annotations where these give any."""
    sizes = []
    for image, inspected in zip(images, inspect_all([image.image for image in images]), strict=True):
        if isinstance(inspected, str):
            missing = "" if image.image.is_file() else f", named in {image.source}"
            raise UserError(f"data.root: {image.image}{missing} cannot be read as an image: {inspected}")
        size = inspected.height, inspected.width
        if image.size not in {None, size}:
            assert image.size is not None
            got, expected = f"{size[1]}x{size[0]}", f"{image.size[1]}x{image.size[0]}"
            raise UserError(f"data.root: {image.image} is {got} pixels, expected the {expected} of {image.source}")
        sizes.append(size)
    return sizes


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
    if not root.is_dir():
        unpacked = "; unpack the archive" if root.is_file() else ""
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
