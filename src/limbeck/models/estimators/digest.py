"""A hash of a fitted estimator, the same in every process."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_BEING_HASHED = b"the object itself"


def estimator_digest(estimator: object) -> bytes:
    """Hash everything that an object holds: its class, and the values of all that it is made of.

    Neither the addresses of objects nor the padding between the fields of an array count, so that an estimator that was
    fitted alike, or loaded from the same file, has the same hash in every process.

    Args:
        estimator: A fitted estimator, or any other object that can be copied.

    Returns:
        The SHA-256, 32 bytes.

    Raises:
        TypeError: If a part of it cannot be copied, such as an open file.

    Example:
        >>> from sklearn.tree import DecisionTreeClassifier
        >>> first, second = (DecisionTreeClassifier(random_state=0).fit([[0.0], [1.0]], [0, 1]) for _ in range(2))
        >>> estimator_digest(first) == estimator_digest(second)
        True
        >>> estimator_digest(first) == estimator_digest(second.fit([[0.0], [3.0]], [0, 1]))
        False
    """
    return _digest(estimator, {})


# The objects are kept beside their hashes: another one might get the address of one that is gone.
_Known = dict[int, tuple[bytes, object]]


def _digest(value: Any, known: _Known) -> bytes:
    if isinstance(value, np.ndarray | np.generic):
        return _of_array(np.asarray(value), known)
    if isinstance(value, _PLAIN):
        return _of(f"{type(value).__name__} {value!r}".encode("utf-8", "surrogatepass"))
    if isinstance(value, type) or hasattr(value, "__qualname__"):
        return _of(f"{value.__module__}.{value.__qualname__}".encode())
    if id(value) not in known:
        known[id(value)] = (_BEING_HASHED, value)
        parts = [_digest(part, known) for part in _parts(value)]
        known[id(value)] = (_of(type(value).__qualname__.encode(), *parts), value)
    return known[id(value)][0]


def _of(*parts: bytes) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.digest()


def _of_array(array: Any, known: _Known) -> bytes:
    kind = f"array {array.dtype} {array.shape}".encode()
    if array.dtype.names:
        return _of(kind, *(_of_array(array[name], known) for name in array.dtype.names))
    if array.dtype.hasobject:
        return _of(kind, *(_digest(value, known) for value in array.ravel().tolist()))
    return _of(kind, np.ascontiguousarray(array).tobytes())


def _parts(value: Any) -> Iterator[Any]:
    """Yield what an object is made of, in an order that is the same in every process."""
    if isinstance(value, Mapping):
        for key in sorted(value, key=str):
            yield from (key, value[key])
    elif isinstance(value, set | frozenset):
        yield from sorted(estimator_digest(part) for part in value)
    elif isinstance(value, list | tuple):
        yield from value
    elif isinstance(value, np.random.RandomState):
        # Its copy also holds the entropy that a generator was made with before its state was set.
        yield value.get_state(legacy=False)
    elif isinstance(value, np.random.Generator):
        yield value.bit_generator.state
    else:
        yield from _reduced(value)


def _reduced(value: Any) -> Iterator[Any]:
    parts = value.__reduce_ex__(2)
    if isinstance(parts, str):
        yield parts
        return
    yield from parts[:3]
    for rest in parts[3:5]:
        yield from rest or ()
