"""Find the weights in a file that another program wrote, without running any code of the file."""

import json
import pickle
import re
import struct
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor
from torch.serialization import safe_globals

from limbeck.errors import UserError, shortened

_ENTRIES = ("state_dict", "model_state_dict", "model", "student", "net")
# Averages over the training: other weights than those that the training's own accuracy may belong to.
_AVERAGED = ("model_ema", "state_dict_ema", "ema", "ema_state_dict", "model_ema_state_dict")
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
    AttributeError,
    AssertionError,
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
_UNKNOWN = re.compile(r"Unsupported global: GLOBAL (\S+) ")
_BLOCKED = re.compile(r"GLOBAL (\S+) whose module \S+ is blocked")
_MOST_CLASSES = 100
# torch stores its records as they are; packed ones may be smaller, but not by so much.
_MOST_UNPACKED = 20


class Checkpoint(NamedTuple):
    """The weights of a file.

    Attributes:
        tensors: By the name that the file gives them.
        notes: Remarks on the choice of the weights, in lines.
    """

    tensors: dict[str, Tensor]
    notes: tuple[str, ...] = ()


class _Placeholder:
    """Stands where a file holds an object of a class that is not needed: takes everything, and does nothing.

    The file's own class or function is never imported, so it cannot run; only its name is kept.
    """

    origin = ""

    def __new__(cls, *_: object, **__: object) -> "_Placeholder":
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass

    def __setitem__(self, _: object, __: object) -> None:
        pass


def read_checkpoint(path: Path, label: str, *, entry: str | None = None) -> Checkpoint:
    """Read the weights of a file: of a bare state dict, or of one beside an optimizer, arguments and the like.

    Objects of other classes beside the weights, such as an ``argparse.Namespace``, are skipped without their class
    being imported.

    Args:
        path: A ``.safetensors`` file, or one that ``torch.save`` wrote.
        label: What to call it in messages.
        entry: The key that the weights stand under, dotted for one within another; None to find them. Averaged weights
            are taken by their key alone.

    Returns:
        The weights.

    Raises:
        UserError: If the file is missing or unreadable, holds something that could run code in place of the weights, or
            no weights where they are expected.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "net.pt"
        >>> torch.save({"model": {"bias": torch.ones(2)}, "epoch": 3}, path)
        >>> read_checkpoint(path, "weights").tensors
        {'bias': tensor([1., 1.])}
    """
    loaded = _read(path, label)
    return _found(loaded, label) if entry is None else Checkpoint(_named_entry(loaded, entry, label))


def read_about(path: Path) -> dict[str, Any]:
    """Read what limbeck wrote about a network beside its weights; empty for files of other programs.

    Raises:
        UserError: If it is damaged.

    Example:
        >>> read_about(Path("nowhere.safetensors"))
        {}
    """
    if path.suffix != ".safetensors" or not path.is_file():
        return {}
    text = None
    with suppress(SafetensorError, OSError), safe_open(path, "pt") as file:
        text = (file.metadata() or {}).get("limbeck")
    if text is None:
        return {}
    try:
        about = json.loads(text)
    except (ValueError, RecursionError):
        about = None
    if not isinstance(about, dict):
        raise UserError(f"{shortened(str(path))}: its metadata is damaged, expected what limbeck wrote there")
    return about


def _read(path: Path, label: str) -> object:
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "no such file"
        raise UserError(f"{label}: {kind}, expected a safetensors or torch file")
    if path.suffix != ".safetensors":
        _check_size(path, label)
    try:
        return load_file(path) if path.suffix == ".safetensors" else _unpickle(path)
    except _UNREADABLE as error:
        raise UserError(f"{label}: {_reason(error, path)}") from error


def _unpickle(path: Path) -> object:
    """Load with torch's code-free unpickler, and with a placeholder for each class that it refuses."""
    placeholders: dict[str, type[_Placeholder]] = {}
    while True:
        # The unpickler leaves "builtins" out when it reports a class of Python's own.
        spellings = [(kind, name) for key, kind in placeholders.items() for name in (key, f"builtins.{key}")]
        try:
            with safe_globals([*_HARMLESS, *spellings]):
                return _loaded(path)
        except pickle.UnpicklingError as error:
            unknown = _UNKNOWN.search(str(error))
            if unknown is None or unknown[1] in placeholders or len(placeholders) == _MOST_CLASSES:
                raise
            placeholders[unknown[1]] = type("Placeholder", (_Placeholder,), {"origin": unknown[1]})


def _loaded(path: Path) -> object:
    with warnings.catch_warnings():
        # Of a damaged file these are one more line, beside the error.
        for text in ("Detected pickle protocol", "TypedStorage is deprecated"):
            warnings.filterwarnings("ignore", text, UserWarning)
        return torch.load(path, map_location="cpu", weights_only=True)


def _check_size(path: Path, label: str) -> None:
    """Refuse an archive that unpacks to far more than it is."""
    try:
        with ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (BadZipFile, EOFError, NotImplementedError, OSError, ValueError, struct.error):
        # Of another format, or damaged: torch's reader decides.
        return
    if unpacked > _MOST_UNPACKED * (size := path.stat().st_size):
        raise UserError(
            f"{label}: has {size:,} bytes that unpack to {unpacked:,}, expected a file that torch.save wrote"
        )


def _reason(error: Exception, path: Path) -> str:
    if path.suffix == ".safetensors":
        return f"not a readable safetensors file ({shortened(' '.join(str(error).split()), 200, quoted=False)})"
    unsafe = _BLOCKED.search(str(error)) or _UNKNOWN.search(str(error))
    if unsafe:
        return _unsafe(unsafe[1])
    return "not a file of tensors that torch.save wrote (damaged, TorchScript or another format)"


def _unsafe(origin: str) -> str:
    name = shortened(origin, quoted=False)
    return f"holds a pickled {name}, which could run code when loaded; save the model's state_dict() instead"


def _is_state_dict(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())


def _found(loaded: object, label: str) -> Checkpoint:
    if _is_state_dict(loaded):
        return Checkpoint(_tensors(loaded))
    content = loaded if isinstance(loaded, Mapping) else {}
    holders = {key: content[key] for key in (*_ENTRIES, *_AVERAGED) if key in content}
    averaged = [key for key in _AVERAGED if _is_state_dict(holders.get(key))]
    for key in _ENTRIES:
        if _is_state_dict(holders.get(key)):
            notes = (f"{label}: taken from {key!r}; weights_entry: {name} takes the averaged ones" for name in averaged)
            return Checkpoint(_tensors(holders[key]), tuple(notes))
    if averaged:
        raise UserError(f"{label}: holds averaged weights only, expected weights_entry: {averaged[0]} to take them")
    for value in (loaded, *holders.values()):
        if isinstance(value, _Placeholder):
            raise UserError(f"{label}: {_unsafe(value.origin)}")
    raise UserError(
        f"{label}: holds {_described(loaded)}, expected a state dict (names to tensors), plain or under"
        f" {', '.join(_ENTRIES)}; weights_entry names another key"
    )


def _described(value: object) -> str:
    if isinstance(value, _Placeholder):
        return f"a pickled {shortened(value.origin, quoted=False)}"
    if isinstance(value, Mapping):
        keys = ", ".join(shortened(str(key), 40, quoted=False) for key in list(value)[:5])
        return f"a {type(value).__name__} with the keys {keys}"
    return f"a {type(value).__name__}"


def _named_entry(loaded: object, entry: str, label: str) -> dict[str, Tensor]:
    value = loaded
    for key in [entry] if isinstance(loaded, Mapping) and entry in loaded else entry.split("."):
        if not isinstance(value, Mapping) or key not in value:
            raise UserError(f"{label}: weights_entry: got {shortened(entry)}, but it holds {_described(value)}")
        value = value[key]
    if not _is_state_dict(value):
        raise UserError(f"{label}: {shortened(entry)} holds {_described(value)}, expected names to tensors")
    return _tensors(value)


def _tensors(value: Any) -> dict[str, Tensor]:
    # torch's averaged models count their updates beside the weights.
    return {key: tensor for key, tensor in value.items() if key != "n_averaged"}
