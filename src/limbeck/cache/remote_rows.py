"""A cache's rows put elsewhere and fetched again, in parts."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from limbeck.cache.checksum import checksums
from limbeck.cache.lock import building
from limbeck.cache.manifest import Manifest, Part, Tick, Upload, read_manifest, read_part
from limbeck.cache.remote import RemoteFolder
from limbeck.cache.spec import CacheSpec
from limbeck.cache.store import LogitStore, Rows, Slots
from limbeck.errors import RunError, UserError

_CHECKS, _ROWS = "checks", "rows"
# A part has about so many bytes, which are in memory at a time.
_PART_BYTES = 2**25
Checks = npt.NDArray[np.uint32]


class Sent(NamedTuple):
    """What was put elsewhere.

    Attributes:
        rows: How many rows the folder holds now.
        parts: How many parts it has.
        sent: How many of them were sent now.
    """

    rows: int
    parts: int
    sent: int


class Span(NamedTuple):
    """The slots of one part.

    Attributes:
        number: Which part it is, from 0.
        slots: Its slots, int64.
    """

    number: int
    slots: Slots


def send_rows(store: LogitStore, folder: RemoteFolder, *, tick: Tick = lambda *_: None) -> Sent:
    """Put the stored rows of a cache elsewhere; parts that are there already are not sent again.

    Runs and builds may add rows meanwhile, which are or are not among those that are sent. A damaged row is left out.

    Args:
        store: The cache.
        folder: Where; the folder of this cache alone.
        tick: Called with how many parts of how many are there.

    Raises:
        UserError: If rows are there that the cache lacks, or the folder holds another cache.
        RunError: If the folder cannot be read or written.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from limbeck.cache import CacheSpec, RowFormat
        >>> spec, folder = CacheSpec("views", 9, RowFormat(2)), RemoteFolder.open("memory://rows")
        >>> first, second = (LogitStore.open(Path(tempfile.mkdtemp()), spec) for _ in range(2))
        >>> first.write(np.array([3]), np.array([[7]], np.int32))
        >>> send_rows(first, folder), fetch_rows(second, folder), second.filled.nonzero()[0]
        (Sent(rows=1, parts=2, sent=2), 1, array([3]))
    """
    spec, span = store.spec, _span_of(store.spec)
    before = read_manifest(folder, "logits", spec.key)
    if before is not None:
        _require_all(store, before, folder)
    files: dict[str, list[Part | None]] = {_CHECKS: [], _ROWS: []}
    upload = Upload(folder, before, total=2 * -(-spec.slots // span), tick=tick)
    rows_there = 0
    for part in _spans(spec, span):
        checks, rows = _content(store, part.slots)
        stored = int(np.count_nonzero(checks))
        rows_there += stored
        for name, content in ((_CHECKS, checks), (_ROWS, rows)):
            # What is all empty needs no object.
            files[name].append(upload.part(name, part.number, content.tobytes() if stored else None))
    manifest = Manifest(kind="logits", key=spec.key, span=span, files=files)
    upload.finish(manifest)
    return Sent(rows_there, len(manifest.objects), upload.sent)


def fetch_rows(store: LogitStore, folder: RemoteFolder, *, tick: Tick = lambda *_: None) -> int | None:
    """Store the rows of a cache that were put elsewhere and are missing here.

    Parts whose rows are all here are not fetched again. Each row is stored as a build stores it, so that one that is
    half-written is never read.

    Args:
        store: The cache.
        folder: Where the rows are; the folder of this cache alone.
        tick: Called with how many parts of how many are here.

    Returns:
        How many rows were stored; None if nothing was put there.

    Raises:
        UserError: If the folder holds another cache.
        RunError: If a part is missing or damaged, which names it, the folder cannot be read, the disk is full, or
            another process fills this cache.
    """
    manifest = read_manifest(folder, "logits", store.spec.key)
    if manifest is None:
        return None
    stored, spans = 0, list(_spans(store.spec, _checked_span(manifest, store.spec, folder)))
    with building(store):
        for part in spans:
            stored += _fetch(store, manifest, part, folder)
            tick(part.number + 1, len(spans))
    return stored


def _fetch(store: LogitStore, manifest: Manifest, part: Span, folder: RemoteFolder) -> int:
    checks = _remote_checks(manifest, part, folder)
    held = checks != 0
    held[held] = ~store.read(part.slots[held]).good
    slots = part.slots[held]
    if not len(slots):
        return 0
    rows = _remote_rows(manifest, part, store.spec, folder)[held]
    # Beside the SHA-256 of the part: a row is bound to its place and to the cache.
    if not np.array_equal(checksums(rows, slots, store.spec.key), checks[held]):
        raise _damaged(manifest, _ROWS, part.number, folder)
    try:
        store.write(slots, rows)
    except OSError as error:
        remedy = f"the {len(store):,} rows that are stored are kept, the same command continues"
        raise RunError(f"logit cache {store.folder}: {error.strerror}; {remedy}") from None
    return len(slots)


def _span_of(spec: CacheSpec) -> int:
    return max(1, _PART_BYTES // spec.rows.bytes)


def _spans(spec: CacheSpec, span: int) -> Iterator[Span]:
    starts = range(0, spec.slots, span)
    return (Span(number, np.arange(start, min(start + span, spec.slots))) for number, start in enumerate(starts))


def _content(store: LogitStore, slots: Slots) -> tuple[Checks, Rows]:
    """Return the checksums and rows of slots, zeros for what is not stored, so that equal rows make equal parts."""
    rows, good, _ = store.read(slots)
    rows[~good] = 0
    return np.where(good, checksums(rows, slots, store.spec.key), np.uint32(0)), rows


def _require_all(store: LogitStore, manifest: Manifest, folder: RemoteFolder) -> None:
    """Refuse to replace what is elsewhere by less."""
    lacking = 0
    for part in _spans(store.spec, _checked_span(manifest, store.spec, folder)):
        checks, _ = _content(store, part.slots)
        # What is the same need not be fetched, and may be damaged there: it is put there again.
        if manifest.files[_CHECKS][part.number] != Part.of(checks.tobytes()):
            held = _remote_checks(manifest, part, folder) != 0
            lacking += int(np.count_nonzero(held & (checks == 0)))
    if lacking:
        got = f"holds {lacking:,} rows that are missing in {store.folder}"
        raise UserError(f"{folder.url}: {got}; expected `limbeck cache pull` before push")


def _checked_span(manifest: Manifest, spec: CacheSpec, folder: RemoteFolder) -> int:
    """Return how many rows a part has, if the parts are those of the cache."""
    parts = -(-spec.slots // manifest.span) if manifest.span else 0
    counts = [len(manifest.files.get(name, ())) for name in (_CHECKS, _ROWS)]
    if len(manifest.files) != 2 or not parts or counts != [parts, parts]:
        raise RunError(f"{folder.url}: its manifest is damaged, expected checks and rows of {spec.slots:,} slots")
    return manifest.span


def _remote_checks(manifest: Manifest, part: Span, folder: RemoteFolder) -> Checks:
    content = _read(manifest, _CHECKS, part, 4, folder)
    return np.zeros(len(part.slots), np.uint32) if content is None else np.frombuffer(content, np.uint32)


def _remote_rows(manifest: Manifest, part: Span, spec: CacheSpec, folder: RemoteFolder) -> Rows:
    content = _read(manifest, _ROWS, part, spec.rows.bytes, folder)
    if content is None:
        raise _damaged(manifest, _ROWS, part.number, folder)
    return np.frombuffer(content, np.int32).reshape(-1, spec.rows.words)


def _read(manifest: Manifest, file: str, part: Span, row_bytes: int, folder: RemoteFolder) -> bytes | None:
    described = manifest.files[file][part.number]
    if described is None:
        return None
    if described.size != len(part.slots) * row_bytes:
        raise _damaged(manifest, file, part.number, folder)
    return read_part(folder, file, part.number, described)


def _damaged(manifest: Manifest, file: str, index: int, folder: RemoteFolder) -> RunError:
    described = manifest.files[file][index]
    name = f"{file}.{index:05d}" if described is None else described.object(file, index)
    return RunError(f"{folder.url}/{name}: is damaged, expected rows of this cache; delete it, and push again")
