"""Reading pickles of plain values and NumPy arrays without running any code that a file names."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.errors import UserError, first_line, shortened

# Taken from an array because the module that holds the function has another name in every major version of NumPy.
_RECONSTRUCT: Callable[..., Any] = np.empty(0).__reduce__()[0]  # type: ignore[assignment]


def _encode(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"it encodes a text as {shortened(encoding, 20)}, expected 'latin1'")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


def _from_buffer(
    buffer: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], order: Any, axes: tuple[int, ...] | None = None
) -> np.ndarray[Any, Any]:
    values = np.frombuffer(buffer, dtype)
    return values.reshape(shape, order=order) if axes is None else values.reshape(shape).transpose(axes)


def _scalar(dtype: np.dtype[Any], content: bytes) -> Any:
    return np.frombuffer(content, dtype)[0]


# Only the arrays' own constructors are NumPy's; the others are written here, so that they do this and nothing more.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _no_bytes,
    ("builtins", "bytes"): _no_bytes,
}
for _core in ("numpy.core", "numpy._core"):
    _ALLOWED |= {
        (f"{_core}.multiarray", "_reconstruct"): _RECONSTRUCT,
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
        with path.open("rb") as file:
            value = _ArrayUnpickler(file, encoding="latin1").load()
    except OSError as error:
        raise UserError(f"data.root: cannot read {path}: {error.strerror}") from error
    except Exception as error:  # a damaged pickle can end in nearly every kind of exception
        raise UserError(f"data.root: {path} is no pickle of NumPy arrays: {first_line(error)}") from error
    if not isinstance(value, dict):
        raise UserError(f"data.root: {path} holds a {type(value).__name__}, expected a dictionary")
    return {_text(key): [_text(item) for item in v] if isinstance(v, list) else v for key, v in value.items()}


def _text(value: Any) -> Any:
    return value.decode("latin1") if isinstance(value, bytes) else value
