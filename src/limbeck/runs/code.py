"""The user's own code that a network is made of, as a hash: an edited network is another one."""

import hashlib
import sys
import sysconfig
from pathlib import Path

from torch import nn

_OWN_PACKAGE = Path(__file__).resolve().parents[1]


def code_hash(network: nn.Module, name: str = "") -> str:
    """Hash the files that define a network's parts, those of installed packages and of limbeck aside.

    Args:
        network: The network.
        name: What it was made by; the module of a ``python:module:function`` counts too.

    Returns:
        The SHA-256, 64 hexadecimal digits.

    Example:
        >>> code_hash(nn.Linear(1, 1)) == code_hash(nn.ReLU())
        True
    """
    modules = {type(part).__module__ for part in network.modules()}
    if name.startswith("python:"):
        modules.add(name.split(":")[1])
    digest = hashlib.sha256()
    for module in sorted(modules):
        path = getattr(sys.modules.get(module), "__file__", None)
        if path and _is_users(Path(path).resolve()):
            digest.update(Path(path).read_bytes())
    return digest.hexdigest()


def _is_users(path: Path) -> bool:
    roots = (_OWN_PACKAGE, *(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")))
    return not any(path.is_relative_to(root) for root in roots)
