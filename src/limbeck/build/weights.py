"""Weights that a recipe names: into a network, checked against what their file records about itself."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from limbeck import models
from limbeck.data import Data
from limbeck.errors import UserError, shortened
from limbeck.files import file_digest
from limbeck.models.checkpoints import read_about
from limbeck.models.factory import named_weights
from limbeck.models.text.hugging_face import weight_files
from limbeck.recipes.data_settings import Normalize
from limbeck.recipes.network_settings import NetworkSettings, NetworkTeacherSettings
from limbeck.validation import validated


def is_trained_here(settings: NetworkSettings) -> bool:
    """Return whether a network is trained by the run: every student, and teachers with ``training``.

    Example:
        >>> is_trained_here(NetworkTeacherSettings(name="resnet8", weights="a.pt"))
        False
    """
    return not isinstance(settings, NetworkTeacherSettings) or settings.training is not None


def library_weights(settings: NetworkSettings) -> str | None:
    """Return the name of timm's or torchvision's own weights, if that is what the recipe gives.

    Example:
        >>> library_weights(NetworkSettings(name="timm:resnet18", weights="DEFAULT"))
        'DEFAULT'
    """
    if settings.weights is None or not named_weights(str(settings.name), settings.weights):
        return None
    return str(settings.weights)


def weights_identity(settings: NetworkSettings) -> str | None:
    """Return what identifies the weights that a recipe names: the hash of the file, or the library's name of them.

    Example:
        >>> weights_identity(NetworkSettings(name="timm:resnet18", weights="DEFAULT"))
        'DEFAULT'
    """
    if files := own_files(settings):
        return " ".join(file_digest(file) for file in files)
    if settings.weights is None or library_weights(settings):
        return library_weights(settings)
    return file_digest(settings.weights)


def own_files(settings: NetworkSettings) -> tuple[Path, ...]:
    """Return the files of the folder that a model of transformers is loaded from; none for other networks.

    Example:
        >>> own_files(NetworkSettings(name="transformers:bert"))
        ()
    """
    source, _, name = str(settings.name).partition(":")
    given = settings.weights is not None and library_weights(settings) is None
    if source != "transformers" or given or not settings.options.get("pretrained", True):
        return ()
    return weight_files(name)


def without_own(settings: NetworkSettings) -> dict[str, Any]:
    """Return the option by which a network of transformers is made without its folder's weights, as a file follows.

    Example:
        >>> without_own(NetworkSettings(name="transformers:bert", weights="bert.safetensors"))
        {'pretrained': False}
    """
    given = settings.weights is not None and library_weights(settings) is None
    return {"pretrained": False} if given and str(settings.name).startswith("transformers:") else {}


def load_given(network: nn.Module, settings: NetworkSettings, data: Data) -> tuple[str, ...]:
    """Load the file that a recipe names into a network.

    Args:
        network: The network, changed in place.
        settings: Its settings, with ``weights``.
        data: The data of the run.

    Returns:
        Lines about what was loaded.

    Raises:
        UserError: If the file cannot be read, is of another network, its classes are others than the data's, or its
            inputs were prepared otherwise.
    """
    assert settings.weights is not None
    about, name, entry = read_about(settings.weights), str(settings.name), settings.weights_entry
    trained = is_trained_here(settings)
    if not trained:
        _check_preparation(about, data)
    # A teacher of other classes has columns for those of the data.
    same = getattr(settings, "classes", None) is not None or _same_classes(about, data, trained=trained)
    try:
        if not trained:
            return models.load_weights(network, settings.weights, name=name, entry=entry)
        classes = len(data.classes)
        return models.load_body(network, settings.weights, num_classes=classes, name=name, entry=entry, keep_head=same)
    except UserError as error:
        raise UserError(f"{error}{_other_network(about, settings)}{_other_outputs(settings)}") from None


def recorded_normalize(settings: NetworkTeacherSettings, data: Data) -> Normalize | None:
    """Return the normalization that a teacher's file records, where the recipe gives none and the data's is another.

    Raises:
        UserError: If what is recorded is no normalization.
    """
    if settings.normalize is not None or settings.training is not None or settings.weights is None:
        return None
    about = read_about(settings.weights)
    if not about.get("mean") or not about.get("std"):
        return None
    values = {key: about[key] for key in ("mean", "std")}
    recorded = validated(Normalize, values, f"{shortened(str(settings.weights))}: its metadata")
    return None if (recorded.mean, recorded.std) == (tuple(data.mean), tuple(data.std)) else recorded


def _same_classes(about: Mapping[str, Any], data: Data, *, trained: bool) -> bool:
    """Return whether a file's head is for the data's classes; it must be unless a new head can be trained."""
    recorded, expected = about.get("classes"), list(data.classes)
    if not isinstance(recorded, list) or not recorded or recorded == expected:
        return True
    if trained and sorted(map(str, recorded)) != sorted(expected):
        return False
    first = next((pair for pair in zip(recorded, expected, strict=False) if pair[0] != pair[1]), None)
    where = f", the first other one {shortened(first[0])} for {shortened(first[1])}" if first else ""
    order = f"expected the {len(expected)} of {data.name} in their order"
    raise UserError(f"weights: the file is for {len(recorded)} classes{where}; {order}")


def _check_preparation(about: Mapping[str, Any], data: Data) -> None:
    """Refuse a network that took inputs prepared otherwise from a table or texts: nothing maps the one to the other."""
    expected = data.preparation
    if "tokenizer" in expected and "tokenizer" in about and _tokens(about) != _tokens(expected):
        got = "weights: the file's network took tokens of another tokenizer"
        raise UserError(f"{got}, expected the same data.options.tokenizer, trained on the same texts if it was trained")
    for key in ("numeric", "categories", "mean", "scale"):
        if "scale" in expected and "scale" in about and about.get(key) != expected[key]:
            got = f"weights: the file's network took inputs of a table with other values of {key!r}"
            raise UserError(f"{got}, expected the same training rows, split and data.options")


def _tokens(preparation: Mapping[str, Any]) -> Any:
    """Return a tokenizer's content without the length that texts are cut to."""
    content = preparation["tokenizer"]
    return {key: value for key, value in content.items() if key != "truncation"} if isinstance(content, dict) else None


def _other_outputs(settings: NetworkSettings) -> str:
    if not isinstance(settings, NetworkTeacherSettings) or settings.classes is None or settings.outputs is not None:
        return ""
    return "; where the file's network has another number of logits: expected it as teacher.outputs"


def _other_network(about: Mapping[str, Any], settings: NetworkSettings) -> str:
    recorded = about.get("name")
    if not isinstance(recorded, str):
        return ""
    same = recorded.lower() == str(settings.name).lower() and about.get("options", {}) == settings.options
    options = f" with the options {shortened(about['options'])}" if about.get("options") else ""
    return "" if same else f"; the file is of {shortened(recorded)}{options}"
