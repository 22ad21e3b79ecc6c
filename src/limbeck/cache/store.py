"""The files of a cache: rows, each with its checksum, stored in any order by any number of processes."""

import mmap
import os
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from limbeck.cache.about import check_about, write_about
from limbeck.cache.checksum import checksums
from limbeck.cache.spec import CacheSpec
from limbeck.errors import RunError, UserError
from limbeck.reporting import Log, no_log

Slots = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]

# Between blocks of so many rows, or bytes, the pages that were read are released, or they would count as this process's
# memory.
_BLOCK, _BLOCK_BYTES = 1024, 2**22


class StoredRows(NamedTuple):
    """What was read from a cache.

    Attributes:
        rows: int32 (N, words); whatever was there where ``good`` is false.
        good: Which of them are stored and match their checksums, bool (N,).
        damaged: How many are stored and do not match.
    """

    rows: Rows
    good: Flags
    damaged: int


class LogitStore:
    """The rows of one cache, in a folder of its own that is named by the cache's key.

    ``logits.bin`` holds the rows, ``checks.bin`` a checksum of each, 0 for one that is not stored yet, and
    ``about.json`` describes them. A checksum covers the row, its place and the cache's key, and it is compared whenever
    a row is read: one that was altered, lost, half-written or comes from another cache does not pass, and
    counts as not stored. So several processes may read and write at once, and one may be killed at any moment.

    Use :meth:`open`.

    Example:
        >>> import tempfile, torch
        >>> from limbeck.cache import RowFormat, CacheSpec
        >>> spec = CacheSpec("views", 100, RowFormat(3, "float32"))
        >>> store = LogitStore.open(Path(tempfile.mkdtemp()), spec)
        >>> store.write(np.array([7]), spec.rows.encode(torch.tensor([[1., 2., 3.]])).numpy())
        >>> stored = store.read(np.array([6, 7]))
        >>> stored.good, spec.rows.decode(torch.from_numpy(stored.rows))[1]
        (array([False,  True]), tensor([1., 2., 3.]))
    """

    def __init__(self, folder: Path, spec: CacheSpec, files: tuple[int, int], *, writable: bool) -> None:
        self.folder, self.spec, self.writable = folder, spec, writable
        self._files, self._read_since = files, 0
        self._maps = tuple(mmap.mmap(file, 0, access=mmap.ACCESS_READ) for file in files)
        self._rows: Rows = np.frombuffer(self._maps[0], np.int32).reshape(spec.slots, spec.rows.words)
        self._checks = np.frombuffer(self._maps[1], np.uint32)

    @classmethod
    def open(cls, parent: Path, spec: CacheSpec, *, log: Log = no_log) -> Self:
        """Open a cache, after making its empty files if there are none; they take room only as they are filled.

        A file of the wrong length, or an ``about.json`` that cannot be read, is repaired, which is logged in one
        line: the rows that are left are those with matching checksums.

        Args:
            parent: The folder of all caches.
            spec: What the cache holds.
            log: Called with a line about each repair.

        Raises:
            UserError: If the folder holds another cache's files, or cannot be read or made.
        """
        if not hasattr(os, "pwrite"):
            raise UserError("teacher.cache: needs a system with POSIX files, which this is not; expected 'off'")
        folder = parent / spec.key
        try:
            if not folder.is_dir():
                _create(folder, spec)
            writable = os.access(folder, os.W_OK)
            check_about(folder, spec, log, writable=writable)
            paths = [(folder / name, length) for name, length in _lengths(spec).items()]
            files = [_opened(path, length, log, writable=writable) for path, length in paths]
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise UserError(f"logit cache {folder}: cannot be opened ({reason}), set output.cache elsewhere") from None
        return cls(folder, spec, (files[0], files[1]), writable=writable)

    def __reduce__(self) -> tuple[Callable[..., "LogitStore"], tuple[Path, CacheSpec]]:
        # Open files and maps of them are no part of a copy or a pickle, which opens them anew.
        return type(self).open, (self.folder.parent, self.spec)

    @property
    def filled(self) -> Flags:
        """Which slots hold a row, bool (slots,); whether it matches its checksum is found when it is read."""
        return self.filled_between(0, self.spec.slots)

    def filled_between(self, start: int, end: int) -> Flags:
        """Return which of the slots from ``start`` to before ``end`` hold a row, bool (end - start,)."""
        filled: Flags = self._checks[start:end] != 0
        self._release()
        return filled

    def read(self, slots: Slots) -> StoredRows:
        """Read rows and compare them with their checksums.

        Args:
            slots: Which, int64 (N,).
        """
        rows, good = np.empty((len(slots), self.spec.rows.words), np.int32), np.empty(len(slots), np.bool_)
        damaged, block = 0, self._block
        for start in range(0, len(slots), block):
            part, places = slice(start, start + block), slots[start : start + block]
            rows[part], checks = self._rows[places], self._checks[places]
            good[part] = checks == checksums(rows[part], places, self.spec.key)
            damaged += int(np.count_nonzero((checks != 0) & ~good[part]))
            self._read_since += len(places)
            if self._read_since >= block:
                self._release()
        return StoredRows(rows, good, damaged)

    def write(self, slots: Slots, rows: Rows) -> None:
        """Store rows; one that is there already is replaced.

        Args:
            slots: Where, int64 (N,).
            rows: int32 (N, words).

        Raises:
            OSError: If the disk is full, or the like; what was stored before stays as it was.
        """
        order = np.argsort(slots, kind="stable")
        slots, rows = slots[order], rows[order]
        checks = checksums(rows, slots, self.spec.key)
        # Not through the memory map: there a full disk ends the process instead of raising an error.
        for start, end in _runs(slots):
            _write(self._files[0], rows[start:end].tobytes(), int(slots[start]) * self.spec.rows.bytes)
        for start, end in _runs(slots):
            _write(self._files[1], checks[start:end].tobytes(), int(slots[start]) * 4)

    def verify(self, *, drop: bool = True) -> int:
        """Compare every stored row with its checksum.

        Args:
            drop: Whether those that do not match are marked as not stored.

        Returns:
            How many do not match.
        """
        slots, damaged, span = np.flatnonzero(self.filled), 0, 64 * self._block
        for start in range(0, len(slots), span):
            places = slots[start : start + span]
            bad_places = places[~self.read(places).good]
            damaged += len(bad_places)
            for slot in bad_places if drop and self.writable else ():
                _write(self._files[1], bytes(4), int(slot) * 4)
        return damaged

    def __len__(self) -> int:
        """Count the rows that are stored."""
        return int(np.count_nonzero(self.filled))

    def __str__(self) -> str:
        return f"{self.spec.estimate}, {len(self) / self.spec.slots:.1%} stored ({self.folder})"

    @property
    def _block(self) -> int:
        return max(1, min(_BLOCK, _BLOCK_BYTES // self.spec.rows.bytes))

    def _release(self) -> None:
        self._read_since = 0
        for mapped in self._maps:
            if hasattr(mapped, "madvise"):
                mapped.madvise(mmap.MADV_DONTNEED)

    def __del__(self) -> None:
        for file in getattr(self, "_files", ()):
            os.close(file)


def _lengths(spec: CacheSpec) -> dict[str, int]:
    return {"logits.bin": spec.slots * spec.rows.bytes, "checks.bin": spec.slots * 4}


def _create(folder: Path, spec: CacheSpec) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(mkdtemp(prefix=f"{folder.name}.partial-", dir=folder.parent))
    try:
        for name, length in _lengths(spec).items():
            _lengthen(partial / name, length)
        write_about(partial, spec)
        partial.rename(folder)
    except (OSError, RunError):
        # Of two processes that make the same at once, the first to finish wins, and its files are as good.
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        # Those of processes that were killed, and of any that is about to find this one.
        for other in folder.parent.glob(f"{folder.name}.partial-*") if folder.is_dir() else ():
            shutil.rmtree(other, ignore_errors=True)


def _lengthen(path: Path, length: int) -> None:
    with path.open("ab") as file:
        file.truncate(length)


def _opened(path: Path, length: int, log: Log, *, writable: bool) -> int:
    if path.exists() and not path.is_file():
        raise UserError(f"logit cache {path}: is no regular file, expected the rows of a cache; delete the folder")
    size = path.stat().st_size if path.is_file() else 0
    if size != length:
        log(f"logit cache {path}: has {size:,} bytes, expected {length:,}; rows that are lost are made again")
        _lengthen(path, length)
    return os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | getattr(os, "O_CLOEXEC", 0))


def _runs(slots: Slots) -> Iterator[tuple[int, int]]:
    """Yield where each run of neighboring slots begins and ends."""
    bounds = [0, *(np.flatnonzero(np.diff(slots) != 1) + 1).tolist(), len(slots)]
    return ((start, end) for start, end in pairwise(bounds) if end > start)


def _write(file: int, content: bytes, offset: int) -> None:
    while content:
        written = os.pwrite(file, content, offset)
        content, offset = content[written:], offset + written
