"""Trained teachers are kept by what made them, so that no later run or method trains the same one again."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from torch import nn

from limbeck.build.origins import code_hash
from limbeck.cache.key import structure
from limbeck.errors import RunError, UserError
from limbeck.files import content_digest, remove_leftovers
from limbeck.locking import LockedError, locked
from limbeck.reporting import Log, no_log

# A training that was not continued for so long is deleted.
_ABANDONED_SECONDS = 30 * 24 * 3600


def cache_folder(folder: Path | None = None) -> Path:
    """Return the folder for what later runs can use again.

    Args:
        folder: The recipe's ``output.cache``; else ``$LIMBECK_CACHE``, ``$XDG_CACHE_HOME/limbeck`` or
            ``~/.cache/limbeck``.

    Example:
        >>> cache_folder(Path("here"))
        PosixPath('here')
    """
    if folder is not None:
        return folder
    if variable := os.environ.get("LIMBECK_CACHE"):
        return Path(variable)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "limbeck"


def source_hash(network: nn.Module, name: str = "") -> str:
    """Hash a network's structure and the user's own files that define it, so that an edited one is another teacher.

    What counts is what counts for a logit cache, see :func:`limbeck.cache.key.user_code`: no version of a library.

    Args:
        network: The network.
        name: The recipe's name of it; the module of a ``python:module:function`` counts too.

    Example:
        >>> source_hash(nn.Linear(1, 1)) == source_hash(nn.Linear(2, 2))
        False
    """
    return content_digest(f"{structure(network)} {code_hash(network, name)}".encode())


def made_once(folder: Path, make: Callable[[Path], None], log: Log = no_log) -> Path:
    """Return ``folder``, made by ``make`` if it is not there yet.

    ``make`` fills a folder beside it, ``NAME.partial``, which is then moved into place: a half-made one is never used.
    What it leaves there when it is stopped is there again for the next attempt. A process that needs a folder which
    another process is making waits for it.

    Args:
        folder: The folder to return.
        make: Fills the folder that it is called with.
        log: Called with a line about another process that has to be waited for.

    Raises:
        UserError: If the cache cannot be written.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "teacher"
        >>> made_once(folder, lambda path: (path / "a").touch()) == made_once(folder, lambda path: 1 / 0)
        True
    """
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder.parent}: cannot be written ({error.strerror}), set output.cache elsewhere") from None
    lock = folder.with_name(f".{folder.name}.lock")
    with _waiting(lock, str(folder), log):
        try:
            if not folder.is_dir():
                _fill(folder, make)
        finally:
            lock.unlink(missing_ok=True)
    return folder


@contextmanager
def _waiting(lock: Path, what: str, log: Log) -> Iterator[None]:
    """Hold a lock, and log a line if another process has to be waited for."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(lock, what))
        except LockedError as busy:
            log(f"{str(busy).partition(';')[0]}; waiting for it")
            stack.enter_context(locked(lock, what, timeout=-1))
        yield


def _fill(folder: Path, make: Callable[[Path], None]) -> None:
    partial = folder.with_name(f"{folder.name}.partial")
    _clear_abandoned(folder)
    try:
        partial.mkdir(exist_ok=True)
        remove_leftovers(partial)
        make(partial)
        partial.rename(folder)
    except OSError as error:
        raise RunError(f"{folder}: cannot be written ({error.strerror or error})") from error
    finally:
        # One with a checkpoint stays, for the next attempt.
        with suppress(OSError):
            partial.rmdir()


def _clear_abandoned(folder: Path) -> None:
    """Delete what earlier attempts left: of this folder in the former layout, of others that are not continued."""
    for leftover in folder.parent.glob("*.partial*"):
        of_folder = leftover.name.startswith(f"{folder.name}.partial")
        if leftover.name != f"{folder.name}.partial" and (
            of_folder or _unchanged_seconds(leftover) > _ABANDONED_SECONDS
        ):
            shutil.rmtree(leftover, ignore_errors=True)


def _unchanged_seconds(folder: Path) -> float:
    with suppress(OSError):
        return time.time() - max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
    return 0.0
