"""A teacher that is asked once about a view, and remembered from then on."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

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
    """Answer from a cache, and ask the live teacher about what is not stored yet.

    What a training is given does not depend on how much is stored: a row that has just been made goes through the same
    encoding as one that is read. With float32 and without ``top_k`` that changes nothing, so on a CPU a cached training
    is the live one, bit for bit; with float16 a logit is rounded to 11 significant bits.

    The rows that an epoch needs are read at its beginning, so that a step costs one gather on the device. In the first
    batch with stored rows a few of them are compared with what the live teacher says about those very inputs.

    Args:
        live: The teacher, or a function that makes it where it is to run. Made by a function, it is kept only as long
            as it is needed: a training whose rows are all stored goes without.
        store: The cache.
        seed: The seed of the training's views.
        precision: The precision in which the training runs, ``"fp32"``, ``"bf16"`` or ``"fp16"``, which says how far a
            stored row may be from the live teacher's.
        log: Told of damaged rows, of a full disk and the like, in one line each.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from limbeck.cache import RowFormat, CacheSpec
        >>> store = LogitStore.open(Path(tempfile.mkdtemp()), CacheSpec("views", 9, RowFormat(3, "float32")))
        >>> teacher = CachedTeacher(nn.Linear(4, 3), store)
        >>> batch = torch.randn(2, 4), torch.tensor([0, 1]), torch.tensor([8, 5])
        >>> first = teacher(*batch, epoch=0)
        >>> torch.equal(teacher(*batch, epoch=1), first), len(store)
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

    def logits(self, inputs: Tensor, labels: Tensor, indices: Tensor | None = None, epoch: int = 0) -> Tensor:
        """Return (N, C) float32 logits for the training's views of these samples at ``epoch``.

        Args:
            inputs: The views.
            labels: (N,) true classes.
            indices: (N,) positions of the samples in the training set.
            epoch: The epoch, from 0.

        Raises:
            UserError: Without ``indices``, for an epoch that the cache has no place for, or if what is stored is not
                what the live teacher says.
        """
        if indices is None:
            raise UserError("indices: got None, expected each sample's position in the training set, for the cache")
        if self._epoch != (epoch, inputs.device):
            self._turn_to(epoch, inputs.device)
        if self._table is None:
            return self._answer(self._slots[indices.cpu()], inputs, labels, indices, epoch)
        rows = self._table.index_select(0, indices)
        if self._known is None and self._checked:
            return self.store.spec.rows.decode(rows)
        known = None if self._known is None else self._known[indices]
        return self._completed(rows, known, inputs, labels, indices, epoch)

    def unaugmented(self, batch: Batch, epoch: int = 0) -> Tensor:
        """Return (N, C) logits for samples of the training set without augmentation."""
        inputs, labels, indices = batch
        assert indices is not None
        slots = self.store.spec.place_unaugmented(indices)
        if slots is None:
            return self._live_output(inputs, labels, indices, epoch)
        return self._answer(slots.cpu(), inputs, labels, indices, epoch)

    def why_not_recordable(self) -> str | None:
        """Say why the next answers may come from the files or the live teacher; None if an epoch's table has all."""
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

    def _answer(self, slots: Tensor, inputs: Tensor, labels: Tensor, indices: Tensor, epoch: int) -> Tensor:
        rows, known = (values.to(inputs.device) for values in self._read(slots))
        return self._completed(rows, known, inputs, labels, indices, epoch, slots)

    def _completed(
        self,
        rows: Tensor,
        known: Tensor | None,
        inputs: Tensor,
        labels: Tensor,
        indices: Tensor,
        epoch: int,
        slots: Tensor | None = None,
    ) -> Tensor:
        """Return the logits, with those that are not known from the live teacher."""
        form = self.store.spec.rows
        known = torch.ones(len(rows), dtype=torch.bool, device=rows.device) if known is None else known
        if bool(known.all()):
            if not self._checked:
                few = slice(0, _CHECKED)
                self._check(rows[few], form.encode(self._live_output(inputs[few], labels[few], indices[few], epoch)))
                self._release()
            return form.decode(rows)
        # The whole batch, since a part of it costs a GPU nearly as much, and is another shape to compile for.
        fresh = form.encode(self._live_output(inputs, labels, indices, epoch))
        if not self._checked and bool(known.any()):
            self._check(rows[known], fresh[known])
        completed = torch.where(known[:, None], rows, fresh)
        if slots is None:
            slots = self._slots[indices.cpu()]
            self._remember(indices, completed)
        self._store(slots[~known.cpu()], fresh[~known])
        return form.decode(completed)

    def _remember(self, indices: Tensor, rows: Tensor) -> None:
        # So that a sample that is asked about twice in an epoch gets the same answer.
        assert self._table is not None
        assert self._known is not None
        self._table[indices] = rows
        self._known[indices] = True

    def __reduce__(self) -> tuple[Callable[..., "CachedTeacher"], tuple[Teacher, LogitStore]]:
        # The functions given may be local to whoever made this: a copy has the live teacher, and reports nothing.
        return partial(type(self), seed=self.seed, precision=self._precision), (self._live_teacher(), self.store)

    def _live_teacher(self) -> Teacher:
        if self.live is None:
            assert self._make is not None
            self.live = self._make()
        return self.live

    @torch.no_grad()
    def _live_output(self, inputs: Tensor, labels: Tensor, indices: Tensor, epoch: int) -> Tensor:
        answer: Tensor = self._live_teacher()(inputs, labels, indices, epoch)
        if answer.shape != (len(labels), self.store.spec.rows.classes):
            expected = (len(labels), self.store.spec.rows.classes)
            raise UserError(f"the teacher's output: got {tuple(answer.shape)}, expected {expected} as in its cache")
        return answer

    def _check(self, stored: Tensor, fresh: Tensor) -> None:
        form = self.store.spec.rows
        difference, allowed = apart(form.decode(stored), form.decode(fresh), self._tolerance)
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


def apart(stored: Tensor, fresh: Tensor, tolerance: float) -> tuple[float, float]:
    """Return how far two sets of logits are apart at most, and how far they may be.

    Logits that are nan or infinite in both alike are not apart.

    Args:
        stored: (N, C) logits.
        fresh: (N, C) logits.
        tolerance: The share of the largest finite logit that is allowed.

    Example:
        >>> apart(torch.tensor([[1., 2.]]), torch.tensor([[1., 2.5]]), 0.1)
        (0.5, 0.25)
    """
    same = (stored == fresh) | (stored.isnan() & fresh.isnan())
    difference = torch.where(same, 0.0, (stored - fresh).abs()).max()
    return float(difference), tolerance * float(torch.where(fresh.isfinite(), fresh, 0.0).abs().max())
