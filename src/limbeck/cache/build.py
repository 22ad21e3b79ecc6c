"""Fill a cache ahead of the trainings that read it, and compare one with its teacher."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from limbeck.cache.lock import building
from limbeck.cache.replay import Replay
from limbeck.cache.spec import CacheSpec, every
from limbeck.cache.store import LogitStore
from limbeck.cache.teacher import apart
from limbeck.errors import RunError
from limbeck.teachers import Teacher

Tick = Callable[[int, int], None]
Precision = Callable[[], AbstractContextManager[object]]
_BATCH = 500


def _no_tick(done: int, total: int) -> None:
    """Tell nobody."""


def wanted(spec: CacheSpec, seeds: Iterable[int], epochs: int) -> Tensor:
    """Tell which slots the trainings of some seeds will read.

    Args:
        spec: What the cache holds.
        seeds: The seeds of the trainings' views.
        epochs: How many epochs each has.

    Returns:
        bool (slots,).

    Example:
        >>> from limbeck.cache import RowFormat
        >>> from limbeck.data import Augment
        >>> spec = CacheSpec("views", 1000, RowFormat(3), Augment(crop=1))
        >>> int(wanted(spec, [0], epochs=1).sum()), int(wanted(spec, range(50), epochs=10).sum())
        (1000, 9000)
    """
    flags = torch.zeros(spec.slots, dtype=torch.bool)
    for seed in seeds:
        for epoch in range(epochs):
            flags[spec.place(every(spec), seed=seed, epoch=epoch)] = True
    return flags


def missing(store: LogitStore, slots: Tensor | None = None) -> Tensor:
    """List the slots that are not stored yet, int64.

    Args:
        store: The cache.
        slots: bool (slots,), those that count; None for all.
    """
    empty = ~torch.from_numpy(store.filled)
    return (empty if slots is None else empty & slots).nonzero()[:, 0]


def store_logits(
    store: LogitStore,
    teacher: Teacher,
    replay: Replay,
    slots: Tensor,
    *,
    precision: Precision = nullcontext,
    tick: Tick = _no_tick,
    batch_size: int = _BATCH,
) -> None:
    """Ask the teacher about views, and store what it says; several processes may do so, each about others.

    Args:
        store: The cache.
        teacher: The live teacher, on the device of ``replay``.
        replay: Makes the views.
        slots: Which, int64 (N,).
        precision: Makes the context in which the teacher is asked, such as an engine's ``autocast``.
        tick: Told how many rows of how many are stored.
        batch_size: How many views the teacher is asked about at a time.

    Raises:
        RunError: If the disk is full or cannot be written.
        UserError: If an image cannot be read, or a logit is too large for the cache's type.
    """
    done = 0
    try:
        for batch in replay.batches(slots, batch_size=batch_size):
            with torch.no_grad(), precision():
                answer = teacher(batch.inputs, batch.labels, batch.indices, batch.epoch)
            store.write(batch.slots.numpy(), store.spec.rows.encode(answer).cpu().numpy())
            done += len(batch.slots)
            tick(done, len(slots))
    except OSError as error:
        kept = f"the {len(store):,} rows that are stored are kept, the same command goes on"
        raise RunError(f"logit cache {store.folder}: {error.strerror}; {kept}") from None


def fill(
    store: LogitStore,
    teacher: Teacher,
    replay: Replay,
    *,
    slots: Tensor | None = None,
    precision: Precision = nullcontext,
    tick: Tick = _no_tick,
    batch_size: int = _BATCH,
) -> int:
    """Store what is missing, one process at a time; a build that was stopped goes on where it was.

    Args:
        store: The cache.
        teacher: The live teacher, on the device of ``replay``.
        replay: Makes the views.
        slots: bool (slots,), those that are wanted; None for all.
        precision: As for :func:`store_logits`.
        tick: As for :func:`store_logits`.
        batch_size: As for :func:`store_logits`.

    Returns:
        How many rows were stored.

    Raises:
        RunError: If another process fills this cache ahead, or the disk is full or cannot be written.
        UserError: As for :func:`store_logits`.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from limbeck.cache import RowFormat
        >>> from limbeck.data import Augment, ImageSet
        >>> from limbeck.teachers import LiveTeacher
        >>> split = ImageSet(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 1]))
        >>> spec = CacheSpec("views", 2, RowFormat(3), Augment(flip=True))
        >>> store = LogitStore.open(Path(tempfile.mkdtemp()), spec)
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
        >>> fill(store, LiveTeacher(network), Replay(split, spec, [0], [1])), len(store)
        (4, 4)
    """
    with building(store):
        todo = missing(store, slots)
        store_logits(store, teacher, replay, todo, precision=precision, tick=tick, batch_size=batch_size)
    return len(todo)


class Compared(NamedTuple):
    """How stored rows compare with what the teacher says now.

    Attributes:
        rows: How many were compared.
        difference: The largest difference of two logits.
        allowed: The largest that passes.
    """

    rows: int
    difference: float
    allowed: float

    @property
    def same(self) -> bool:
        """Whether they pass."""
        return self.difference <= self.allowed


def compare(
    store: LogitStore,
    teacher: Teacher,
    replay: Replay,
    *,
    rows: int = 64,
    tolerance: float = 0.02,
    precision: Precision = nullcontext,
) -> Compared:
    """Ask the teacher again about some of the stored rows, evenly spread.

    Args:
        store: The cache.
        teacher: The live teacher.
        replay: Makes the views.
        rows: How many.
        tolerance: The share of the largest logit that two may differ by.
        precision: Makes the context in which the teacher is asked.

    Returns:
        What was found; with an empty cache, nothing differs.
    """
    stored = torch.from_numpy(store.filled).nonzero()[:, 0]
    if not len(stored):
        return Compared(0, 0.0, 0.0)
    some = stored[torch.linspace(0, len(stored) - 1, min(rows, len(stored))).long()]
    form, seen = store.spec.rows, []
    for batch in replay.batches(some, batch_size=_BATCH):
        with torch.no_grad(), precision():
            answer = teacher(batch.inputs, batch.labels, batch.indices, batch.epoch)
        kept = torch.from_numpy(store.read(batch.slots.numpy()).rows)
        seen.append((form.decode(kept), form.decode(form.encode(answer)).cpu()))
    was, now = (torch.cat(part) for part in zip(*seen, strict=True))
    return Compared(len(was), *apart(was, now, tolerance))
