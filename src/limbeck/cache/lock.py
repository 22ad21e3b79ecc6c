"""One builder of a cache at a time, and no deletion beneath it."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from limbeck.cache.store import SignalStore
from limbeck.errors import RunError, UserError
from limbeck.locking import locked


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
        >>> from limbeck.cache import RowFormat, Signals
        >>> store = SignalStore.open(Path(tempfile.mkdtemp()), Signals("views", 9, RowFormat(3)))
        >>> with building(store), building(store):
        ...     pass
        Traceback (most recent call last):
        limbeck.errors.RunError: signal cache ...: process ... is working on it; wait for it, or stop it first
    """
    if not store.writable:
        raise RunError(f"signal cache {store.folder}: cannot be written, so it cannot be filled")
    with _held(store.folder):
        yield


def remove_cache(folder: Path) -> None:
    """Delete a cache's folder, unless a process is filling it.

    A training that reads the cache keeps what it has open.

    Args:
        folder: The folder of one cache.

    Raises:
        RunError: If a process is filling it, or it cannot be deleted.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "cache"
        >>> folder.mkdir()
        >>> remove_cache(folder)
        >>> folder.exists()
        False
    """
    with _held(folder):
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise RunError(f"signal cache {folder}: cannot be deleted ({error.strerror or error})") from error


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / "lock", f"signal cache {folder}"))
        except UserError as error:
            raise RunError(str(error)) from None
        yield
