"""Locks between processes: one writer of a run folder, one training of a teacher, one builder of a cache."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from limbeck.errors import UserError
from limbeck.files import remove_leftovers, write_atomically


class LockedError(UserError):
    """Another process holds a lock; the text names it and its machine.

    Example:
        >>> issubclass(LockedError, UserError)
        True
    """


@contextmanager
def locked(path: Path, what: str, *, timeout: float = 0.0) -> Iterator[str | None]:
    """Hold the lock file at ``path`` until the block, or the process, ends.

    The operating system releases the lock of a process that dies, however it dies, so that a stale lock file
    blocks nothing. Beside it, ``NAME.owner`` holds the owner's process number and host.

    Args:
        path: The lock file; its folder exists.
        what: What is locked, which begins the line of an error.
        timeout: For how many seconds to wait for another process; -1 for as long as it takes.

    Yields:
        The former owner if it ended without releasing the lock, else None.

    Raises:
        LockedError: If another process still holds the lock after ``timeout``.
        UserError: If the lock file cannot be written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "lock"
        >>> with locked(path, "runs/kd"), locked(path, "runs/kd"):
        ...     pass
        Traceback (most recent call last):
        limbeck.locking.LockedError: runs/kd: process ... on ... is working on it; wait for it, or stop it first
    """
    owner = path.with_name(f"{path.name}.owner")
    try:
        lock = FileLock(path)
        lock.acquire(timeout=timeout)
    except Timeout:
        holder = _read_owner(owner) or "another process"
        raise LockedError(f"{what}: {holder} is working on it; wait for it, or stop it first") from None
    except OSError as error:
        raise UserError(f"{what}: cannot be locked ({error.strerror or error})") from None
    try:
        # What a process that was killed meanwhile has left; nobody else writes it now.
        remove_leftovers(path.parent, owner.name)
        former = _read_owner(owner)
        write_atomically(owner, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}) + "\n")
        yield former
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def _read_owner(path: Path) -> str | None:
    try:
        owner = json.loads(path.read_bytes())
        return f"process {int(owner['pid'])} on {str(owner['host'])[:80]}"
    except (OSError, ArithmeticError, KeyError, RecursionError, TypeError, ValueError):
        return None
