"""The user's own code that a network is made of, as a hash: an edited network is another one."""

import hashlib
import sys
from pathlib import Path

from torch import nn

from limbeck.cache.key import user_code


def code_hash(network: nn.Module, name: str = "") -> str:
    """Hash the user's own files that define a network; what counts is what counts for a logit cache.

    Args:
        network: The network.
        name: What it was made by; the module of a ``python:module:function`` counts too.

    Returns:
        The SHA-256, 64 hexadecimal digits.

    Example:
        >>> code_hash(nn.Linear(1, 1)) == code_hash(nn.ReLU())
        True
    """
    digest = hashlib.sha256()
    for content in user_code(network):
        digest.update(content)
    module = sys.modules.get(name.split(":")[1]) if name.startswith("python:") else None
    path = getattr(module, "__file__", None)
    if path:
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()
