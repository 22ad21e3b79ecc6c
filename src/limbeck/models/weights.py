"""Weights into a model: all of them, or the body alone beside a new head."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from limbeck.errors import UserError, shortened
from limbeck.models.checkpoints import read_checkpoint
from limbeck.models.heads import head_name

# What wrappers, and the modules of training frameworks, put in front of a network's own names.
_WRAPPERS = re.compile(r"^(?:(?:module|_orig_mod|model|student)\.)+")
# How the knowledge-distillation benchmark's and torchvision's files call layers that the zoo calls otherwise.
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
        What should be known about the choice of the weights, in lines.

    Raises:
        UserError: If the file is missing, unreadable or holds anything that would run code, or if its keys, shapes or
            kinds of numbers differ from the model's.

    Example:
        >>> import tempfile
        >>> one, other = nn.Linear(2, 3), nn.Linear(2, 3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save({"state_dict": one.state_dict()}, f"{folder}/net.pt")
        ...     load_weights(other, f"{folder}/net.pt")
        ()
        >>> bool((one.weight == other.weight).all())
        True
    """
    label = _label(name, path)
    found = read_checkpoint(Path(path).expanduser(), label, entry=entry)
    expected = model.state_dict()
    given, notes = _fitting(found.tensors, expected, label)
    _load(model, given, expected, label)
    return (*found.notes, *notes)


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
        Which tensors are new, and what else should be known, in lines.

    Raises:
        UserError: As for :func:`load_weights`, and if fewer than half of the body's tensors are in the file.

    Example:
        >>> import tempfile
        >>> one = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 3))
        >>> other = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 5))
        >>> path = Path(tempfile.mkdtemp()) / "net.pt"
        >>> torch.save(one.state_dict(), path)
        >>> load_body(other, path, num_classes=5)[0].partition("': ")[2]
        'pretrained body: 2 of 4 tensors loaded; 2 new (1.weight, 1.bias); 2 unused (1.weight, 1.bias)'
    """
    label = _label(name, path)
    found = read_checkpoint(Path(path).expanduser(), label, entry=entry)
    notes = load_body_tensors(model, found.tensors, label, num_classes=num_classes, keep_head=keep_head)
    return (*found.notes, *notes)


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
    given = _renamed(tensors, expected)
    if keep_head and all(key in given and given[key].shape == value.shape for key, value in top.items()):
        given, notes = _fitting(tensors, expected, label)
        _load(model, given, expected, label)
        return notes
    body = [key for key in expected if key not in top and not _is_counter(key)]
    fitting = {k: v for k, v in given.items() if k in expected and k not in top and v.shape == expected[k].shape}
    loaded = [key for key in body if key in fitting]
    if not loaded or 2 * len(loaded) < len(body):
        raise UserError(
            f"{label}: {len(loaded)} of the {len(body)} tensors of the network's body are in the file with their shape,"
            " expected at least half of them"
        )
    _load(model, {**expected, **fitting}, expected, label)
    new = [key for key in expected if key not in fitting and not _is_counter(key)]
    unused = [key for key in given if key not in fitting]
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


def _label(name: str, path: str | Path) -> str:
    return f"{name} weights {shortened(str(path), 200)}"


def _is_counter(key: str) -> bool:
    # Files older than torch 0.4.1 have none, and no figure depends on it.
    return key.endswith("num_batches_tracked")


def _fitting(
    tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], label: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the tensors by the model's names, without what a training framework keeps beside the network."""
    given = _renamed(tensors, expected)
    beside = [key for key in given if key not in expected and key in tensors and not _WRAPPERS.match(key)]
    wrapped = all(_WRAPPERS.match(key) for key in tensors if key not in beside)
    if not beside or not wrapped or any(key not in given for key in expected if not _is_counter(key)):
        return given, ()
    kept = {key: value for key, value in given.items() if key not in beside}
    return kept, (f"{label}: {_listed('left out beside the network', beside)}",)


def _load(model: nn.Module, given: dict[str, Tensor], expected: Mapping[str, Tensor], label: str) -> None:
    _check_keys(given, expected, label)
    for key, value in given.items():
        _check_value(key, value, expected[key], label)
    # A plain dict lets batch norms without a counter of batches (files older than torch 0.4.1) keep their own.
    model.load_state_dict(given)


def _renamed(given: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Call each tensor as the model does, where its name shows which it is."""
    bare = {_WRAPPERS.sub("", key): key for key in expected}
    renamed = {key: value for key, value in given.items() if key in expected}
    for key in [key for key in given if key not in expected]:
        name = _name(key, bare)
        # Two tensors under one name would hide one of them; under its own name it is reported as unexpected.
        renamed[key if name in renamed else name] = given[key]
    return renamed


def _name(key: str, bare: Mapping[str, str]) -> str:
    stripped = respelled = _WRAPPERS.sub("", key)
    for theirs, ours in _SPELLINGS:
        respelled = respelled.replace(theirs, ours)
    return bare.get(stripped) or bare.get(respelled) or stripped


def _check_keys(given: Mapping[str, Tensor], expected: Mapping[str, Tensor], label: str) -> None:
    missing = [key for key in expected if key not in given and not _is_counter(key)]
    unexpected = [key for key in given if key not in expected]
    parts = [_listed("missing", missing), _listed("unexpected", unexpected)]
    if missing or unexpected:
        raise UserError(f"{label}: the keys are not this model's: {'; '.join(part for part in parts if part)}")


def _listed(kind: str, keys: list[str]) -> str:
    more = ", ..." if len(keys) > 3 else ""
    first = ", ".join(shortened(key, quoted=False) for key in keys[:3])
    return f"{len(keys)} {kind} ({first}{more})" if keys else ""


def _check_value(key: str, value: Tensor, wanted: Tensor, label: str) -> None:
    if value.is_meta or value.layout is not torch.strided:
        kind = "no values (a meta tensor)" if value.is_meta else f"the layout {value.layout}"
        raise UserError(f"{label}: {key} has {kind} in the file, expected a dense tensor")
    if value.shape != wanted.shape:
        raise UserError(
            f"{label}: {key} has shape {tuple(value.shape)} in the file, {tuple(wanted.shape)} in the model"
        )
    if value.is_floating_point() != wanted.is_floating_point():
        raise UserError(f"{label}: {key} is {value.dtype} in the file, {wanted.dtype} in the model")
