"""Classifiers of the library transformers, from a folder or from a type of model."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from limbeck.errors import UserError, one_line, shortened, unknown_name
from limbeck.files import expanded
from limbeck.imports import optional_package
from limbeck.models.options import check_options
from limbeck.reporting import Log, no_log

_CONFIG = "config.json"
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
# What the data decide, and what would make transformers run code or compute in another precision.
_NOT_ACCEPTED = (
    *("num_labels", "id2label", "label2id", "vocab_size", "pad_token_id", "problem_type", "auto_map", "model_type"),
    *("architectures", "quantization_config", "dtype", "torch_dtype", "transformers_version", "use_cache"),
    *("trust_remote_code", "return_dict", "torchscript", "output_hidden_states", "output_attentions"),
)
# Of a stored configuration: what names code or files elsewhere, and what is decided here.
_RUNS_CODE = ("auto_map", "quantization_config", "trust_remote_code", "_name_or_path", "dtype", "torch_dtype")


def model_folder(name: str) -> Path | None:
    """Return the folder with a ``config.json`` that the name of a model of transformers is; None if it is none.

    Args:
        name: The name without ``transformers:``.

    Example:
        >>> model_folder("bert") is None
        True
    """
    folder = expanded(name)
    return folder if (folder / _CONFIG).is_file() else None


def weight_files(name: str) -> tuple[Path, ...]:
    """Return the files that decide a model of transformers from a folder with weights; none if it has no weights.

    Args:
        name: The name without ``transformers:``.

    Example:
        >>> weight_files("bert")
        ()
    """
    folder = model_folder(name)
    if folder is None or not any((folder / file).is_file() for file in _WEIGHTS):
        return ()
    return (folder / _CONFIG, *sorted(folder.glob("model*.safetensors")))


def transformers_model(
    name: str,
    *,
    num_classes: int,
    facts: Mapping[str, object],
    options: Mapping[str, object],
    log: Log = no_log,
) -> nn.Module:
    """Build a text classifier of transformers; nothing is downloaded, and loading runs no code of the folder.

    Args:
        name: A folder with ``config.json``, whose ``model.safetensors`` is loaded if there is one, or a type of model
            such as ``bert``, which gets random weights. The head is new where the folder's has another number of
            classes, or there is none.
        num_classes: Number of logits.
        facts: What the data's texts are: ``vocabulary_size``, ``padding_index`` and ``max_length``.
        options: Values of the model's configuration, such as ``hidden_size``; with ``pretrained: false`` a folder's
            weights are not loaded.
        log: Called with a line where the head is new.

    Returns:
        The model, which takes ``input_ids`` and ``attention_mask`` and returns an object with ``logits``.

    Raises:
        UserError: If transformers is not installed or cannot build the model, there is no such folder or type, an
            option is unknown, or the tokenizer has more tokens than the model's embedding.

    Example:
        >>> facts = {"vocabulary_size": 50, "padding_index": 0, "max_length": 16}
        >>> transformers_model("bert-base-uncased", num_classes=3, facts=facts, options={})
        Traceback (most recent call last):
        limbeck.errors.UserError: model 'transformers:bert-base-uncased': is neither a folder with config.json nor ...
    """
    label = f"transformers:{shortened(name, 200, quoted=False)}"
    vocabulary = facts.get("vocabulary_size")
    if not isinstance(vocabulary, int):
        raise UserError(f"model {label!r}: is for texts, expected one for these inputs")
    settings = dict(options)
    pretrained, folder = settings.pop("pretrained", True), model_folder(name)
    config = _config(name, label, folder, num_classes, facts, settings)
    if folder is None or not pretrained or not weight_files(name):
        if options.get("pretrained") or (folder and pretrained and [*folder.glob("*.bin")]):
            raise UserError(f"model {label!r}: has no model.safetensors, expected one or pretrained: false")
        return _checked(_built(label, config), label, num_classes)
    return _checked(_loaded(label, folder, config, log), label, num_classes)


def recorded_config(network: nn.Module) -> dict[str, Any] | None:
    """Return the configuration of a model of transformers as JSON takes it; None for other networks.

    Example:
        >>> recorded_config(nn.Linear(2, 3)) is None
        True
    """
    config: Any = getattr(network, "config", None)
    if not hasattr(config, "to_json_string"):
        return None
    content: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    # A path of the machine that it was made on.
    content.pop("_name_or_path", None)
    return content


def model_of_config(content: Mapping[str, Any], *, num_classes: int) -> nn.Module:
    """Build a text classifier of transformers, with random weights, from what :func:`recorded_config` returned.

    Args:
        content: The configuration; it names the type of the model, and nothing in it is run.
        num_classes: Number of logits.

    Raises:
        UserError: If transformers is not installed or cannot build the model.

    Example:
        >>> model_of_config({"model_type": "no_such_model"}, num_classes=3)
        Traceback (most recent call last):
        limbeck.errors.UserError: model 'transformers:no_such_model': unknown type of model, expected ...
    """
    library = optional_package("transformers", "text", "a model of transformers")
    name = str(content.get("model_type"))
    label = f"transformers:{shortened(name, quoted=False)}"
    if name not in _types():
        raise UserError(f"model {label!r}: unknown type of model, expected one of this version of transformers")
    values = {key: value for key, value in content.items() if key not in ("model_type", *_RUNS_CODE)}
    config = _guarded(label, lambda: library.AutoConfig.for_model(name, **values))
    return _checked(_built(label, config), label, num_classes)


def _config(
    name: str,
    label: str,
    folder: Path | None,
    num_classes: int,
    facts: Mapping[str, object],
    options: Mapping[str, object],
) -> Any:
    library = optional_package("transformers", "text", "a model of transformers")
    if folder is None:
        if name not in _types():
            raise _no_such_model(name, label)
        config = _guarded(label, lambda: library.AutoConfig.for_model(name))
        decided = {"vocab_size": facts["vocabulary_size"]}
    else:
        config = _guarded(label, lambda: library.AutoConfig.from_pretrained(str(folder), **_LOCAL))
        decided = {}
    accepted = {key for key in config.to_dict() if key[0] != "_"} - {*_NOT_ACCEPTED}
    check_options(label, options, accepted)
    decided |= {"num_labels": num_classes, "pad_token_id": facts["padding_index"], **options}
    _guarded(label, lambda: config.update(decided))
    _check_sizes(config, label, facts)
    return config


_LOCAL: Mapping[str, Any] = {"local_files_only": True, "trust_remote_code": False}


def _types() -> frozenset[str]:
    mapping = optional_package("transformers.models.auto.modeling_auto", "text", "a model of transformers")
    return frozenset(mapping.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES)


def _no_such_model(name: str, label: str) -> UserError:
    if "/" in name or "-" in name or Path(name).is_absolute():
        expected = "is neither a folder with config.json nor a type of model such as bert; nothing is downloaded"
        return UserError(f"model {label!r}: {expected}")
    return unknown_name("type of transformers model (or folder with config.json)", name, _types())


def _check_sizes(config: Any, label: str, facts: Mapping[str, object]) -> None:
    for fact, key, what in (
        ("vocabulary_size", "vocab_size", "tokens of the tokenizer"),
        ("max_length", "max_position_embeddings", "tokens of data.options.max_length"),
    ):
        # Some models have no fixed number of places.
        most, count = getattr(config, key, None), facts.get(fact)
        if isinstance(most, int) and isinstance(count, int) and count > most > 0:
            raise UserError(f"model {label!r}: takes {most:,} ({key}), expected at least the {count:,} {what}")


def _built(label: str, config: Any) -> nn.Module:
    auto = optional_package("transformers", "text", "a model of transformers").AutoModelForSequenceClassification
    model: nn.Module = _guarded(label, lambda: auto.from_config(config, trust_remote_code=False, dtype=torch.float32))
    return model.train()


def _loaded(label: str, folder: Path, config: Any, log: Log) -> nn.Module:
    auto = optional_package("transformers", "text", "a model of transformers").AutoModelForSequenceClassification
    arguments = {"use_safetensors": True, "dtype": torch.float32, "ignore_mismatched_sizes": True, **_LOCAL}
    with _quiet():
        loaded = _guarded(
            label, lambda: auto.from_pretrained(str(folder), config=config, output_loading_info=True, **arguments)
        )
    model: nn.Module = loaded[0]
    mismatched = [key if isinstance(key, str) else key[0] for key in loaded[1]["mismatched_keys"]]
    new = sorted({*loaded[1]["missing_keys"], *mismatched})
    body, every = [key for key in new if _is_body(model, key)], model.state_dict()
    if 2 * len(body) > len(every):
        raise UserError(f"model {label!r}: {len(body)} of {len(every)} tensors are not in its files with their shape")
    if new:
        log(f"{label}: pretrained body; new are {', '.join(new[:4])}{', ...' if len(new) > 4 else ''}")
    return model.train()


def _is_body(model: nn.Module, key: str) -> bool:
    return key.startswith(f"{getattr(model, 'base_model_prefix', '')}.")


def _checked(model: nn.Module, label: str, num_classes: int) -> nn.Module:
    # Some types take their labels from another value of the configuration.
    config: Any = model.config
    if config.num_labels != num_classes:
        raise UserError(f"model {label!r}: has {config.num_labels} classes, expected {num_classes}")
    return model


def _guarded(label: str, work: Any) -> Any:
    try:
        return work()
    except Exception as error:  # a bad value or a damaged file raises no common type
        raise UserError(f"model {label!r} could not be built: {one_line(error)}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from writing tables of new tensors, which are logged in one line here."""
    library = optional_package("transformers.utils.logging", "text", "a model of transformers")
    before, bars = library.get_verbosity(), library.is_progress_bar_enabled()
    library.set_verbosity(logging.ERROR)
    library.disable_progress_bar()
    try:
        yield
    finally:
        library.set_verbosity(before)
        if bars:
            library.enable_progress_bar()
