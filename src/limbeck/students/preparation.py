"""The preparation that a student's file describes, by the kind of its samples."""

from collections.abc import Mapping
from typing import Any

from limbeck.errors import UserError, shortened
from limbeck.students.boxes import BoxPreparation
from limbeck.students.images import ImagePreparation
from limbeck.students.made import Preparation
from limbeck.students.masks import MaskPreparation
from limbeck.students.tables import TablePreparation
from limbeck.students.texts import TextPreparation

KINDS = ("images", "masks", "boxes", "texts", "table")


def preparation_of(
    kind: str | None, about: Mapping[str, Any], where: str, *, channels_last: bool = False
) -> Preparation | None:
    """Make the preparation that a file's metadata describe; None where the data's own code made the inputs.

    Args:
        kind: What the raw samples are, one of :data:`KINDS`, or None.
        about: The metadata.
        where: What to begin the line of an error with.
        channels_last: Whether images are in that memory format.

    Raises:
        UserError: If an entry is missing or damaged, or the kind is unknown.

    Example:
        >>> about = {"mean": [0.5], "std": [0.5], "input_shape": [1, 28, 28], "reduced": False}
        >>> preparation_of("images", about, "student.safetensors").unit
        'images'
    """
    if kind is None:
        return None
    if kind == "images":
        return ImagePreparation.of(about, where, channels_last=channels_last)
    if kind == "masks":
        return MaskPreparation.of(about, where, channels_last=channels_last)
    if kind == "boxes":
        return BoxPreparation.of(about, where)
    if kind == "texts":
        return TextPreparation.of(about, where)
    if kind == "table":
        return TablePreparation.of(about, where)
    raise UserError(f"{where}: kind: got {shortened(kind)}, expected one of {', '.join(KINDS)}")


def former_kind(about: Mapping[str, Any], task: str) -> str | None:
    """Return the kind of samples of a file that an earlier version wrote, from what it records.

    Args:
        about: The metadata.
        task: The name of its task.

    Example:
        >>> former_kind({"mean": [0.5], "std": [0.5]}, "segmentation"), former_kind({}, "classification")
        ('masks', None)
    """
    if "tokenizer" in about:
        return "texts"
    if "scale" in about:
        return "table"
    if task == "detection":
        return "boxes"
    if about.get("mean") and about.get("std"):
        return "masks" if task == "segmentation" else "images"
    return None
