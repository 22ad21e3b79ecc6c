"""The state from which a stopped training goes on as if it had never stopped."""

from pathlib import Path
from typing import Any

import torch

from limbeck.errors import UserError

_FILE = "state.pt"


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write ``state`` (tensors and plain values) to ``folder``, replacing what was there in one move.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "last"
        >>> save_checkpoint(folder, {"epoch": 3})
        >>> load_checkpoint(folder)
        {'epoch': 3}
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{_FILE}.partial"
    torch.save(state, partial)
    partial.replace(folder / _FILE)


def has_checkpoint(folder: Path) -> bool:
    """Tell whether ``folder`` holds a checkpoint.

    Example:
        >>> has_checkpoint(Path("nowhere"))
        False
    """
    return (folder / _FILE).is_file()


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU; no code of the file is run.

    Raises:
        UserError: If there is none, or it cannot be read.

    Example:
        >>> load_checkpoint(Path("nowhere"))
        Traceback (most recent call last):
        limbeck.errors.UserError: nowhere/state.pt: no checkpoint there to resume from
    """
    path = folder / _FILE
    if not path.is_file():
        raise UserError(f"{path}: no checkpoint there to resume from")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(f"{path}: cannot be read as a checkpoint ({str(error).splitlines()[0]})") from error
    return state
