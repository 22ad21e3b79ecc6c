"""Folders of images and index masks, decoded once into memory."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from limbeck.data.images.folder_files import UNUSABLE, Skipped
from limbeck.data.masks.data import MaskData
from limbeck.data.masks.files import Pair, Place, Size, opened, read_image, read_mask, read_place, resized
from limbeck.data.masks.layout import WHOLE, Found, find_splits
from limbeck.data.masks.splits import IGNORED, MaskSet
from limbeck.data.split import hold_out
from limbeck.data.threads import map_in_threads
from limbeck.errors import UserError, shortened
from limbeck.files import expanded

_STATISTICS = {3: ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), 1: ((0.449,), (0.226,))}
_NAMES_FILE = "classes.txt"
_MOST_CLASSES = IGNORED


class Decoded(NamedTuple):
    """A decoded sample.

    Attributes:
        image: uint8 (C, H, W).
        mask: uint8 (H, W), 255 where nothing counts.
    """

    image: Tensor
    mask: Tensor


def mask_folder(
    root: Path | None = None,
    *,
    size: int | None = None,
    color: Literal["auto", "rgb", "gray"] = "auto",
    test_share: float = 0.2,
    seed: int = 0,
    classes: Sequence[object] | str | None = None,
    ignore_index: int | Sequence[int] = IGNORED,
    shape: Sequence[int] | None = None,
    skip_bad: bool = False,
) -> MaskData:
    """Read a folder, or a zip archive, of images and index masks.

    The files lie in ``train/images/*`` and ``train/masks/*.png``, and so for ``test`` and perhaps ``val``; in
    ``images/train`` and so on; or in ``images`` and ``masks`` without splits. A mask has its image's name and size, and
    its value at a pixel is the pixel's class. All is decoded once and held in memory, four bytes a pixel for color.

    Args:
        root: The folder or the archive.
        size: Height and width in pixels that all images and masks are resized to.
        color: ``"rgb"``, ``"gray"`` or ``"auto"`` (as the first image is).
        test_share: The share of files without splits to cut off as the test split.
        seed: The seed of this cut.
        classes: The class names, or a file of them (below ``root`` or elsewhere), one a line; by default the file
            ``classes.txt`` in ``root``, and without it the values that the masks have, as names.
        ignore_index: The value of pixels that count nowhere, or several.
        shape: Height and width as ``size``, where they differ.
        skip_bad: Whether images are left out that cannot be read, or have no mask, a damaged one, or one of another
            size or with an unknown value; else they are an error.

    Raises:
        UserError: If files are missing or damaged, or sizes of images differ and there is neither ``size`` nor
            ``shape``.
    """
    if root is None:
        raise UserError("data.root: got none, expected the folder of mask_folder")
    place, to_size = opened(root), _size(size, shape)
    names, ignored = _class_names(place, root, classes), _ignored(ignore_index)
    found, skipped = find_splits(place), Skipped(Path(str(place)), skip_bad)
    gray = color == "gray" or (color == "auto" and _is_gray(found))
    read = partial(_attempt, size=to_size, gray=gray, ignored=ignored, classes=len(names or ()))
    decoded = {name: _whole(place, split, map_in_threads(read, split.pairs), skipped) for name, split in found.items()}
    skipped.check()
    _check_sizes(decoded)
    sets = {name: _stacked(name, place, samples, skipped) for name, samples in decoded.items()}
    names = names or _numbers(sets)
    return _data(sets, names, _notes(found, skipped), skipped, test_share, seed)


def _size(size: int | None, shape: Sequence[int] | None) -> Size | None:
    if shape is None:
        return None if size is None else (size, size)
    if size is not None:
        raise UserError(f"data.size: got {size} beside data.options.shape, expected only one of the two")
    if len(shape) != 2 or not all(isinstance(side, int) and side > 0 for side in shape):
        raise UserError(f"data.options.shape: got {shortened(shape)}, expected height and width in pixels")
    return shape[0], shape[1]


def _ignored(values: int | Sequence[int]) -> tuple[int, ...]:
    listed = (values,) if isinstance(values, int) else tuple(values)
    if not all(isinstance(value, int) for value in listed):
        raise UserError(f"data.options.ignore_index: got {shortened(values)}, expected whole numbers")
    return listed


def _class_names(place: Place, root: Path, classes: Sequence[object] | str | None) -> tuple[str, ...]:
    """Return the class names that are given; none where the masks decide them."""
    if classes is None:
        file = place / _NAMES_FILE
        names = _lines(file) if file.is_file() else []
    elif isinstance(classes, str):
        within: Place = place / classes
        file = within if within.is_file() else expanded(classes)
        if not file.is_file():
            raise UserError(f"data.options.classes: got {shortened(classes)}, expected names, or a file in {root}")
        names = _lines(file)
    else:
        names = [str(name) for name in classes]
    if len(set(names)) < len(names) or len(names) > _MOST_CLASSES:
        got = f"got {len(names)} names, {len(set(names))} of them different"
        raise UserError(f"data.options.classes: {got}, expected at most {_MOST_CLASSES}, all different")
    return tuple(names)


def _lines(file: Place) -> list[str]:
    try:
        lines = read_place(file).decode("utf-8").splitlines()
    except Exception as error:  # a damaged archive can end in nearly every kind of exception
        raise UserError(f"data.options.classes: {file} cannot be read ({error}), expected a name a line") from None
    return [line.strip() for line in lines if line.strip()]


def _is_gray(found: dict[str, Found]) -> bool:
    """Return whether the first image that can be read is gray."""
    for pair in (pair for split in found.values() for pair in split.pairs):
        with suppress(UserError):
            image = read_image(pair.image, gray=False)
            return bool((image[0] == image[1]).all() and (image[0] == image[2]).all())
    return False


def _attempt(pair: Pair, **settings: Any) -> Decoded | UserError:
    try:
        return _decoded(pair, **settings)
    except UserError as error:
        return error


def _whole(
    place: Place, split: Found, read: Sequence[Decoded | UserError], skipped: Skipped
) -> list[tuple[Pair, Decoded]]:
    """Return the pairs that could be read, and keep the names of the others."""
    for image in split.lacking:
        expected = f"has no mask, expected {_stem(image)}.png beside the others"
        skipped.name(UNUSABLE, _below(place, image), expected)
    kept = []
    for pair, decoded in zip(split.pairs, read, strict=True):
        if isinstance(decoded, Decoded):
            kept.append((pair, decoded))
        else:
            file = pair.mask if str(decoded).startswith(str(UserError(f"{pair.mask}: "))) else pair.image
            skipped.name(UNUSABLE, _below(place, file), str(decoded).removeprefix(str(UserError(f"{file}: "))))
    return kept


def _below(place: Place, file: Place) -> Path:
    return Path(str(file)).relative_to(str(place))


def _stem(place: Place) -> str:
    return place.name.rpartition(".")[0]


def _decoded(pair: Pair, *, size: Size | None, gray: bool, ignored: Sequence[int], classes: int) -> Decoded:
    image, values = read_image(pair.image, gray=gray), read_mask(pair.mask)
    if values.shape != image.shape[1:]:
        got, expected = (f"{width}x{height}" for height, width in (values.shape, image.shape[1:]))
        raise UserError(f"{pair.mask}: is {got}, expected the {expected} of {pair.image.name}")
    mask = _known(values, pair.mask, ignored, classes)
    if size is not None and size != tuple(mask.shape):
        image = resized(image, size)
        mask = F.interpolate(mask[None, None].float(), size=size, mode="nearest-exact")[0, 0].to(torch.uint8)
    return Decoded(image, mask)


def _known(values: Tensor, place: Place, ignored: Sequence[int], classes: int) -> Tensor:
    """Return a mask's classes, uint8, with 255 where nothing counts, if all of its values are known."""
    counted = torch.ones_like(values, dtype=torch.bool)
    for value in ignored:
        counted &= values != value
    largest = (classes or _MOST_CLASSES) - 1
    unknown = values[counted & ((values < 0) | (values > largest))]
    if len(unknown):
        listed = ", ".join(map(str, ignored)) or "none"
        expected = f"expected a class from 0 to {largest}, or an ignored value ({listed}; data.options.ignore_index)"
        raise UserError(f"{place}: has the value {int(unknown.min())}, {expected}")
    return values.masked_fill(~counted, IGNORED).to(torch.uint8)


def _check_sizes(decoded: dict[str, list[tuple[Pair, Decoded]]]) -> None:
    every = [sample for samples in decoded.values() for sample in samples]
    for pair, sample in every:
        if sample.mask.shape != (first := every[0][1].mask.shape):
            got, expected = (f"{width}x{height}" for height, width in (sample.mask.shape, first))
            remedy = "or data.options.shape: [HEIGHT, WIDTH], to which all are resized"
            raise UserError(f"{pair.image}: is {got}, expected the {expected} of the others, {remedy}")


def _stacked(name: str, place: Place, samples: Sequence[tuple[Pair, Decoded]], skipped: Skipped) -> MaskSet:
    if not samples:
        split = "" if name == WHOLE else f" of the split {name}"
        raise UserError(f"data.root: {place} has no images with masks{split} that can be read ({skipped})")
    decoded = [sample for _, sample in samples]
    return MaskSet(torch.stack([sample.image for sample in decoded]), torch.stack([sample.mask for sample in decoded]))


def _numbers(sets: dict[str, MaskSet]) -> tuple[str, ...]:
    counts = [split.masks.flatten().bincount(minlength=IGNORED + 1)[:IGNORED] for split in sets.values()]
    found = torch.stack(counts).sum(dim=0).nonzero()
    if not len(found):
        raise UserError("data.root: all pixels of all masks are ignored, expected classes")
    return tuple(map(str, range(int(found.max()) + 1)))


def _notes(found: dict[str, Found], skipped: Skipped) -> list[str]:
    unpaired = [mask for split in found.values() for mask in split.unpaired]
    notes = [f"{len(unpaired):,} masks without an image are left out ({unpaired[0].name}, ...)"] if unpaired else []
    return [*notes, str(skipped)] if str(skipped) else notes


def _data(
    sets: dict[str, MaskSet],
    names: tuple[str, ...],
    notes: list[str],
    skipped: Skipped,
    test_share: float,
    seed: int,
) -> MaskData:
    validation = sets.get("validation")
    if WHOLE in sets:
        whole = sets[WHOLE]
        try:
            stay, cut = hold_out(whole.labels, test_share, seed=seed)
        except UserError as error:
            raise UserError(f"data.test_share: {error}") from None
        train, test = whole.select(stay), whole.select(cut)
    elif "test" not in sets and validation is not None:
        notes.append("the validation split is the test split, as there is no other")
        train, test, validation = sets["train"], validation, None
    elif "test" not in sets:
        raise UserError("data.root: has no split test, expected test/images and test/masks beside train")
    else:
        train, test = sets["train"], sets["test"]
    statistics = _STATISTICS[train.shape[0]]
    return MaskData("mask_folder", names, train, validation, test, *statistics, tuple(notes), skipped=skipped.lines)
