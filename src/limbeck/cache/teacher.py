"""A teacher whose output is stored, and read from then on."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from limbeck.cache.slices import device_of, first_samples
from limbeck.cache.spec import every
from limbeck.cache.store import LogitStore
from limbeck.data.batch import Batch
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

    What a training is given does not depend on how much is stored: a row that was just made goes through the same
    encoding as one that is read. With float32 and without ``top_k`` that changes nothing, so on a CPU a cached training
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
        self._known: Tensor | None = None
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
        indices, device = _indices(batch), device_of(batch)
        if self._epoch != (epoch, device):
            self._turn_to(epoch, device)
        if self._table is None:
            return self._stored(self._slots[indices.cpu()], batch, epoch)
        indices = indices.to(device)
        rows = self._table.index_select(0, indices)
        if self._known is None and self._checked:
            return self.store.spec.rows.decode(rows)
        known = None if self._known is None else self._known[indices]
        return self._completed(rows, known, batch, epoch)

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
        return None if self._known is None and self._checked else "the logit cache has not stored all rows yet"

    def _turn_to(self, epoch: int, device: torch.device) -> None:
        """Read what is stored of an epoch's rows."""
        spec = self.store.spec
        self._slots = spec.place(every(spec), seed=self.seed, epoch=epoch)
        self._table = self._known = None
        if spec.samples * spec.rows.bytes <= _TABLE_BYTES:
            rows, known = self._read(self._slots)
            self._table, all_known = rows.to(device), bool(known.all())
            self._known = None if all_known else known.to(device)
            self._release()
        self._epoch = (epoch, device)

    def _release(self) -> None:
        """Drop a live teacher that can be made again, once it has been compared and nothing of the epoch is left."""
        if self._make and self._checked and self._table is not None and self._known is None:
            self.live = None

    def _read(self, slots: Tensor) -> tuple[Tensor, Tensor]:
        found = self.store.read(slots.numpy())
        if found.damaged:
            self._log(f"logit cache {self.store.folder}: {found.damaged} stored rows are damaged and made again")
        return torch.from_numpy(found.rows), torch.from_numpy(found.good)

    def _stored(self, slots: Tensor, batch: Batch, epoch: int) -> Any:
        rows, known = (values.to(device_of(batch)) for values in self._read(slots))
        return self._completed(rows, known, batch, epoch, slots)

    def _completed(
        self, rows: Tensor, known: Tensor | None, batch: Batch, epoch: int, slots: Tensor | None = None
    ) -> Any:
        """Return the output, with the rows that are not known from the live teacher."""
        known = torch.ones(len(rows), dtype=torch.bool, device=rows.device) if known is None else known
        if bool(known.all()):
            if not self._checked and len(rows):
                self._check(rows, self._fresh(first_samples(batch, _CHECKED), epoch))
                self._release()
            return self.store.spec.rows.decode(rows)
        # The whole batch, since a part of it costs a GPU nearly as much, and is another shape to compile for.
        fresh = self._fresh(batch, epoch)
        if not self._checked and bool(known.any()):
            self._check(rows[known], fresh[known])
        completed = torch.where(known[:, None], rows, fresh)
        if slots is None:
            indices = _indices(batch)
            slots = self._slots[indices.cpu()]
            self._remember(indices.to(rows.device), completed)
        missing = ~known
        self._store(slots[missing.cpu()], fresh[missing])
        return self.store.spec.rows.decode(completed)

    def _remember(self, indices: Tensor, rows: Tensor) -> None:
        # So that a sample that comes twice in an epoch gets the same output.
        assert self._table is not None
        assert self._known is not None
        self._table[indices] = rows
        self._known[indices] = True

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
        """Return the rows of a batch as the live teacher makes them now."""
        return self.store.spec.rows.encode(self._live_output(batch, epoch), batch.size)

    def _check(self, stored: Tensor, fresh: Tensor) -> None:
        form = self.store.spec.rows
        difference, allowed = apart(form.decode(stored[: len(fresh)]), form.decode(fresh), self._tolerance)
        if not difference <= allowed:
            found = f"stored logits differ from the live teacher's by {difference:.3g}, expected at most {allowed:.3g}"
            raise UserError(f"logit cache {self.store.folder}: {found}; delete it with `limbeck cache clear`")
        self._checked = True

    def _store(self, slots: Tensor, rows: Tensor) -> None:
        if not self._storing:
            return
        try:
            self.store.write(slots.numpy(), rows.cpu().numpy())
        except OSError as error:
            self._storing = False
            self._log(f"logit cache {self.store.folder}: {error.strerror}; going on without storing more")


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
    found = [_apart(before, now, tolerance) for before, now in pairs]
    return max(found, key=lambda pair: (not pair[0] <= pair[1], pair[0]))


def _apart(stored: Tensor, fresh: Tensor, tolerance: float) -> tuple[float, float]:
    same = (stored == fresh) | (stored.isnan() & fresh.isnan())
    difference = torch.where(same, 0.0, (stored - fresh).abs()).max()
    return float(difference), tolerance * float(torch.where(fresh.isfinite(), fresh, 0.0).abs().max())


def _indices(batch: Batch) -> Tensor:
    if batch.indices is None:
        raise UserError("indices: got None, expected each sample's position in the training set, for the cache")
    return batch.indices
