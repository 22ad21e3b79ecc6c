"""A checksum of each row of a cache, bound to the row's place and to the cache."""

import zlib

import numpy as np
import numpy.typing as npt

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xBF58476D1CE4E5B9)


def checksums(rows: npt.NDArray[np.int32], slots: npt.NDArray[np.int64], key: str) -> npt.NDArray[np.uint32]:
    """Compute a checksum of each row: CRC-32, begun with the cache's key and mixed with the row's place.

    Args:
        rows: int32 (N, words), contiguous.
        slots: The place of each row, int64 (N,).
        key: The cache's key, hexadecimal.

    Returns:
        uint32 (N,), never 0.

    Example:
        >>> row, changed_row = np.array([[1, 2]], np.int32), np.array([[1, 3]], np.int32)
        >>> slot, next_slot = np.array([0]), np.array([1])
        >>> rows = (row, slot, "a"), (changed_row, slot, "a"), (row, next_slot, "a"), (row, slot, "b")
        >>> len({int(checksums(*arguments)[0]) for arguments in rows})
        4
    """
    begin = int(key[:8], 16)
    crc = np.fromiter((zlib.crc32(row, begin) for row in rows), np.uint32, len(rows))
    places = (slots.astype(np.uint64) + np.uint64(1)) * _GOLDEN
    places = (places ^ (places >> np.uint64(29))) * _MIX
    mixed = crc ^ (places >> np.uint64(32)).astype(np.uint32)
    # 0 stands for a row that is not stored.
    return np.where(mixed == 0, np.uint32(1), mixed)
