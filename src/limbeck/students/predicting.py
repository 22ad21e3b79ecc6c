"""Predictions of files by a student, as rows."""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from limbeck.errors import RunError, UserError, shortened
from limbeck.files import expanded
from limbeck.students.loading import load
from limbeck.students.made import Made
from limbeck.students.outputs import Boxes, Maps
from limbeck.students.sources import Found, find_samples
from limbeck.students.student import Student
from limbeck.tasks import MultiLabel, Segmentation

_LIKELY = 0.5


@dataclass(frozen=True)
class Predictions:
    """What a student predicts of files.

    Attributes:
        rows: A mapping for each sample, in their order. Its first entry is ``path``, or ``row`` from 1. Then follow, by
            the task, ``class``, ``probability`` and with ``top_k`` ``top``, a list of mappings of these two;
            ``classes``, those that are more likely than not, and ``probabilities`` of all; ``mask``, the file; or
            ``boxes``, a list of mappings of ``class``, ``probability`` and ``box`` (left, upper, right, lower edge in
            pixels).
        skipped: The samples that were left out, by path, each with the reason.
        others: How many files of the folders are no images.

    Example:
        >>> Predictions([{"path": "a.png", "class": "cat", "probability": 0.9}]).skipped
        {}
    """

    rows: Sequence[Mapping[str, Any]]
    skipped: Mapping[str, str] = field(default_factory=dict)
    others: int = 0


def predict(
    student: Student | str | Path,
    paths: str | Path | Sequence[str | Path],
    *,
    top_k: int | None = None,
    skip_bad: bool = False,
    batch_size: int | None = None,
    out: str | Path | None = None,
    task: str | None = None,
    trust: bool = False,
) -> Predictions:
    r"""Predict files by a student; this is what ``limbeck predict`` calls.

    Args:
        student: A student, its file or the folder of its run.
        paths: Image files and folders of them, which are searched in sorted order; or one file of texts (CSV, TSV,
            JSON, JSONL with the training's columns, or ``.txt`` with one a line) or of rows of a table.
        top_k: How many classes of each sample to return, the most probable first.
        skip_bad: Whether images that cannot be read are left out, instead of being an error.
        batch_size: How many samples to predict at a time; by default what the run was measured with.
        out: For segmentation a new or empty folder for the masks: PNGs of the images' own size, whose values are
            positions in the student's classes.
        task: As for :func:`limbeck.load`.
        trust: As for that.

    Returns:
        The predictions.

    Raises:
        UserError: If something given cannot be used; nothing is written then.

    Example:
        >>> import limbeck, tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> recipe = {"data": {"name": "iris"}, "student": "mlp", "method": "none", "training": {"epochs": 1}}
        >>> student = load(limbeck.run(recipe, out=folder / "run").folder)
        >>> _ = (folder / "new.csv").write_text(",".join(student.about["numeric"]) + "\n5.1,3.5,1.4,0.2\n")
        >>> list(predict(student, folder / "new.csv").rows[0])
        ['row', 'class', 'probability']
    """
    student = student if isinstance(student, Student) else load(student, task=task, trust=trust)
    _check(student, top_k, out)
    found = find_samples(student.needed_preparation(), [paths] if isinstance(paths, str | Path) else paths)
    skipped: dict[int, str] = {}
    batches = student.predictions(found.samples, batch_size=batch_size, skipped=skipped if skip_bad else None)
    if isinstance(student.task, Segmentation):
        assert out is not None
        rows = _masks(student, found, batches, expanded(out))
    else:
        rows = [row for made, predicted in batches for row in _rows(student, found, made, predicted, top_k)]
    if not rows:
        reason = next(iter(skipped.values()), f"there are no {student.needed_preparation().unit}")
        raise UserError(f"paths: got nothing that can be predicted: {reason}")
    return Predictions(rows, {str(found.names[place]): reason for place, reason in skipped.items()}, found.others)


def _check(student: Student, top_k: int | None, out: str | Path | None) -> None:
    segments = isinstance(student.task, Segmentation)
    if segments and out is None:
        raise UserError("out: got none, expected a new folder for the masks (on the command line --out)")
    if not segments and out is not None:
        raise UserError(f"out: got {str(out)!r}, but task {student.task.name!r} has no masks; it is for segmentation")
    if top_k is not None and student.task.name not in ("classification", "multilabel"):
        raise UserError(f"top_k: got {top_k}, but task {student.task.name!r} has no single classes, expected none")
    if top_k is not None and not 1 <= top_k <= len(student.classes):
        raise UserError(f"top_k: got {top_k}, expected 1 to the {len(student.classes)} classes")


def _rows(
    student: Student, found: Found, made: Made, predicted: Tensor | Maps | list[Boxes], top_k: int | None
) -> Iterator[dict[str, Any]]:
    assert not isinstance(predicted, Maps)
    for position, values in zip(made.positions, predicted, strict=True):
        name = {found.column: found.names[position]}
        if isinstance(values, Boxes):
            yield {**name, "boxes": _boxes(student, values)}
        elif top_k is None and isinstance(student.task, MultiLabel):
            yield {**name, **_likely(student, values)}
        else:
            top = _top(student, values, top_k or 1)
            yield {**name, **top[0], **({"top": top} if top_k else {})}


def _top(student: Student, probabilities: Tensor, count: int) -> list[dict[str, Any]]:
    order = probabilities.argsort(descending=True, stable=True)[:count].tolist()
    return [{"class": student.classes[place], "probability": float(probabilities[place])} for place in order]


def _likely(student: Student, probabilities: Tensor) -> dict[str, Any]:
    values = dict(zip(student.classes, probabilities.tolist(), strict=True))
    return {"classes": [name for name, value in values.items() if value > _LIKELY], "probabilities": values}


def _boxes(student: Student, boxes: Boxes) -> list[dict[str, Any]]:
    parts = zip(boxes.boxes.tolist(), boxes.classes.tolist(), boxes.probabilities.tolist(), strict=True)
    return [{"class": student.classes[label], "probability": share, "box": box} for box, label, share in parts]


def _masks(student: Student, found: Found, batches: Iterator[tuple[Made, Any]], folder: Path) -> list[dict[str, Any]]:
    if len(student.classes) > 256:
        raise UserError(f"task 'segmentation': {len(student.classes)} classes, expected at most 256 for PNG masks")
    files = _mask_files(found.samples)
    rows = []
    with _whole_folder(folder) as partial:
        for made, maps in batches:
            for position, classes, size in zip(made.positions, maps.classes, made.sizes, strict=True):
                file = partial / files[position]
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(_in_size(classes, size)).save(file)
                rows.append({found.column: found.names[position], "mask": str(folder / files[position])})
    return rows


def _mask_files(paths: Sequence[Path]) -> list[Path]:
    """Return a file's name for the mask of each image: that of the image below the folder that all have in common."""
    shared = Path(os.path.commonpath([path.absolute().parent for path in paths]))
    files = [path.absolute().relative_to(shared).with_suffix(".png") for path in paths]
    repeated = next((file for place, file in enumerate(files) if file in files[:place]), None)
    if repeated is not None:
        raise UserError(f"paths: two images would have the mask {shortened(str(repeated))}, expected other names")
    return files


def _in_size(classes: Tensor, size: tuple[int, int]) -> np.ndarray[Any, Any]:
    full = F.interpolate(classes[None, None].float(), size=size, mode="nearest-exact")[0, 0]
    values: np.ndarray[Any, Any] = full.to(torch.uint8).numpy()
    return values


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that takes the place of ``folder`` if the block succeeds."""
    shown = shortened(str(folder), 200, quoted=False)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"out: {shown} is there already, expected a new or empty folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.", suffix=".partial") as made:
            whole = Path(made) / "masks"
            whole.mkdir()
            yield whole
            whole.replace(folder)
    except OSError as error:
        raise RunError(f"{shown}: cannot be written ({error.strerror or error})") from None
