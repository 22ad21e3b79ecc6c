"""One process at a time that fills or deletes a cache."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from limbeck.cache.store import LogitStore
from limbeck.errors import RunError, UserError
from limbeck.locking import locked


@contextmanager
def building(store: LogitStore) -> Iterator[None]:
    """Hold the lock of a cache that is filled ahead, until the block or the process ends.

    Several processes may write to a cache, but two that fill it ahead would do the same work twice.

    Args:
        store: The cache.

    Raises:
        RunError: If another process holds it, or the cache cannot be written.

    Example:
        >>> import tempfile
        >>> from limbeck.cache import RowFormat, CacheSpec
        >>> store = LogitStore.open(Path(tempfile.mkdtemp()), CacheSpec("views", 9, RowFormat(3)))
        >>> with building(store), building(store):
        ...     pass
        Traceback (most recent call last):
        limbeck.errors.RunError: logit cache ...: process ... is working on it; wait for it, or stop it first
    """
    if not store.writable:
        raise RunError(f"logit cache {store.folder}: cannot be written, so it cannot be filled")
    with holding(store.folder):
        yield


@contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Hold the lock of a cache's folder, until the block or the process ends; needed to fill or to delete it.

    Args:
        folder: The cache's folder.

    Raises:
        RunError: If another process holds it, or it cannot be locked.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with holding(folder):
        ...     (folder / "lock").is_file()
        True
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / "lock", f"logit cache {folder}"))
        except UserError as error:
            raise RunError(str(error)) from None
        yield
