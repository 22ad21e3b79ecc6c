"""What a student's file records about itself, checked."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from safetensors import SafetensorError, safe_open

from limbeck.errors import UserError, shortened
from limbeck.files import expanded
from limbeck.models.checkpoints import read_about
from limbeck.validation import Settings, validated

FILE = "student.safetensors"
_ENDING = ".safetensors"
Count = Annotated[int, Field(ge=1)]
# What networks were made for, in files of versions that had no entry ``facts``.
_FORMER_FACTS = ("in_channels", "vocabulary_size", "padding_index", "max_length", "in_features", "length")


class TaskRecord(Settings):
    """The task that a student was trained for: its name, and the arguments of its class.

    Example:
        >>> TaskRecord(name="segmentation", options={"ignore_index": 11}).name
        'segmentation'
    """

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


class ComputingRecord(Settings):
    """How a student was measured: in which precision, memory format and batches.

    Example:
        >>> ComputingRecord().precision
        'fp32'
    """

    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    channels_last: bool = False
    batch_size: Count = 500


class Record(Settings):
    """The metadata of a student's file, but for those of its preparation.

    Attributes:
        name: The network's name.
        options: The network's own options.
        num_classes: Number of classes.
        outputs: Number of logits that the network is built with; None for as many.
        classes: The class names.
        facts: What else the network is built for, such as ``in_channels``; None in files of earlier versions.
        pretrained: Whether the network was built with weights of its library, or which.
        config: The configuration of a model of transformers.
        task: What it was trained for; None in files of earlier versions.
        kind: What the raw samples are; None where the data's own code made the inputs, and in earlier files.
        data: The data's name.
        temperature: What logits are divided by before they become probabilities.
        computing: How it was measured; None in files of earlier versions.

    Example:
        >>> Record(name="resnet8", num_classes=2, classes=("cat", "dog")).temperature
        1.0
    """

    model_config = ConfigDict(extra="ignore")

    name: str
    options: dict[str, Any] = Field(default_factory=dict)
    num_classes: Count
    outputs: Count | None = None
    classes: tuple[str, ...]
    facts: dict[str, Any] | None = None
    pretrained: bool | str = False
    config: dict[str, Any] | None = None
    task: TaskRecord | None = None
    kind: str | None = None
    data: str | None = None
    temperature: Annotated[float, Field(gt=0)] = 1.0
    computing: ComputingRecord | None = None


def student_file(path: str | Path) -> Path:
    """Return the file of a student: the path itself, or ``student.safetensors`` in a run's folder.

    Raises:
        UserError: If there is none, or it is no safetensors file.

    Example:
        >>> student_file("nowhere")
        Traceback (most recent call last):
        limbeck.errors.UserError: nowhere: does not exist, expected student.safetensors or the folder of a run
    """
    given = expanded(path)
    shown = shortened(str(given), 200, quoted=False)
    if given.is_dir():
        given /= FILE
        if not given.is_file():
            raise UserError(f"{shown}: holds no {FILE}, expected the folder of a complete run")
    elif not given.is_file():
        raise UserError(f"{shown}: does not exist, expected {FILE} or the folder of a run")
    if given.suffix != _ENDING:
        raise UserError(f"{shown}: is no {_ENDING} file, expected {FILE} or the folder of a run")
    return given


def read_record(file: Path) -> tuple[Record, dict[str, Any]]:
    """Read what a student's file records about itself; this runs no code of the file.

    Returns:
        The checked part, and everything as it is there.

    Raises:
        UserError: If the file is damaged, is none of limbeck's, or lacks an entry.
    """
    shown = shortened(str(file), 200, quoted=False)
    try:
        with safe_open(file, "pt"):
            pass
    except (SafetensorError, OSError) as error:
        reason = shortened(" ".join(str(error).split()), 200, quoted=False)
        raise UserError(f"{shown}: not a readable safetensors file ({reason}), expected {FILE} of a run") from None
    about = read_about(file)
    if not about:
        raise UserError(f"{shown}: has no metadata of limbeck, expected {FILE} of a run; weights alone name no network")
    record = validated(Record, about, f"{shown}: its metadata")
    if len(record.classes) != record.num_classes:
        got = f"its metadata has {len(record.classes)} classes, and num_classes {record.num_classes}"
        raise UserError(f"{shown}: {got}, expected as many")
    return record, about


def facts_of(record: Record, about: dict[str, Any]) -> dict[str, Any]:
    """Return what a network was built for beside its number of classes, such as ``in_channels``.

    Example:
        >>> record = Record(name="resnet8", num_classes=2, classes=("cat", "dog"))
        >>> facts_of(record, {"name": "resnet8", "in_channels": 3})
        {'in_channels': 3}
    """
    if record.facts is not None:
        return record.facts
    return {key: about[key] for key in _FORMER_FACTS if key in about}
