"""The network of a student's file: built by its name, without downloads, and filled with the file's weights."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from limbeck import models
from limbeck.errors import UserError, shortened
from limbeck.imports import PREFIX, check_trusted
from limbeck.models.text.hugging_face import model_folder, model_of_config
from limbeck.students.record import Record, facts_of

# torchvision sets these beside its own weights, on which the network then depends.
_TRANSFORMING = ("torchvision:googlenet", "torchvision:inception_v3")

# Facts that are widths of layers.
_SIZES = ("in_channels", "in_features", "vocabulary")


def load_network(file: Path, record: Record, about: dict[str, Any]) -> nn.Module:
    """Build the network of a student's file, and load its weights.

    Args:
        file: The file.
        record: What it records; its code has been checked by :func:`check_code`.
        about: Everything that it records.

    Returns:
        The network, on the CPU, in eval mode.

    Raises:
        UserError: If it cannot be built, or the weights are not its own.
    """
    try:
        network = _built(record, about)
    except UserError as error:
        raise UserError(f"{_shown(file)}: {error}") from None
    models.load_weights(network, file, name=record.name)
    return network.eval()


def check_code(file: Path, record: Record, *, trust: bool) -> None:
    """Refuse a file that names code of a user's own, unless that is trusted; see :mod:`limbeck.recipes.trust`.

    Such a name is allowed where its module and the file lie in the current working folder.

    Args:
        file: The file.
        record: What it records.
        trust: Whether any code may be run.

    Raises:
        UserError: If it names other code.
    """
    if trust:
        return
    here = file.resolve().is_relative_to(Path.cwd().resolve())
    for key, name in _code_names(record):
        check_trusted(f"{_shown(file)}: {key}", name, chosen_here=here, holder="student's file")


def _code_names(record: Record) -> Iterator[tuple[str, str]]:
    named = {"name": record.name, "task": record.task.name if record.task else "", **record.options}
    yield from ((key, name) for key, name in named.items() if isinstance(name, str) and name.startswith(PREFIX))


def _built(record: Record, about: dict[str, Any]) -> nn.Module:
    source, _, rest = record.name.partition(":")
    outputs = record.outputs or record.num_classes
    if source == "sklearn":
        raise UserError(f"{record.name}: is an estimator, which has a file of its own, expected a network")
    if source == "transformers":
        if record.config is not None:
            return model_of_config(record.config, num_classes=outputs)
        if model_folder(rest) is None and Path(rest).is_absolute():
            got = f"its metadata has no configuration of {record.name}, and there is no such folder"
            raise UserError(f"{got}; expected a student of this version, or that folder with config.json")
    options, facts = _options(record), facts_of(record, about)
    if taken := sorted(options.keys() & {"name", "num_classes", "facts"}):
        raise UserError(f"options: got {taken[0]!r}, which is no option of a network")
    sizes = {key: value for key, value in facts.items() if key in _SIZES and isinstance(value, int)}
    if small := [key for key, value in sizes.items() if value < 1]:
        raise UserError(f"{small[0]}: got {facts[small[0]]}, expected a whole number of at least 1")
    return models.create(record.name, num_classes=outputs, facts=facts, **options)


def _options(record: Record) -> dict[str, Any]:
    """Return a network's options such that it is built as it was, and nothing is downloaded."""
    options = {key: value for key, value in record.options.items() if key != "pretrained"}
    source = record.name.partition(":")[0]
    if source == "transformers":
        return {**options, "pretrained": False}
    if source != "torchvision" or not record.pretrained:
        # A registered network or a user's own may have an option of that name.
        own = {key: value for key, value in record.options.items() if key == "pretrained" and source != "timm"}
        return options if source == "torchvision" else {**options, **own}
    if record.name in _TRANSFORMING:
        return {"transform_input": True, **options}
    return _as_with_weights(record.name, options)


def _as_with_weights(name: str, options: dict[str, Any]) -> dict[str, Any]:
    from torchvision import models as library

    home = library.get_model_builder(name.partition(":")[2]).__module__
    if home.startswith("torchvision.models.detection"):
        got = f"{name} was built with torchvision's weights, which decide its layers"
        raise UserError(f"{got}; it cannot be built without downloading them, use torchvision itself")
    return {"aux_loss": True, **options} if home.startswith("torchvision.models.segmentation") else options


def _shown(file: Path) -> str:
    return shortened(str(file), 200, quoted=False)
