"""Which processes fill or delete a cache: one alone, or one for each shard."""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from limbeck.cache.shard import Shard
from limbeck.cache.store import LogitStore
from limbeck.errors import RunError, UserError
from limbeck.locking import LockedError, locked

# For so long at most a process waits for others to decide which of them may begin, which takes each a few milliseconds.
_DECISION_SECONDS = 300.0
_OF_SHARD = re.compile(r"shard-(\d{1,9})-of-(\d{1,9})\.lock")


@contextmanager
def building(store: LogitStore, shard: Shard | None = None) -> Iterator[None]:
    """Hold the lock of a cache, or of one of its shards, that is filled ahead, until the block or the process ends.

    Several processes may write to a cache, but two that fill the same rows ahead would do the same work twice. So a
    shard is refused while the whole cache or parts of another size are filled, and the whole while any shard is.

    Args:
        store: The cache.
        shard: The part that is filled; None for all of it.

    Raises:
        RunError: If another process holds it, or the cache cannot be written.

    Example:
        >>> import tempfile
        >>> from limbeck.cache import RowFormat, CacheSpec
        >>> store = LogitStore.open(Path(tempfile.mkdtemp()), CacheSpec("views", 9, RowFormat(3)))
        >>> with building(store, Shard(1, 2)), building(store, Shard(2, 2)), building(store):
        ...     pass
        Traceback (most recent call last):
        limbeck.errors.RunError: logit cache ..., shard 1 of 2: process ... is working on it; wait for it, or stop ...
    """
    if not store.writable:
        raise RunError(f"logit cache {store.folder}: cannot be written, so it cannot be filled")
    with holding(store.folder, shard):
        yield


@contextmanager
def holding(folder: Path, shard: Shard | None = None) -> Iterator[None]:
    """Hold the lock of a cache's folder, or of a shard; the former is needed to fill the whole cache or to delete it.

    Args:
        folder: The cache's folder.
        shard: The part; None for all of it.

    Raises:
        RunError: If another process holds what is needed, or it cannot be locked.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with holding(folder):
        ...     (folder / "lock").is_file()
        True
    """
    with ExitStack() as held:
        try:
            with _deciding(folder):
                for other in _excluded(folder, shard):
                    _require_free(folder, other)
                held.enter_context(locked(_path(folder, shard), _named(folder, shard)))
        except UserError as error:
            raise RunError(str(error)) from None
        yield


def shards_begun(folder: Path) -> dict[Shard, str]:
    """Return the shards that processes have begun to fill, and who fills each just now, empty if nobody does.

    Shards whose process has ended may be left out.

    Args:
        folder: The cache's folder.

    Raises:
        RunError: If the folder cannot be locked.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with holding(folder, Shard(1, 2)):
        ...     shards_begun(folder)
        {Shard(index=1, count=2): 'process ... on ... is working on it'}
    """
    begun = _begun(folder)
    if not begun:
        return {}
    try:
        with _deciding(folder):
            return {shard: _holder(folder, shard) for shard in begun}
    except UserError as error:
        raise RunError(str(error)) from None


def _deciding(folder: Path) -> AbstractContextManager[str | None]:
    # Only within this are locks of the cache taken, so that to look whether one is free gets in nobody's way.
    return locked(folder / "deciding.lock", f"logit cache {folder}", timeout=_DECISION_SECONDS)


def _excluded(folder: Path, shard: Shard | None) -> list[Shard | None]:
    """List what nobody may fill while ``shard`` is filled, beside itself."""
    begun = _begun(folder)
    return [*begun] if shard is None else [None, *(other for other in begun if other.count != shard.count)]


def _begun(folder: Path) -> list[Shard]:
    found = (_OF_SHARD.fullmatch(path.name) for path in folder.glob("shard-*.lock"))
    parts = [(int(name[1]), int(name[2])) for name in found if name]
    return [Shard(index, count) for index, count in sorted(parts) if 1 <= index <= count]


def _holder(folder: Path, shard: Shard) -> str:
    try:
        _require_free(folder, shard)
    except LockedError as held:
        return str(held).removeprefix(f"{_named(folder, shard)}: ").partition(";")[0]
    return ""


def _require_free(folder: Path, shard: Shard | None) -> None:
    path = _path(folder, shard)
    if path.exists():
        with locked(path, _named(folder, shard)):
            pass


def _path(folder: Path, shard: Shard | None) -> Path:
    return folder / ("lock" if shard is None else f"shard-{shard.index}-of-{shard.count}.lock")


def _named(folder: Path, shard: Shard | None) -> str:
    return f"logit cache {folder}" + ("" if shard is None else f", {shard}")
