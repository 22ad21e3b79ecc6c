"""The description of a cache beside its rows, which is compared before the rows are read."""

import json
from pathlib import Path
from typing import Any

import torch

from limbeck.cache.key import differing
from limbeck.cache.spec import CacheSpec
from limbeck.errors import UserError
from limbeck.files import write_atomically
from limbeck.reporting import Log


def write_about(folder: Path, spec: CacheSpec) -> None:
    """Write the description of a cache, in one move."""
    about = {"label": spec.label, "estimate": spec.estimate, "slots": spec.slots, "key": spec.key}
    about |= {"torch": torch.__version__, "holds": spec.material}
    write_atomically(folder / "about.json", json.dumps(about, indent=2) + "\n")


def read_about(folder: Path) -> dict[str, Any] | None:
    """Read the description of a cache; None if there is none that can be read.

    Example:
        >>> read_about(Path("nowhere")) is None
        True
    """
    path = folder / "about.json"
    try:
        about = json.loads(path.read_bytes()) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return None
    return about if isinstance(about, dict) and isinstance(about.get("holds"), dict) else None


def check_about(folder: Path, spec: CacheSpec, log: Log, *, writable: bool) -> None:
    """Compare the description of a cache with what it should hold; one that cannot be read is written again.

    Args:
        folder: The cache's folder.
        spec: What it should hold.
        log: Called with a line if it is written again.
        writable: Whether the folder can be written.

    Raises:
        UserError: If it holds something else.
    """
    about = read_about(folder)
    if about is None:
        log(f"logit cache {folder}: about.json is damaged; it is written again, rows count by their checksums")
        if writable:
            write_about(folder, spec)
        return
    # Through JSON, as the one that was read.
    different = list(differing(json.loads(json.dumps(spec.material)), about["holds"]))
    if different:
        raise UserError(f"logit cache {folder}: holds that of another {different[0]}; delete the folder")
