"""A teacher whose output is stored, and read from then on."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from limbeck.cache.store import LogitStore
from limbeck.data.batch import Batch, are_rows, device_of
from limbeck.errors import UserError
from limbeck.reporting import Log, no_log
from limbeck.teachers import LiveTeacher, Teacher

# Above this an epoch's rows are not held in the device's memory, but read from the files batch by batch.
_TABLE_BYTES = 2**28
# A stored row and one from the live teacher differ by less than this share of the largest logit: on a GPU by the
# algorithms that a size of batch takes, on another machine or version of PyTorch by the order of additions.
TOLERANCE = {"fp32": 0.02, "bf16": 0.15, "fp16": 0.05}
_CHECKED = 8


class CachedTeacher(Teacher):
    """Read the output for a batch from a cache, and run the live teacher for what is not stored yet.

    The output does not depend on how much is stored: a row that was just computed goes through the same encoding as one
    that is read. With float32 and without ``top_k`` that changes nothing, so on a CPU a cached training
    is the live one, bit for bit; with float16 a logit is rounded to 11 significant bits.

    The rows that an epoch needs are read at its beginning, so that a step costs one gather on the device. In the first
    batch with stored rows a few of them are compared with what the live teacher returns for those very inputs: its
    first samples, or the whole batch where the inputs are not tensors with one row a sample.

    Args:
        live: The teacher, or a function that makes it on its device. Made by a function, it is kept only as long as it
            is needed: a training whose rows are all stored goes without.
        store: The cache.
        seed: The seed of the training's views.
        precision: The precision of the training, ``"fp32"``, ``"bf16"`` or ``"fp16"``, which decides how far a stored
            row may be from the live teacher's.
        log: Called with a line about damaged rows, a full disk and the like.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from limbeck.cache import RowFormat, CacheSpec
        >>> store = LogitStore.open(Path(tempfile.mkdtemp()), CacheSpec("views", 9, RowFormat(3, "float32")))
        >>> teacher = CachedTeacher(nn.Linear(4, 3), store)
        >>> batch = Batch(torch.randn(2, 4), torch.tensor([0, 1]), torch.tensor([8, 5]))
        >>> first = teacher.answer(batch, epoch=0)
        >>> torch.equal(teacher.answer(batch, epoch=1), first), len(store)
        (True, 2)
    """

    live: Teacher | None

    def __init__(
        self,
        live: nn.Module | Callable[[], Teacher],
        store: LogitStore,
        *,
        seed: int = 0,
        precision: str = "fp32",
        log: Log = no_log,
    ) -> None:
        super().__init__()
        self._make = None if isinstance(live, nn.Module) else live
        self.live = None
        if isinstance(live, nn.Module):
            self.live = live if isinstance(live, Teacher) else LiveTeacher(live)
        self.store, self.seed, self._log = store, seed, log
        self._precision, self._tolerance = precision, TOLERANCE[precision]
        self._epoch: tuple[int, torch.device] | None = None
        self._slots = torch.empty(0, dtype=torch.int64)
        self._table: Tensor | None = None
        self._is_stored: Tensor | None = None
        self._checked = False
        self._storing = store.writable

    def answer(self, batch: Batch, epoch: int = 0) -> Any:
        """Return the output for the training's views of a batch's samples at ``epoch``, in float32.

        Args:
            batch: The views, and the positions of their samples in the training set.
            epoch: The epoch, from 0.

        Returns:
            What the cache's :class:`limbeck.cache.RowFormat` describes: (N, C) logits, maps, or several by name.

        Raises:
            UserError: Without ``indices``, for an epoch that the cache has no place for, if the live teacher's output
                is of other shapes than the cache's, or if what is stored is not the live teacher's.
        """
        indices, device = _indices(batch), _device(batch)
        if self._epoch != (epoch, device):
            self._turn_to(epoch, device)
        if self._table is None:
            return self._stored(self._slots[indices.cpu()], batch, epoch)
        indices = indices.to(device)
        rows = self._table.index_select(0, indices)
        if self._is_stored is None and self._checked:
            return self.store.spec.rows.decode(rows)
        is_stored = None if self._is_stored is None else self._is_stored[indices]
        return self._completed(rows, is_stored, batch, epoch)

    def unaugmented(self, batch: Batch, epoch: int = 0) -> Any:
        """Return the output for samples of the training set without augmentation."""
        slots = self.store.spec.place_unaugmented(_indices(batch))
        if slots is None:
            output = self._live_output(batch, epoch)
            self.store.spec.rows.check(output, batch.size)
            return output
        return self._stored(slots.cpu(), batch, epoch)

    def why_not_recordable(self) -> str | None:
        """Return why the next outputs may come from the files or the live teacher; None if an epoch's table has all."""
        if self._table is None:
            return "the teacher's rows are too many for a table on the device"
        return None if self._is_stored is None and self._checked else "the logit cache has not stored all rows yet"

    def _turn_to(self, epoch: int, device: torch.device) -> None:
        """Read what is stored of an epoch's rows."""
        spec = self.store.spec
        self._slots = spec.place(torch.arange(spec.samples), seed=self.seed, epoch=epoch)
        self._table = self._is_stored = None
        if spec.samples * spec.rows.bytes <= _TABLE_BYTES:
            rows, is_stored = self._read(self._slots)
            self._table, self._is_stored = rows.to(device), None if is_stored.all() else is_stored.to(device)
            self._release()
        self._epoch = (epoch, device)

    def _release(self) -> None:
        """Drop a live teacher that can be made again, once it has been compared and nothing of the epoch is left."""
        if self._make and self._checked and self._table is not None and self._is_stored is None:
            self.live = None

    def _read(self, slots: Tensor) -> tuple[Tensor, Tensor]:
        rows, good, damaged = self.store.read(slots.numpy())
        if damaged:
            self._log(f"logit cache {self.store.folder}: {damaged} stored rows are damaged and made again")
        return torch.from_numpy(rows), torch.from_numpy(good)

    def _stored(self, slots: Tensor, batch: Batch, epoch: int) -> Any:
        rows, is_stored = (values.to(_device(batch)) for values in self._read(slots))
        return self._completed(rows, is_stored, batch, epoch, slots)

    def _completed(
        self, rows: Tensor, is_stored: Tensor | None, batch: Batch, epoch: int, slots: Tensor | None = None
    ) -> Any:
        """Return the output, with the rows that are not stored from the live teacher."""
        if is_stored is None or bool(is_stored.all()):
            if not self._checked and len(rows):
                self._check(rows, self._fresh(_first_samples(batch, _CHECKED), epoch))
                self._release()
            return self.store.spec.rows.decode(rows)
        # The whole batch, since a part of it costs a GPU nearly as much, and is another shape to compile for.
        fresh = self._fresh(batch, epoch)
        if not self._checked and bool(is_stored.any()):
            self._check(rows[is_stored], fresh[is_stored])
        completed = torch.where(is_stored[:, None], rows, fresh)
        if slots is None:
            assert self._table is not None
            assert self._is_stored is not None
            indices = _indices(batch)
            slots = self._slots[indices.cpu()]
            # So that a sample that comes twice in an epoch gets the same output.
            self._table[indices.to(rows.device)] = completed
            self._is_stored[indices.to(rows.device)] = True
        self._store(slots[~is_stored.cpu()], fresh[~is_stored])
        return self.store.spec.rows.decode(completed)

    def __reduce__(self) -> tuple[Callable[..., "CachedTeacher"], tuple[Teacher, LogitStore]]:
        # The functions may be local to the caller: a copy has the live teacher, and reports nothing.
        return partial(type(self), seed=self.seed, precision=self._precision), (self._live_teacher(), self.store)

    def _live_teacher(self) -> Teacher:
        if self.live is None:
            assert self._make is not None
            self.live = self._make()
        return self.live

    @torch.no_grad()
    def _live_output(self, batch: Batch, epoch: int) -> Any:
        return self._live_teacher().answer(batch, epoch)

    def _fresh(self, batch: Batch, epoch: int) -> Tensor:
        return self.store.spec.rows.encode(self._live_output(batch, epoch), batch.size)

    def _check(self, stored: Tensor, fresh: Tensor) -> None:
        decode = self.store.spec.rows.decode
        difference, allowed = apart(decode(stored[: len(fresh)]), decode(fresh), self._tolerance)
        if not difference <= allowed:
            got = f"stored logits differ from the live teacher's by {difference:.3g}, expected at most {allowed:.3g}"
            raise UserError(f"logit cache {self.store.folder}: {got}; delete it with `limbeck cache clear`")
        self._checked = True

    def _store(self, slots: Tensor, rows: Tensor) -> None:
        if not self._storing:
            return
        try:
            self.store.write(slots.numpy(), rows.cpu().numpy())
        except OSError as error:
            self._storing = False
            self._log(f"logit cache {self.store.folder}: {error.strerror}; continuing without storing more")


def apart(stored: Any, fresh: Any, tolerance: float) -> tuple[float, float]:
    """Return how far two outputs are apart at most, and how far they may be.

    Logits that are nan or infinite in both alike are not apart. Of several tensors the one that fails counts, or the
    one that is furthest apart.

    Args:
        stored: (N, C, ...) logits, or several by name.
        fresh: The same.
        tolerance: The share of the largest finite logit of a tensor that is allowed.

    Example:
        >>> apart(torch.tensor([[1., 2.]]), torch.tensor([[1., 2.5]]), 0.1)
        (0.5, 0.25)
        >>> apart({"out": torch.zeros(1, 2), "aux": torch.zeros(1, 2)}, {"out": torch.ones(1, 2) * 9,
        ...       "aux": torch.zeros(1, 2)}, 2)
        (9.0, 18.0)
    """
    pairs = zip(pytree.tree_leaves(stored), pytree.tree_leaves(fresh), strict=True)
    differences = [_apart(*pair, tolerance) for pair in pairs]
    return max(differences, key=lambda pair: (not pair[0] <= pair[1], pair[0]))


def _apart(stored: Tensor, fresh: Tensor, tolerance: float) -> tuple[float, float]:
    same = (stored == fresh) | (stored.isnan() & fresh.isnan())
    difference = torch.where(same, 0.0, (stored - fresh).abs()).max()
    return float(difference), tolerance * float(torch.where(fresh.isfinite(), fresh, 0.0).abs().max())


def _indices(batch: Batch) -> Tensor:
    if batch.indices is None:
        raise UserError("indices: got None, expected each sample's position in the training set, for the cache")
    return batch.indices


def _device(batch: Batch) -> torch.device:
    # A look at the one tensor that inputs mostly are is faster than a walk through the batch.
    return batch.inputs.device if isinstance(batch.inputs, Tensor) else device_of((batch.inputs, batch.indices))


def _first_samples(batch: Batch, count: int) -> Batch:
    """Return the first samples of a batch, or the whole of it unless it is tensors with one row a sample."""
    if isinstance(batch.inputs, list) or not are_rows(tuple(batch), batch.size):
        return batch
    return Batch(*pytree.tree_map_only(Tensor, lambda part: part[:count], tuple(batch)))
