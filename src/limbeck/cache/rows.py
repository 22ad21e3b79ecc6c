"""How the logits of one sample lie in a cache's file, and how they come back."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from limbeck.errors import UserError

StoredType = Literal["float16", "float32"]
_TYPES = {"float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True)
class RowFormat:
    """The layout of a stored row: the logits in order, or the largest of them with their classes.

    With ``top_k`` a row is the k largest logits, their classes, and one logit that all other classes are given. It is
    the mean of their probabilities as a logit, so that at temperature 1 the k probabilities stay what they were and
    the others share evenly what is left. That is an approximation; without ``top_k`` a row comes back as it was, to
    the precision of ``dtype``.

    Args:
        classes: Number of classes C.
        dtype: How a logit is stored.
        top_k: How many of the logits are stored; None for all of them.

    Raises:
        UserError: If ``dtype`` is unknown, or ``top_k`` is not within 1 to C - 1.

    Example:
        >>> dense, sparse = RowFormat(100), RowFormat(1000, top_k=10)
        >>> dense.bytes, sparse.bytes
        (200, 44)
        >>> logits = torch.randn(2, 100)
        >>> torch.equal(dense.decode(dense.encode(logits)), logits.half().float())
        True
    """

    classes: int
    dtype: StoredType = "float16"
    top_k: int | None = None

    def __post_init__(self) -> None:
        if self.dtype not in _TYPES:
            raise UserError(f"teacher.cache_dtype: got {self.dtype!r}, expected 'float16' or 'float32'")
        if self.top_k is not None and not 1 <= self.top_k < self.classes:
            expected = f"expected 1 to {self.classes - 1}, fewer than the {self.classes} classes"
            raise UserError(f"teacher.cache_top_k: got {self.top_k}, {expected}")

    @property
    def _values(self) -> int:
        return self.classes if self.top_k is None else self.top_k + 1

    @property
    def _index_type(self) -> torch.dtype:
        return torch.int16 if self.classes <= 2**15 else torch.int32

    @property
    def words(self) -> int:
        """How many 32-bit words a row takes."""
        size = self._words(self._values, _TYPES[self.dtype])
        return size + (0 if self.top_k is None else self._words(self.top_k, self._index_type))

    @property
    def bytes(self) -> int:
        """How many bytes a row takes."""
        return 4 * self.words

    @staticmethod
    def _words(count: int, dtype: torch.dtype) -> int:
        return -(-count * dtype.itemsize // 4)

    def encode(self, logits: Tensor) -> Tensor:
        """Turn logits to rows.

        Args:
            logits: (N, C), of any floating type.

        Returns:
            (N, words) int32, on the same device.

        Raises:
            UserError: If a logit is too large for float16.
        """
        logits = logits.detach().float()
        if self.top_k is None:
            return self._packed(self._narrowed(logits))
        largest, classes = logits.topk(self.top_k, dim=1)
        others = logits.scatter(1, classes, -torch.inf).logsumexp(dim=1, keepdim=True)
        rest = others - torch.log(others.new_tensor(self.classes - self.top_k))
        values = self._packed(self._narrowed(torch.cat([rest, largest], dim=1)))
        return torch.cat([values, self._packed(classes.to(self._index_type))], dim=1)

    def _narrowed(self, values: Tensor) -> Tensor:
        narrow = values.to(_TYPES[self.dtype])
        if self.dtype == "float16" and bool((narrow.isinf() & values.isfinite()).any()):
            largest = float(values[values.isfinite()].abs().max())
            raise UserError(
                f"teacher.cache_dtype: got 'float16', but a logit of the teacher is {largest:.4g}, expected 'float32'"
            )
        return narrow

    @staticmethod
    def _packed(values: Tensor) -> Tensor:
        per_word = 4 // values.element_size()
        return F.pad(values, (0, -values.shape[1] % per_word)).contiguous().view(torch.int32)

    def decode(self, rows: Tensor) -> Tensor:
        """Turn (N, words) int32 rows to (N, C) float32 logits on the same device."""
        dtype = _TYPES[self.dtype]
        if self.top_k is None:
            return rows.view(dtype)[:, : self.classes].float()
        end = self._words(self._values, dtype)
        values = rows[:, :end].contiguous().view(dtype)[:, : self._values].float()
        classes = rows[:, end:].contiguous().view(self._index_type)[:, : self.top_k].long()
        return values[:, :1].expand(-1, self.classes).scatter(1, classes, values[:, 1:])
