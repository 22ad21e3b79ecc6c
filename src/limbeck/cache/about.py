"""What a cache says about itself, so that it is never taken for another."""

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
    """Write whose rows a cache holds, in one move."""
    about = {"label": spec.label, "estimate": spec.estimate, "slots": spec.slots, "key": spec.key}
    about |= {"torch": torch.__version__, "holds": spec.material}
    write_atomically(folder / "about.json", json.dumps(about, indent=2) + "\n")


def read_about(folder: Path) -> dict[str, Any] | None:
    """Read what a cache says about itself; None if there is nothing to be read.

    Example:
        >>> read_about(Path("nowhere")) is None
        True
    """
    try:
        about = json.loads((folder / "about.json").read_bytes())
    except (OSError, ValueError):
        return None
    return about if isinstance(about, dict) and isinstance(about.get("holds"), dict) else None


def check_about(folder: Path, spec: CacheSpec, log: Log, *, writable: bool) -> None:
    """Compare what a cache says about itself with what it shall hold; write what cannot be read again.

    Args:
        folder: The cache's folder.
        spec: What it shall hold.
        log: Told in one line if it is written again.
        writable: Whether it may be.

    Raises:
        UserError: If it holds something else.
    """
    about = read_about(folder)
    if about is None:
        log(f"logit cache {folder}: about.json is damaged; it is written again, rows count by their checksums")
        if writable:
            write_about(folder, spec)
        return
    # Through JSON, as the one that was read has gone.
    other = list(differing(json.loads(json.dumps(spec.material)), about["holds"]))
    if other:
        raise UserError(f"logit cache {folder}: holds that of another {other[0]}; delete the folder")
