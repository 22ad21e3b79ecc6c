"""Reading pickles of plain values and NumPy arrays without running any code that a file names."""

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.errors import UserError, first_line, shortened
from limbeck.files import check_regular

_CODES = ("latin1", "latin-1")
# Whole and floating numbers, truth values, and text; no objects, which would be addresses in memory.
_KINDS = "biufSU"
# A pickle numbers what it refers to again one by one; a table for a number far beyond takes gigabytes.
_FIRST_NUMBERS = 1000


def _encode(text: str, encoding: str) -> bytes:
    if encoding not in _CODES:
        raise pickle.UnpicklingError(f"it encodes a text as {shortened(encoding, 20)}, expected 'latin1'")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


class _Type:
    """Stands for a NumPy type, whose own restoring trusts what a file holds."""

    def __init__(self, code: str, *_: object) -> None:
        self.dtype = np.dtype(code)
        if self.dtype.kind not in _KINDS:
            raise pickle.UnpicklingError(f"it holds an array of {self.dtype}, expected numbers")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stands for a NumPy array, likewise; :func:`_plain` gives the array."""

    values: np.ndarray[Any, Any]

    def __init__(self, *_: object) -> None:
        self.values = np.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, is_fortran, content = state
        buffer = content.encode("latin1") if isinstance(content, str) else content
        self.values = np.frombuffer(buffer, kind.dtype).reshape(shape, order="F" if is_fortran else "C")


def _from_buffer(
    buffer: bytes, kind: _Type, shape: tuple[int, ...], order: Any, axes: tuple[int, ...] | None = None
) -> _Array:
    values, array = np.frombuffer(buffer, kind.dtype), _Array()
    array.values = values.reshape(shape, order=order) if axes is None else values.reshape(shape).transpose(axes)
    return array


def _scalar(kind: _Type, content: bytes) -> Any:
    return np.frombuffer(content, kind.dtype)[0]


# Nothing of NumPy is called by a file: all of it is written here, so that it does this and nothing more.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _no_bytes,
    ("builtins", "bytes"): _no_bytes,
}
for _core in ("numpy.core", "numpy._core"):
    _ALLOWED |= {
        (f"{_core}.multiarray", "_reconstruct"): _Array,
        (f"{_core}.multiarray", "scalar"): _scalar,
        (f"{_core}.numeric", "_frombuffer"): _from_buffer,
    }


class _ArrayUnpickler(pickle.Unpickler):
    """Finds the constructors of NumPy arrays and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not allowed")
        return _ALLOWED[module, name]


def read_pickle(path: Path) -> dict[str, Any]:
    """Read a pickled dictionary of plain values and NumPy arrays.

    The CIFAR authors wrote theirs with Python 2; those that Python 3 wrote again hold bytes instead of strings, as keys
    and in lists of names, and more constructors.

    Args:
        path: The file.

    Returns:
        The dictionary; strings of Python 2, keys of bytes and bytes in lists become ``str``, a byte a character.

    Raises:
        UserError: If the file cannot be read, is damaged, is no dictionary or names anything but NumPy arrays.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "meta")
        >>> _ = path.write_bytes(pickle.dumps({"label_names": ["cat"]}))
        >>> read_pickle(path)
        {'label_names': ['cat']}
    """
    try:
        check_regular(path)
        content = path.read_bytes()
        _check_numbers(content)
        value = _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
    except OSError as error:
        raise UserError(f"data.root: cannot read {path}: {error.strerror}") from error
    except Exception as error:  # a damaged pickle can end in nearly every kind of exception
        raise UserError(f"data.root: {path} is no pickle of NumPy arrays: {first_line(error)}") from error
    if not isinstance(value, dict):
        raise UserError(f"data.root: {path} holds a {type(value).__name__}, expected a dictionary")
    return {_plain(key): [_plain(item) for item in v] if isinstance(v, list) else _plain(v) for key, v in value.items()}


def _check_numbers(content: bytes) -> None:
    for count, (opcode, number, _) in enumerate(pickletools.genops(content)):
        if opcode.name in ("PUT", "LONG_BINPUT") and int(str(number)) > count + _FIRST_NUMBERS:
            raise pickle.UnpicklingError(f"it numbers a value as {shortened(number, 20)}, expected one after the other")


def _plain(value: Any) -> Any:
    if isinstance(value, _Array):
        return value.values
    return value.decode("latin1") if isinstance(value, bytes) else value
