"""Weights from a file into a model, without running any code of the file."""

import pickle
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.serialization import safe_globals

from limbeck.errors import UserError

_NESTS = ("state_dict", "model", "student", "net")
_WRAPPERS = re.compile(r"^(?:module\.|_orig_mod\.)+")
# How the knowledge-distillation benchmark's and torchvision's files call layers that the zoo calls otherwise.
_SPELLINGS = (
    ("downsample.", "shortcut."),
    ("convShortcut.", "shortcut."),
    (".layer.", "."),
    ("linear.", "fc."),
    ("classifier.0.", "fc."),
    ("classifier.", "fc."),
)
# What the two readers raise for files that are damaged, unsafe or of another format.
_UNREADABLE = (
    pickle.UnpicklingError,
    SafetensorError,
    struct.error,
    RuntimeError,
    EOFError,
    OSError,
    LookupError,
    ValueError,
    TypeError,
)
# Checkpoints often hold an accuracy as a NumPy scalar beside the weights: plain numbers, under NumPy 1's and 2's name.
_SCALAR: Any = np.float64(0).__reduce__()[0]
_HARMLESS: tuple[Any, ...] = (
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    type(np.dtype(np.float64)),
    type(np.dtype(np.float32)),
)
_UNSAFE = re.compile(r"GLOBAL ([\w.]+)")


def load_weights(model: nn.Module, path: str | Path, *, name: str = "model") -> None:
    """Load a file's tensors into a model, all of them or none.

    Half-precision values take the model's own precision. The wrappers' prefixes ``module.`` and ``_orig_mod.`` do not
    matter, nor do the knowledge-distillation benchmark's own names for layers of the zoo.

    Args:
        model: The model, changed in place.
        path: A ``.safetensors`` file, or one written by ``torch.save`` that holds a state dict, plain or under
            ``state_dict``, ``model``, ``student`` or ``net``.
        name: What to call the model in messages, such as ``"teacher"``.

    Raises:
        UserError: If the file is missing, unreadable or holds anything that would run code, or if its keys, shapes or
            kinds of numbers differ from the model's.

    Example:
        >>> import tempfile
        >>> one, other = nn.Linear(2, 3), nn.Linear(2, 3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save({"state_dict": one.state_dict()}, f"{folder}/net.pt")
        ...     load_weights(other, f"{folder}/net.pt")
        >>> bool((one.weight == other.weight).all())
        True
    """
    label = f"{name} weights {str(path)!r}"
    expected = model.state_dict()
    given = _renamed(_state_dict(_read(Path(path), label), label), expected)
    _check_keys(given, expected, label)
    for key, value in given.items():
        _check_value(key, value, expected[key], label)
    # A plain dict lets batch norms without a counter of batches (files older than torch 0.4.1) keep their own.
    model.load_state_dict(given)


def _read(path: Path, label: str) -> object:
    if not path.is_file():
        raise UserError(
            f"{label}: {'a folder' if path.is_dir() else 'no such file'}, expected a safetensors or torch file"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with safe_globals(list(_HARMLESS)):
            return torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise UserError(f"{label}: {_reason(error, path)}") from error


def _reason(error: Exception, path: Path) -> str:
    if path.suffix == ".safetensors":
        return f"not a readable safetensors file ({' '.join(str(error).split())})"
    unsafe = _UNSAFE.search(str(error))
    if unsafe:
        return f"holds a pickled {unsafe[1]}, which could run code when loaded; save the model's state_dict() instead"
    return "not a file of tensors that torch.save wrote (damaged, TorchScript or another format)"


def _is_state_dict(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())


def _state_dict(loaded: object, label: str) -> dict[str, Tensor]:
    nested: list[Any] = [loaded[key] for key in _NESTS if key in loaded] if isinstance(loaded, Mapping) else []
    for candidate in (loaded, *nested):
        if _is_state_dict(candidate):
            return dict(candidate)
    found = f"a {type(loaded).__name__}"
    if isinstance(loaded, Mapping):
        found += f" with the keys {', '.join(str(key) for key in list(loaded)[:5])}"
    raise UserError(
        f"{label}: holds {found}, expected a state dict (names to tensors), plain or under {', '.join(_NESTS)}"
    )


def _renamed(given: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Call each tensor as the model does, where it can be told."""
    bare = {_WRAPPERS.sub("", key): key for key in expected}
    renamed = {key: value for key, value in given.items() if key in expected}
    for key in [key for key in given if key not in expected]:
        name = _name(key, bare)
        # Two tensors under one name would hide one of them; under its own name it is reported as unexpected.
        renamed[key if name in renamed else name] = given[key]
    return renamed


def _name(key: str, bare: Mapping[str, str]) -> str:
    plain = respelled = _WRAPPERS.sub("", key)
    for theirs, ours in _SPELLINGS:
        respelled = respelled.replace(theirs, ours)
    return bare.get(plain) or bare.get(respelled) or plain


def _check_keys(given: Mapping[str, Tensor], expected: Mapping[str, Tensor], label: str) -> None:
    missing = [key for key in expected if key not in given and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in given if key not in expected]
    parts = [_listed("missing", missing), _listed("unexpected", unexpected)]
    if missing or unexpected:
        raise UserError(f"{label}: the keys are not this model's: {'; '.join(part for part in parts if part)}")


def _listed(kind: str, keys: list[str]) -> str:
    more = ", ..." if len(keys) > 3 else ""
    return f"{len(keys)} {kind} ({', '.join(keys[:3])}{more})" if keys else ""


def _check_value(key: str, value: Tensor, wanted: Tensor, label: str) -> None:
    if value.shape != wanted.shape:
        raise UserError(
            f"{label}: {key} has shape {tuple(value.shape)} in the file, {tuple(wanted.shape)} in the model"
        )
    if value.is_floating_point() != wanted.is_floating_point():
        raise UserError(f"{label}: {key} is {value.dtype} in the file, {wanted.dtype} in the model")
