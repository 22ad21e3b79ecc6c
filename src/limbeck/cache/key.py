"""Hashes of what a cache or a kept teacher belongs to."""

import hashlib
import inspect
import json
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import nn

_PLAIN = (bool, int, float, str, type(None))
# Packages whose layers count by name and settings: an upgrade, or a comment edited there, makes no other network. Where
# limbeck itself changes what a network computes, the formats in build/teacher_training.py and cache/spec.py are raised.
_LIBRARIES = {"limbeck", "timm", "torch", "torchvision", "transformers"}


def teacher_hash(teacher: nn.Module) -> str:
    """Hash everything that decides a teacher's output.

    That is every weight and buffer, the class and every plain setting of every module (a stride, a size to resize to,
    how several are averaged), and the files of the user's own code that define such classes; see :func:`user_code`.

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
    digest = hashlib.sha256(structure(teacher).encode())
    for content in user_code(teacher):
        digest.update(content)
    for name, tensor in chain(teacher.named_parameters(), teacher.named_buffers()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def structure(network: nn.Module) -> str:
    """List every module of a network: its name, class and plain settings.

    Example:
        >>> print(structure(nn.ReLU()), end="")
         torch.nn.modules.activation.ReLU [('inplace', False)]
    """
    modules = [(name, type(module), _settings(module)) for name, module in network.named_modules()]
    return "".join(f"{name} {kind.__module__}.{kind.__qualname__} {settings}\n" for name, kind, settings in modules)


def user_code(network: nn.Module) -> list[bytes]:
    """Return the files that define a network's classes, in an order that is the same in every process.

    PyTorch, torchvision, timm, transformers and limbeck itself are left out.

    Example:
        >>> user_code(nn.Linear(1, 1))
        []
    """
    kinds = {type(module) for module in network.modules()}
    sources = {(kind.__module__, kind.__qualname__, _source(kind)) for kind in kinds}
    return [source for _, _, source in sorted(sources) if source]


def _settings(module: nn.Module) -> list[tuple[str, Any]]:
    values = {**vars(module), **_configuration(module)}
    return sorted((key, value) for key, value in values.items() if key[0] != "_" and _is_setting(key, value))


def _configuration(module: nn.Module) -> dict[str, Any]:
    """Return what a model of transformers reads from its configuration while it runs."""
    content: Mapping[str, Any] = getattr(getattr(module, "config", None), "to_dict", dict)()
    return {f"config.{key}": value for key, value in content.items() if key != "transformers_version"}


def _is_setting(key: str, value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(isinstance(element, _PLAIN) for element in value)
    # Every teacher sets its mode itself, at every call.
    return isinstance(value, _PLAIN) and key != "training"


def _source(kind: type) -> bytes:
    if kind.__module__.partition(".")[0] in _LIBRARIES:
        return b""
    try:
        path = inspect.getsourcefile(kind)
    except TypeError:
        # A class that was typed in has no file.
        path = None
    return Path(path).read_bytes() if path and Path(path).is_file() else b""


def digest_of(material: Mapping[str, Any]) -> str:
    """Hash what can be written as JSON to 20 hexadecimal digits; a path or the like counts as its text.

    Example:
        >>> digest_of({"a": 1, "b": (2,)}) == digest_of({"b": [2], "a": 1})
        True
    """
    return hashlib.sha256(json.dumps(material, sort_keys=True, default=str).encode()).hexdigest()[:20]


def differing(expected: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys whose values differ, in the order of ``expected``.

    Example:
        >>> list(differing({"teacher": "a", "data": "b"}, {"teacher": "c", "data": "b"}))
        ['teacher']
    """
    return (key for key in expected if found.get(key) != expected[key])
