"""The state from which a stopped training resumes as if it had never stopped."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch

from limbeck.errors import RunError, UserError, one_line
from limbeck.files import remove_leftovers, replacing
from limbeck.reporting import Log, no_log

# The newest, and the one before it.
_NEWEST, _PREVIOUS = "state.pt", "previous.pt"
# The file ends in a comment of the zip archive that torch writes: this mark, and the SHA-256 of all before the digits.
_MARK, _DIGITS = b"limbeck sha256:", 64


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write ``state`` to ``folder``, and keep the checkpoint before it.

    Args:
        folder: Its folder, made if it is not there.
        state: Tensors and plain values.

    Raises:
        RunError: If it cannot be written, such as on a full disk; the checkpoints there stay as they were.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "last"
        >>> for epoch in range(3):
        ...     save_checkpoint(folder, {"epoch": epoch})
        >>> load_checkpoint(folder), sorted(path.name for path in folder.iterdir())
        ({'epoch': 2}, ['previous.pt', 'state.pt'])
    """
    newest = folder / _NEWEST
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot be made ({error.strerror or error})") from error
    remove_leftovers(folder)
    with replacing(newest) as partial:
        _write(state, partial)
        if newest.is_file():
            newest.replace(folder / _PREVIOUS)


def _write(state: dict[str, Any], path: Path) -> None:
    try:
        torch.save(state, path)
    except RuntimeError as error:
        # What torch raises where a write fails.
        reason = str(error).partition("\n")[0][:200]
        raise OSError(f"writing ended early, as on a full disk: {reason}") from error
    _seal(path)


def has_checkpoint(folder: Path) -> bool:
    """Return whether ``folder`` holds a checkpoint.

    Example:
        >>> has_checkpoint(Path("nowhere"))
        False
    """
    return any((folder / name).is_file() for name in (_NEWEST, _PREVIOUS))


def load_checkpoint(folder: Path, *, log: Log = no_log) -> dict[str, Any]:
    """Read the newest checkpoint to the CPU, or the one before it if that is damaged; no code of a file is run.

    The checkpoint that was read is the newest from then on: a damaged one is replaced by the one before it.

    Args:
        folder: Its folder.
        log: Called with a line that names a damaged checkpoint, if there is one.

    Raises:
        UserError: If there is none, or none can be read.

    Example:
        >>> load_checkpoint(Path("nowhere"))
        Traceback (most recent call last):
        limbeck.errors.UserError: nowhere/state.pt: no checkpoint there to resume from
    """
    newest, previous = folder / _NEWEST, folder / _PREVIOUS
    if not has_checkpoint(folder):
        raise UserError(f"{newest}: no checkpoint there to resume from")
    if not newest.exists():
        # A writing ended between its two renamings.
        previous.replace(newest)
    try:
        return _read(newest)
    except UserError as error:
        if not previous.is_file():
            raise
        try:
            state = _read(previous)
        except UserError as previous_error:
            raise UserError(f"{error}; {previous_error}") from None
        log(f"{error}; resuming from the checkpoint before it")
        try:
            previous.replace(newest)
        except OSError as failure:
            raise UserError(f"{newest}: cannot be replaced ({failure.strerror}), expected a file; delete it") from None
        return state


@contextmanager
def restoring(folder: Path) -> Iterator[None]:
    """Raise what a checkpoint of something else makes the block raise as a ``UserError`` that names the folder.

    Args:
        folder: The checkpoint's folder, which is read in the block.

    Example:
        >>> with restoring(Path("last")):
        ...     {}["record"]
        Traceback (most recent call last):
        limbeck.errors.UserError: last: holds no checkpoint of this training (KeyError: 'record'); ...
    """
    try:
        yield
    except (RunError, UserError):
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        expected = "expected one of the same networks; delete the folder to begin again"
        raise UserError(f"{folder}: holds no checkpoint of this training ({one_line(error)}); {expected}") from error


def usable_checkpoint(folder: Path, log: Log) -> bool:
    """Return whether there is a checkpoint to resume from; a damaged one is logged and deleted.

    For trainings that resume by themselves, such as a teacher's; without a usable one they begin again.

    Args:
        folder: The checkpoint's folder.
        log: Called with a line about a damaged one.

    Example:
        >>> usable_checkpoint(Path("nowhere"), print)
        False
    """
    if not has_checkpoint(folder):
        return False
    try:
        load_checkpoint(folder, log=log)
    except UserError as error:
        log(f"{error}; the training begins again")
        shutil.rmtree(folder)
        return False
    return True


def _seal(path: Path) -> None:
    """Write a checkpoint's checksum at the end of its file."""
    # By its name an archive that cannot be opened, as on a full disk, would be replaced by an empty one.
    with path.open("r+b") as file, ZipFile(file, "a") as archive:
        archive.comment = _MARK + b"0" * _DIGITS
    digest = _digest(path)
    with path.open("r+b") as file:
        file.seek(-_DIGITS, 2)
        file.write(digest)


def _digest(path: Path) -> bytes:
    """Hash a file but its last characters, which hold the hash."""
    digest, left = hashlib.sha256(), path.stat().st_size - _DIGITS
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(left, 2**22))):
            digest.update(block)
            left -= len(block)
    return digest.hexdigest().encode()


def _read(path: Path) -> dict[str, Any]:
    try:
        _check(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise UserError(f"{path}: cannot be read as a checkpoint ({reason})") from error
    if not isinstance(state, dict):
        raise UserError(f"{path}: cannot be read as a checkpoint (it holds a {type(state).__name__})")
    return state


def _check(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"{path}: cannot be read as a checkpoint (it is no file)")
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _DIGITS - len(_MARK)))
        ending = file.read()
    if not ending.startswith(_MARK):
        raise UserError(f"{path}: cannot be read as a checkpoint ({_what_else(path)})")
    if _digest(path) != ending[-_DIGITS:]:
        raise UserError(f"{path}: is damaged, its content does not match its checksum")


def _what_else(path: Path) -> str:
    if not path.stat().st_size:
        return "it is empty"
    try:
        with ZipFile(path):
            return "it has no checksum: half-written, or by a version of limbeck before checksums"
    except (BadZipFile, OSError):
        return "it is half-written, or something else"
