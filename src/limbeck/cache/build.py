"""Fill a cache ahead of the trainings that read it, and compare one with its teacher."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from limbeck.cache.inputs import InputSource, Replayed
from limbeck.cache.lock import building
from limbeck.cache.shard import Shard
from limbeck.cache.spec import CacheSpec
from limbeck.cache.store import LogitStore
from limbeck.cache.teacher import apart
from limbeck.errors import RunError
from limbeck.teachers import Teacher

Tick = Callable[[int, int], None]
Precision = Callable[[], AbstractContextManager[object]]
_BATCH = 500
# A batch has at most so many bytes of float32 logits, unless it has fewer samples than this.
_BATCH_BYTES, _FEWEST = 2**28, 16


def _no_tick(done: int, total: int) -> None:
    """Do nothing."""


def wanted(
    spec: CacheSpec, seeds: Iterable[int], epochs: int, samples: Callable[[int], Tensor] | None = None
) -> Tensor:
    """Return which slots the trainings of some seeds will read.

    Args:
        spec: What the cache holds.
        seeds: The seeds of the trainings' views.
        epochs: How many epochs each has.
        samples: Returns the positions that an epoch has; None where each has all.

    Returns:
        bool (slots,).

    Example:
        >>> from limbeck.cache import RowFormat
        >>> from limbeck.data import Augment
        >>> spec = CacheSpec("views", 1000, RowFormat(3), Augment(crop=1))
        >>> int(wanted(spec, [0], epochs=1).sum()), int(wanted(spec, range(50), epochs=10).sum())
        (1000, 9000)
    """
    flags, indices = torch.zeros(spec.slots, dtype=torch.bool), torch.arange(spec.samples)
    for seed in seeds:
        for epoch in range(epochs):
            indices = indices if samples is None else samples(epoch)
            flags[spec.place(indices, seed=seed, epoch=epoch)] = True
    return flags


def missing(store: LogitStore, slots: Tensor | None = None, shard: Shard | None = None) -> Tensor:
    """List the slots that are not stored yet, int64.

    Args:
        store: The cache.
        slots: bool (slots,), those that count; None for all.
        shard: The part of the cache that counts; None for all of it.
    """
    start, end = (0, store.spec.slots) if shard is None else shard.bounds(store.spec.slots)
    empty = ~torch.from_numpy(store.filled_between(start, end))
    return (empty if slots is None else empty & slots[start:end]).nonzero()[:, 0] + start


def store_logits(
    store: LogitStore,
    teacher: Teacher,
    replay: InputSource,
    slots: Tensor,
    *,
    precision: Precision = nullcontext,
    tick: Tick = _no_tick,
    batch_size: int = _BATCH,
) -> None:
    """Run the teacher on the inputs of slots, and store its output; several processes may do so, each for others.

    Args:
        store: The cache.
        teacher: The live teacher, on the device of ``replay``.
        replay: Makes the inputs.
        slots: Which, int64 (N,).
        precision: Makes the context in which the teacher is run, such as an engine's ``autocast``.
        tick: Called with how many rows of how many are stored.
        batch_size: On how many samples the teacher is run at a time; fewer where their logits are large maps.

    Raises:
        RunError: If the disk is full or cannot be written.
        UserError: If a sample cannot be read, the teacher's output is of other shapes than the cache's, or a logit is
            too large for its type.
    """
    done = 0
    try:
        for replayed in replay.batches(slots, batch_size=_at_most(batch_size, store.spec)):
            store.write(replayed.slots.numpy(), _fresh(store.spec, teacher, replayed, precision).numpy())
            done += len(replayed.slots)
            tick(done, len(slots))
    except OSError as error:
        remedy = f"the {len(store):,} rows that are stored are kept, the same command resumes"
        raise RunError(f"logit cache {store.folder}: {error.strerror}; {remedy}") from None


def _at_most(batch_size: int, spec: CacheSpec) -> int:
    return min(batch_size, max(_FEWEST, _BATCH_BYTES // (4 * spec.rows.logits)))


def _fresh(spec: CacheSpec, teacher: Teacher, replayed: Replayed, precision: Precision) -> Tensor:
    """Return the rows of a batch as the teacher computes them now, on the CPU."""
    with torch.no_grad(), precision():
        output = teacher.answer(replayed.batch, replayed.epoch)
    return spec.rows.encode(output, replayed.batch.size).cpu()


def fill(
    store: LogitStore,
    teacher: Teacher,
    replay: InputSource,
    *,
    slots: Tensor | None = None,
    shard: Shard | None = None,
    precision: Precision = nullcontext,
    tick: Tick = _no_tick,
    batch_size: int = _BATCH,
) -> int:
    """Store what is missing, one process at a time, or one for each shard; a stopped one resumes where it ended.

    Args:
        store: The cache.
        teacher: The live teacher, on the device of ``replay``.
        replay: Makes the inputs.
        slots: bool (slots,), those to be stored; None for all.
        shard: The part of the cache to be stored; None for all of it.
        precision: As for :func:`store_logits`.
        tick: As for :func:`store_logits`.
        batch_size: As for :func:`store_logits`.

    Returns:
        How many rows were stored.

    Raises:
        RunError: If another process fills these rows ahead, or the disk is full or cannot be written.
        UserError: As for :func:`store_logits`.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from limbeck.cache import Replay, RowFormat
        >>> from limbeck.data import Augment, ImageSet
        >>> from limbeck.teachers import LiveTeacher
        >>> split = ImageSet(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 1]))
        >>> spec = CacheSpec("views", 2, RowFormat(3), Augment(flip=True))
        >>> store = LogitStore.open(Path(tempfile.mkdtemp()), spec)
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
        >>> fill(store, LiveTeacher(network), Replay(split, spec, [0], [1])), len(store)
        (4, 4)
    """
    with building(store, shard):
        todo = missing(store, slots, shard)
        store_logits(store, teacher, replay, todo, precision=precision, tick=tick, batch_size=batch_size)
    return len(todo)


class Compared(NamedTuple):
    """How stored rows compare with the teacher's output now.

    Attributes:
        rows: How many were compared.
        difference: The largest difference of two logits; of several heads that of the one that does not pass, if any.
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
    replay: InputSource,
    *,
    rows: int = 64,
    tolerance: float = 0.02,
    precision: Precision = nullcontext,
    batch_size: int = _BATCH,
) -> Compared:
    """Run the teacher again for some of the stored rows, evenly spread.

    Args:
        store: The cache.
        teacher: The live teacher.
        replay: Makes the inputs.
        rows: How many.
        tolerance: The share of the largest logit that two may differ by.
        precision: Makes the context in which the teacher is run.
        batch_size: As for :func:`store_logits`.

    Returns:
        The comparison; with an empty cache, nothing differs.
    """
    stored = torch.from_numpy(store.filled).nonzero()[:, 0]
    if not len(stored):
        return Compared(0, 0.0, 0.0)
    slots = stored[torch.linspace(0, len(stored) - 1, min(rows, len(stored))).long()]
    decode, stored_rows, fresh_rows = store.spec.rows.decode, [], []
    for replayed in replay.batches(slots, batch_size=_at_most(batch_size, store.spec)):
        stored_rows.append(torch.from_numpy(store.read(replayed.slots.numpy()).rows))
        fresh_rows.append(_fresh(store.spec, teacher, replayed, precision))
    return Compared(len(slots), *apart(decode(torch.cat(stored_rows)), decode(torch.cat(fresh_rows)), tolerance))
