"""Labeled samples of a data set as a student takes them, its classes matched by name."""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from limbeck.build.data import load_data
from limbeck.data import Data, FolderSet, ImageSet
from limbeck.data.boxes.splits import BoxSet, ImageFile
from limbeck.data.masks.splits import MaskSet
from limbeck.data.text.data import TextData
from limbeck.errors import UserError, shortened
from limbeck.recipes.data_settings import DataSettings
from limbeck.students import Student
from limbeck.students.tables import TablePreparation
from limbeck.students.texts import TextPreparation
from limbeck.tasks import Detection, MultiLabel, Segmentation

SPLITS = ("test", "validation", "train", "all")
_PIXELS = (FolderSet, ImageSet, MaskSet, BoxSet)
_SHOWN = 3


class Labeled(NamedTuple):
    """A batch of labeled samples.

    Attributes:
        inputs: What the network takes.
        targets: The ground truth, by the student's classes.
    """

    inputs: Any
    targets: Any


def parts_of(data: Data, split: str) -> dict[str, Any]:
    """Return the splits of a data set that a name stands for.

    Args:
        data: The data set.
        split: ``"test"``, ``"validation"``, ``"train"``, or ``"all"`` for all that there are.

    Raises:
        UserError: If there is no such split.

    Example:
        >>> from limbeck.data import load
        >>> list(parts_of(load("iris"), "all"))
        ['train', 'test']
    """
    there = {"train": data.train, "validation": data.validation, "test": data.test}
    if split == "all":
        return {name: part for name, part in there.items() if part is not None}
    if split not in there:
        raise UserError(f"split: got {shortened(split)}, expected one of {', '.join(SPLITS)}")
    if there[split] is None:
        raise UserError(f"split: got {split!r}, but {data.name} has none, expected train or test, or data.validation")
    return {split: there[split]}


def sample_names(parts: Mapping[str, Any]) -> list[str | int]:
    """Return a name for each sample of some splits: the path of its file, or its position from 0.

    Example:
        >>> from limbeck.data import load
        >>> sample_names({"test": load("iris").test})[:2]
        [0, 1]
    """
    names: list[str | int] = []
    for name, part in parts.items():
        paths = _paths(part)
        numbers: Sequence[str | int] = [f"{name} {n}" for n in range(len(part))] if len(parts) > 1 else range(len(part))
        names += numbers if paths is None else paths
    return names


def _paths(part: Any) -> list[str] | None:
    if isinstance(part, FolderSet):
        return [str(path) for path in part.paths]
    if isinstance(part, BoxSet) and all(isinstance(image, ImageFile) for image in part.images):
        return [str(image.path) for image in part.images if isinstance(image, ImageFile)]
    return None


def data_for(student: Student, settings: DataSettings, *, own: bool) -> Data:
    """Load a data set for a student: texts and tables with the tokenizer or the numbers that the student records.

    Args:
        student: The student.
        settings: The data.
        own: Whether these are the data that it was trained on, which are loaded as they were then.

    Raises:
        UserError: If they cannot be loaded, or are of another kind than the student's.
    """
    settings = settings.model_copy(update={"unlabeled": None})
    if own:
        return load_data(settings)
    if isinstance(student.preparation, TablePreparation):
        fitted = student.preparation.fitted.as_json()
        return load_data(_with_options(settings, {"preparation": fitted}))
    if isinstance(student.preparation, TextPreparation):
        with _tokenizer_folder(student.preparation) as folder:
            record = student.preparation.record
            given: dict[str, Any] = {"tokenizer": str(folder)}
            given |= {"max_length": record.max_length, "padding": record.padding}
            given |= {"pair": record.pair} if record.pair is not None and "pair" not in settings.options else {}
            return load_data(_with_options(settings, given))
    return load_data(settings)


def _with_options(settings: DataSettings, options: Mapping[str, Any]) -> DataSettings:
    return settings.model_copy(update={"options": {**settings.options, **options}})


@contextmanager
def _tokenizer_folder(preparation: TextPreparation) -> Iterator[Path]:
    padding = preparation.tokenizer.backend.id_to_token(preparation.record.padding_index)
    with tempfile.TemporaryDirectory(prefix="limbeck-tokenizer-") as made:
        folder = Path(made)
        (folder / "tokenizer.json").write_text(json.dumps(preparation.record.tokenizer), encoding="utf-8")
        (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": padding}), encoding="utf-8")
        yield folder


def labeled_batches(student: Student, data: Data, part: Any, batch_size: int | None = None) -> Iterator[Labeled]:
    """Yield the samples of a split as a student takes them; images are prepared as its file records.

    Args:
        student: The student.
        data: The data set.
        part: One of its splits.
        batch_size: How many samples a batch has; by default what the run was measured with.

    Raises:
        UserError: If the data are of another kind, have a class that the student lacks, or a sample cannot be read.
    """
    size = batch_size or student.computing.batch_size
    _check_kind(student, data, part)
    columns = class_positions(student, data)
    if isinstance(part, _PIXELS) and student.preparation is not None:
        yield from _of_images(student, part, size, columns)
        return
    for batch in data.batches(part, batch_size=size).epoch(0):
        yield Labeled(batch.inputs, _matched(batch.targets, student, columns))


def _check_kind(student: Student, data: Data, part: Any) -> None:
    """Check that data are of a student's kind; of one whose inputs the data's own code made, anything may be."""
    if student.preparation is None:
        return
    unit = student.preparation.unit
    kind = "texts" if isinstance(data, TextData) else "images" if isinstance(part, _PIXELS) else "rows"
    if kind != unit:
        raise UserError(f"data: got {data.name}, which has {data.form}, expected {unit}")


def _of_images(student: Student, part: Any, size: int, columns: Tensor | None) -> Iterator[Labeled]:
    student.task.check_targets(_truth(part, torch.arange(min(len(part), 8))), "the data")
    for made in student.batches(_raw(part), batch_size=size):
        targets = _matched(_truth(part, torch.tensor(made.positions)), student, columns)
        yield Labeled(made.inputs, targets)


def _raw(part: Any) -> Any:
    if isinstance(part, FolderSet):
        return list(part.paths)
    if isinstance(part, BoxSet):
        return [image.path if isinstance(image, ImageFile) else image for image in part.images]
    return part.images


def _truth(part: Any, rows: Tensor) -> Any:
    if isinstance(part, MaskSet):
        return part.masks[rows].long()
    return [part.targets[row] for row in rows.tolist()] if isinstance(part, BoxSet) else part.labels[rows]


def in_data_pixels(output: Any, inputs: Any, part: Any, start: int) -> Any:
    """Scale the boxes that a detector found from the images that it took to those of the data.

    Args:
        output: What it returned, for each image ``boxes`` and more.
        inputs: Its inputs.
        part: The split; anything but images with boxes is left alone.
        start: The position of the first image.
    """
    if not isinstance(part, BoxSet):
        return output
    scaled = []
    for number, (found, image) in enumerate(zip(output, inputs["images"], strict=True), start):
        height, width = part.size(number)
        down, across = height / image.shape[1], width / image.shape[2]
        scaled.append({**found, "boxes": found["boxes"] * torch.tensor([across, down, across, down])})
    return scaled


def class_positions(student: Student, data: Data) -> Tensor | None:
    """Return the position of each of the data's classes among the student's, by name; None where they are the same.

    Raises:
        UserError: If a class of the data is none of the student's.
    """
    if tuple(data.classes) == student.classes:
        return None
    places = {name: place for place, name in enumerate(student.classes)}
    missing = [name for name in data.classes if name not in places]
    if missing:
        shown = ", ".join(shortened(name, 40) for name in missing[:_SHOWN])
        known = ", ".join(shortened(name, 40) for name in student.classes[:_SHOWN])
        got = f"data: {data.name} has {len(missing)} classes that the student lacks ({shown}{_more(missing)})"
        raise UserError(f"{got}, expected some of its {len(student.classes)} ({known}{_more(student.classes)})")
    return torch.tensor([places[name] for name in data.classes])


def _more(names: Sequence[str]) -> str:
    return ", ..." if len(names) > _SHOWN else ""


def _matched(targets: Any, student: Student, columns: Tensor | None) -> Any:
    """Return ground truth by the student's classes."""
    if columns is None:
        return targets
    if isinstance(student.task, Detection):
        return [{**target, "labels": columns[target["labels"] - 1] + 1} for target in targets]
    if isinstance(student.task, MultiLabel):
        whole = torch.full((len(targets), len(student.classes)), -1, dtype=targets.dtype)
        whole[:, columns] = targets
        return whole
    ignored = student.task.ignore_index if isinstance(student.task, Segmentation) else -100
    counted = (targets != ignored) & (targets >= 0) & (targets < len(columns))
    return torch.where(counted, columns[torch.where(counted, targets, 0)], targets)
