"""Reading pickles of plain values and NumPy arrays without running any code that a file names."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.data.files import first_line
from limbeck.errors import UserError

# Taken from an array because the module that holds the function has another name in every major version of NumPy.
_RECONSTRUCT: Callable[..., Any] = np.empty(0).__reduce__()[0]  # type: ignore[assignment]
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
}


class _ArrayUnpickler(pickle.Unpickler):
    """Finds the constructors of NumPy arrays and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not allowed")
        return _ALLOWED[module, name]


def read_pickle(path: Path) -> dict[str, Any]:
    """Read a pickled dictionary of plain values and NumPy arrays, as the CIFAR authors wrote theirs with Python 2.

    Args:
        path: The file.

    Returns:
        The dictionary; strings of Python 2 become ``str``, a byte a character.

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
    return value
