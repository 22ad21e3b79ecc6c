"""What a cache lacks, and who is filling it, in words."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from limbeck.cache.lock import shards_begun
from limbeck.cache.store import Flags

# Of more ranges of missing rows, as runs that fill a cache as they go leave them, the first ones are written.
_RANGES = 4


def unfilled(folder: Path) -> Iterator[str]:
    """Yield lines about the rows that a cache lacks, and about its shards that have been begun and are not complete.

    Args:
        folder: The cache's folder.

    Raises:
        RunError: If shards have been begun and the folder cannot be locked.

    Example:
        >>> import tempfile
        >>> from limbeck.cache import CacheSpec, LogitStore, RowFormat
        >>> store = LogitStore.open(Path(tempfile.mkdtemp()), CacheSpec("views", 9, RowFormat(3)))
        >>> store.write(np.array([2, 3, 8]), np.zeros((3, 2), np.int32))
        >>> list(unfilled(store.folder))
        ['6 rows are missing: 0 to 1, 4 to 7']
    """
    checks = folder / "checks.bin"
    stored: Flags = np.fromfile(checks, np.uint32) != 0 if checks.is_file() else np.ones(0, np.bool_)
    missing = int(np.count_nonzero(~stored))
    if not missing:
        return
    yield f"{missing:,} row{'s are' if missing > 1 else ' is'} missing: {_ranges(stored)}"
    for shard, holder in (shards_begun(folder) if os.access(folder, os.W_OK) else {}).items():
        start, end = shard.bounds(len(stored))
        share = float(stored[start:end].mean()) if end > start else 1.0
        if holder or share < 1:
            yield f"{shard.rows(len(stored))}: {share:.1%} stored, {holder or 'stopped'}"


def _ranges(stored: Flags) -> str:
    bounds = np.flatnonzero(np.diff(stored, prepend=True, append=True))
    ranges = [(int(start), int(end) - 1) for start, end in zip(bounds[::2], bounds[1::2], strict=True)]
    texts = [f"{first:,} to {last:,}" if last > first else f"{first:,}" for first, last in ranges[:_RANGES]]
    return ", ".join(texts) + (f" and {len(ranges) - _RANGES:,} ranges more" if len(ranges) > _RANGES else "")
