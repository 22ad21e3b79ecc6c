"""What a cache belongs to, as hashes: another teacher, or another anything, is another cache."""

import hashlib
import inspect
import json
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

_PLAIN = (bool, int, float, str, type(None))


def teacher_hash(teacher: nn.Module) -> str:
    """Hash everything that decides what a teacher answers.

    That is every weight and buffer, the class of every module with the file that defines it (those of PyTorch itself
    aside), and every plain setting of a module, such as a stride, a size to resize to, or how several are averaged.

    Args:
        teacher: A teacher or a network; its device and memory format do not count.

    Returns:
        The SHA-256, 64 hexadecimal digits.

    Example:
        >>> net = nn.Linear(2, 3)
        >>> before = teacher_hash(net)
        >>> with torch.no_grad():
        ...     _ = net.bias[0].add_(1e-6)
        >>> teacher_hash(net) == before
        False
    """
    digest = hashlib.sha256()
    for name, module in teacher.named_modules():
        kind = type(module)
        digest.update(f"{name} {kind.__module__}.{kind.__qualname__} {_settings(module)}\n".encode())
    for kind in sorted({type(module) for module in teacher.modules()}, key=lambda kind: kind.__qualname__):
        digest.update(_source(kind))
    for name, tensor in chain(teacher.named_parameters(), teacher.named_buffers()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _settings(module: nn.Module) -> list[tuple[str, Any]]:
    return sorted((key, value) for key, value in vars(module).items() if key[0] != "_" and _is_setting(key, value))


def _is_setting(key: str, value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(isinstance(one, _PLAIN) for one in value)
    # Every teacher says itself in which mode it answers.
    return isinstance(value, _PLAIN) and key != "training"


def _source(kind: type) -> bytes:
    if kind.__module__.partition(".")[0] == "torch":
        return b""
    try:
        path = inspect.getsourcefile(kind)
    except TypeError:
        # A class that was typed in has no file.
        path = None
    return Path(path).read_bytes() if path and Path(path).is_file() else b""


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data


def digest_of(material: Mapping[str, Any]) -> str:
    """Hash what can be written as JSON to 20 hexadecimal digits.

    Example:
        >>> digest_of({"a": 1, "b": (2,)}) == digest_of({"b": [2], "a": 1})
        True
    """
    return hashlib.sha256(json.dumps(material, sort_keys=True).encode()).hexdigest()[:20]


def differing(expected: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys whose values differ, in the order of ``expected``.

    Example:
        >>> list(differing({"teacher": "a", "data": "b"}, {"teacher": "c", "data": "b"}))
        ['teacher']
    """
    return (key for key in expected if found.get(key) != expected[key])
