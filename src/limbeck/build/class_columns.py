"""Teachers that were trained on other classes: how many logits they have, and which of them are the data's classes."""

import json
from contextlib import suppress

from limbeck.build.weights import library_weights
from limbeck.data import Data
from limbeck.errors import UserError
from limbeck.models.checkpoints import read_about
from limbeck.models.libraries import recorded_outputs
from limbeck.models.text.hugging_face import model_folder
from limbeck.recipes.network_settings import NetworkSettings, NetworkTeacherSettings
from limbeck.teachers import ClassColumns

_IMAGENET = 1000


def class_columns(settings: NetworkTeacherSettings, data: Data, key: str) -> ClassColumns | None:
    """Return the columns of a teacher's logits that are the data's classes; None for a teacher of these classes.

    Args:
        settings: The network's settings.
        data: The run's data.
        key: The recipe's key of the network, for messages.

    Raises:
        UserError: If a class is unknown or has no column, or a column stands twice.
    """
    if settings.classes is None:
        return None
    try:
        return ClassColumns.named(settings.classes, data.classes)
    except UserError as error:
        raise UserError(f"{key}.classes: {error}") from None


def output_count(settings: NetworkSettings, data: Data) -> int:
    """Return how many logits a network is built with: the data's classes, or those that a teacher's weights are for.

    Raises:
        UserError: If the metadata of its file is damaged.
    """
    if not isinstance(settings, NetworkTeacherSettings) or settings.classes is None:
        return len(data.classes)
    return settings.outputs or _recorded(settings) or _IMAGENET


def _recorded(settings: NetworkTeacherSettings) -> int | None:
    source, _, name = str(settings.name).partition(":")
    named = library_weights(settings) or settings.options.get("pretrained")
    if source in ("timm", "torchvision") and named:
        return recorded_outputs(source, name, named)
    if settings.weights is not None:
        count = read_about(settings.weights).get("num_classes")
        return count if isinstance(count, int) else None
    return _of_folder(name) if source == "transformers" else None


def _of_folder(name: str) -> int | None:
    folder = model_folder(name)
    if folder is None:
        return None
    with suppress(OSError, AttributeError, RecursionError, TypeError, ValueError):
        # What transformers takes for a configuration without labels.
        return len(json.loads((folder / "config.json").read_bytes()).get("id2label", range(2)))
    return None
