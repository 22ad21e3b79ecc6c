"""One process at a time that fills or deletes a cache."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from limbeck.cache.store import SignalStore
from limbeck.errors import RunError


@contextmanager
def building(store: SignalStore) -> Iterator[None]:
    """Hold the right to fill a cache ahead, until the block or the process ends.

    Several processes may write to a cache, but two that fill it ahead would do the same work twice.

    Args:
        store: The cache.

    Raises:
        RunError: If another process has it, or the cache cannot be written.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from limbeck.cache import RowFormat, Signals
        >>> store = SignalStore.open(Path(tempfile.mkdtemp()), Signals("views", 9, RowFormat(3)))
        >>> with building(store), building(store):
        ...     pass
        Traceback (most recent call last):
        limbeck.errors.RunError: signal cache ...: process ... is filling it already; wait for it, or stop it ...
    """
    folder = store.folder
    if not store.writable:
        raise RunError(f"signal cache {folder}: cannot be written, so it cannot be filled")
    with holding(folder):
        yield


@contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Hold the lock of a cache's folder, until the block or the process ends.

    Args:
        folder: The cache's folder.

    Raises:
        RunError: If another process has it.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with holding(folder):
        ...     (folder / "lock").is_file()
        True
    """
    # Only POSIX systems have it, and a cache is opened only there.
    import fcntl

    file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.read(file, 20).decode(errors="replace") or "unknown"
            already = f"process {who} is filling it already; wait for it, or stop it and begin again"
            raise RunError(f"signal cache {folder}: {already}") from None
        os.ftruncate(file, 0)
        os.pwrite(file, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(file)
