"""Trained teachers are kept by what made them, so that no later run or method trains the same one again."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from torch import nn

from limbeck.cache.key import structure, user_code
from limbeck.errors import UserError


def cache_folder(wanted: Path | None = None) -> Path:
    """Return the folder for what later runs can use again.

    Args:
        wanted: The recipe's ``output.cache``; else ``$LIMBECK_CACHE``, ``$XDG_CACHE_HOME/limbeck`` or
            ``~/.cache/limbeck``.

    Example:
        >>> cache_folder(Path("here"))
        PosixPath('here')
    """
    if wanted is not None:
        return wanted
    if chosen := os.environ.get("LIMBECK_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "limbeck"


def content_key(material: Mapping[str, Any]) -> str:
    """Hash what a teacher is made from to 20 hexadecimal digits.

    Example:
        >>> content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1})
        True
    """
    text = json.dumps(material, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def source_hash(network: nn.Module, name: str = "") -> str:
    """Hash a network's structure and the user's own files that define it, so that an edited one is another teacher.

    What counts is what counts for a signal cache, see :func:`limbeck.cache.key.user_code`: no version of a library.

    Args:
        network: The network.
        name: What it was made by; the module of a ``python:module:function`` counts too.

    Example:
        >>> source_hash(nn.Linear(1, 1)) == source_hash(nn.Linear(2, 2))
        False
    """
    digest = hashlib.sha256(structure(network).encode())
    for content in user_code(network):
        digest.update(content)
    path = getattr(sys.modules.get(name.split(":")[1]), "__file__", None) if name.startswith("python:") else None
    if path:
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()


def kept(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return ``folder``, made by ``make`` if it is not there yet.

    ``make`` fills a folder beside it, which is then moved into place: nobody sees a half-made one, and of two processes
    that make the same at once, the first to finish wins.

    Args:
        folder: The folder to have.
        make: Fills the folder that it is given.

    Raises:
        UserError: If the cache cannot be written.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "teacher"
        >>> kept(folder, lambda path: (path / "a").touch()) == kept(folder, lambda path: 1 / 0)
        True
    """
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(mkdtemp(prefix=f"{folder.name}.partial-", dir=folder.parent))
    except OSError as error:
        raise UserError(f"{folder.parent}: cannot be written ({error.strerror}), set output.cache elsewhere") from None
    try:
        make(partial)
        # Renaming onto a folder that another process has put there meanwhile fails; theirs is as good.
        if not folder.is_dir():
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder
