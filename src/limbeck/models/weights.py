"""Weights into a model: all of them, or the body alone beside a new head."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from limbeck.errors import UserError, shortened
from limbeck.files import expanded
from limbeck.models.checkpoints import Checkpoint, read_checkpoint
from limbeck.models.heads import head_name

# What wrappers, and the modules of training frameworks, put in front of a network's own names.
_WRAPPERS = re.compile(r"^(?:(?:module|_orig_mod|model|student)\.)+")
# Names of layers in the knowledge-distillation benchmark's and torchvision's files, and in the zoo.
_SPELLINGS = (
    ("downsample.", "shortcut."),
    ("convShortcut.", "shortcut."),
    (".layer.", "."),
    # torchvision's own files of DenseNet are older than its names.
    ("norm.1.", "norm1."),
    ("norm.2.", "norm2."),
    ("conv.1.", "conv1."),
    ("conv.2.", "conv2."),
    ("linear.", "fc."),
    ("classifier.0.", "fc."),
    ("classifier.", "fc."),
)


def load_weights(
    model: nn.Module, path: str | Path, *, name: str = "model", entry: str | None = None
) -> tuple[str, ...]:
    """Load a file's tensors into a model, all of them or none.

    Half-precision values take the model's own precision. The prefixes ``module.``, ``_orig_mod.``, ``model.`` and
    ``student.`` do not matter, nor do the knowledge-distillation benchmark's own names for layers of the zoo.

    Args:
        model: The model, changed in place.
        path: A ``.safetensors`` file, or one written by ``torch.save`` that holds a state dict, plain or beside other
            things, as the training scripts of Lightning, timm and torchvision write it; see
            :func:`limbeck.models.checkpoints.read_checkpoint`.
        name: What to call the model in messages, such as ``"teacher"``.
        entry: The key of the weights within the file, such as ``"model_ema"``; found by itself but for averaged ones.

    Returns:
        Remarks on the choice of the weights, in lines.

    Raises:
        UserError: If the file is missing, unreadable or holds anything that would run code, or if its keys, shapes or
            kinds of numbers differ from the model's.

    Example:
        >>> import tempfile
        >>> source, target = nn.Linear(2, 3), nn.Linear(2, 3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save({"state_dict": source.state_dict()}, f"{folder}/net.pt")
        ...     load_weights(target, f"{folder}/net.pt")
        ()
        >>> bool((source.weight == target.weight).all())
        True
    """
    label, checkpoint = _read(name, path, entry)
    return (*checkpoint.notes, *_load_all(model, checkpoint.tensors, label))


def load_body(
    model: nn.Module,
    path: str | Path,
    *,
    num_classes: int,
    name: str = "model",
    entry: str | None = None,
    keep_head: bool = True,
) -> tuple[str, ...]:
    """Load a file's tensors into a model that is trained further, without the head where that is another one.

    Args:
        model: The model, changed in place.
        path: As for :func:`load_weights`.
        num_classes: Number of the model's logits.
        name: As for :func:`load_weights`.
        entry: As for :func:`load_weights`.
        keep_head: Whether a head that fits is loaded too.

    Returns:
        Which tensors are new, and remarks on the choice of the weights, in lines.

    Raises:
        UserError: As for :func:`load_weights`, and if fewer than half of the body's tensors are in the file.

    Example:
        >>> import tempfile
        >>> source = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 3))
        >>> target = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 5))
        >>> path = Path(tempfile.mkdtemp()) / "net.pt"
        >>> torch.save(source.state_dict(), path)
        >>> load_body(target, path, num_classes=5)[0].partition("': ")[2]
        'pretrained body: 2 of 4 tensors loaded; 2 new (1.weight, 1.bias); 2 unused (1.weight, 1.bias)'
    """
    label, checkpoint = _read(name, path, entry)
    notes = load_body_tensors(model, checkpoint.tensors, label, num_classes=num_classes, keep_head=keep_head)
    return (*checkpoint.notes, *notes)


def load_body_tensors(
    model: nn.Module, tensors: Mapping[str, Tensor], label: str, *, num_classes: int, keep_head: bool = True
) -> tuple[str, ...]:
    """Do what :func:`load_body` does with tensors that are at hand.

    Args:
        model: The model, changed in place.
        tensors: Names to tensors.
        label: What to call them in messages.
        num_classes: Number of the model's logits.
        keep_head: Whether a head that fits is loaded too.

    Returns:
        Lines, as :func:`load_body`.

    Raises:
        UserError: As for :func:`load_body`.

    Example:
        >>> net = nn.Linear(2, 3)
        >>> load_body_tensors(net, net.state_dict(), "weights", num_classes=3)
        ()
    """
    expected = model.state_dict()
    top = _head(model, num_classes)
    renamed = _renamed(tensors, expected)
    if keep_head and all(key in renamed and renamed[key].shape == value.shape for key, value in top.items()):
        return _load_all(model, tensors, label)
    body = [key for key in expected if key not in top and not _is_counter(key)]
    fitting = {k: v for k, v in renamed.items() if k in expected and k not in top and v.shape == expected[k].shape}
    loaded = [key for key in body if key in fitting]
    if not loaded or 2 * len(loaded) < len(body):
        raise UserError(
            f"{label}: {len(loaded)} of the {len(body)} tensors of the network's body are in the file with their shape,"
            " expected at least half of them"
        )
    _load(model, {**expected, **fitting}, expected, label)
    new = [key for key in expected if key not in fitting and not _is_counter(key)]
    unused = [key for key in renamed if key not in fitting]
    parts = [f"pretrained body: {len(loaded)} of {len(loaded) + len(new)} tensors loaded"]
    parts += [_listed("new", new), _listed("unused", unused)]
    return (f"{label}: {'; '.join(part for part in parts if part)}",)


def _head(model: nn.Module, num_classes: int) -> dict[str, Tensor]:
    """Return the tensors of the layer that makes the logits; none where no such layer is found."""
    try:
        prefix = head_name(model, num_classes)
    except UserError:
        return {}
    return {key: value for key, value in model.state_dict().items() if not prefix or key.startswith(f"{prefix}.")}


def _read(name: str, path: str | Path, entry: str | None) -> tuple[str, Checkpoint]:
    label = f"{name} weights {shortened(str(path), 200)}"
    return label, read_checkpoint(expanded(path), label, entry=entry)


def _load_all(model: nn.Module, tensors: Mapping[str, Tensor], label: str) -> tuple[str, ...]:
    expected = model.state_dict()
    fitting, notes = _fitting(tensors, expected, label)
    _load(model, fitting, expected, label)
    return notes


def _is_counter(key: str) -> bool:
    # Files older than torch 0.4.1 have none, and no figure depends on it.
    return key.endswith("num_batches_tracked")


def _fitting(
    tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], label: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the tensors by the model's names, without what a training framework keeps beside the network."""
    renamed = _renamed(tensors, expected)
    beside = [key for key in renamed if key not in expected and key in tensors and not _WRAPPERS.match(key)]
    wrapped = all(_WRAPPERS.match(key) for key in tensors if key not in beside)
    if not beside or not wrapped or any(key not in renamed for key in expected if not _is_counter(key)):
        return renamed, ()
    fitting = {key: value for key, value in renamed.items() if key not in beside}
    return fitting, (f"{label}: {_listed('left out beside the network', beside)}",)


def _load(model: nn.Module, tensors: dict[str, Tensor], expected: Mapping[str, Tensor], label: str) -> None:
    _check_keys(tensors, expected, label)
    for key, value in tensors.items():
        _check_value(key, value, expected[key], label)
    # A plain dict lets batch norms without a counter of batches (files older than torch 0.4.1) keep their own.
    model.load_state_dict(tensors)


def _renamed(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give each tensor the model's name, where its name shows which it is."""
    bare = {_WRAPPERS.sub("", key): key for key in expected}
    renamed = {key: value for key, value in tensors.items() if key in expected}
    for key in [key for key in tensors if key not in expected]:
        name = _name(key, bare)
        # Two tensors under one name would hide one of them; under its own name it is reported as unexpected.
        renamed[key if name in renamed else name] = tensors[key]
    return renamed


def _name(key: str, bare: Mapping[str, str]) -> str:
    stripped = respelled = _WRAPPERS.sub("", key)
    for theirs, ours in _SPELLINGS:
        respelled = respelled.replace(theirs, ours)
    return bare.get(stripped) or bare.get(respelled) or stripped


def _check_keys(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], label: str) -> None:
    missing = [key for key in expected if key not in tensors and not _is_counter(key)]
    unexpected = [key for key in tensors if key not in expected]
    parts = [_listed("missing", missing), _listed("unexpected", unexpected)]
    if missing or unexpected:
        raise UserError(f"{label}: the keys are not this model's: {'; '.join(part for part in parts if part)}")


def _listed(kind: str, keys: list[str]) -> str:
    more = ", ..." if len(keys) > 3 else ""
    first = ", ".join(shortened(key, quoted=False) for key in keys[:3])
    return f"{len(keys)} {kind} ({first}{more})" if keys else ""


def _check_value(key: str, value: Tensor, expected: Tensor, label: str) -> None:
    if value.is_meta or value.layout is not torch.strided:
        kind = "no values (a meta tensor)" if value.is_meta else f"the layout {value.layout}"
        raise UserError(f"{label}: {key} has {kind} in the file, expected a dense tensor")
    if value.shape != expected.shape:
        shapes = f"{tuple(value.shape)} in the file, {tuple(expected.shape)} in the model"
        raise UserError(f"{label}: {key} has shape {shapes}")
    if value.is_floating_point() != expected.is_floating_point():
        raise UserError(f"{label}: {key} is {value.dtype} in the file, {expected.dtype} in the model")
    if value.is_floating_point() and value.isnan().any():
        raise UserError(f"{label}: {key} holds nan in the file, expected the weights of a training that went well")
