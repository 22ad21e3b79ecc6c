"""How one tensor of logits lies in words of 32 bits, and how it comes back."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from limbeck.errors import UserError

StoredType = Literal["float16", "float32"]
STORED_TYPES = {"float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True)
class PackedLogits:
    """The layout of a sample's logits of one head: all in order, or the largest at each position with their classes.

    Args:
        shape: The shape of a sample's logits: C, then the positions, such as (C, H, W).
        dtype: How a logit is stored.
        top_k: How many logits of a position are stored; None for all of them.

    Example:
        >>> maps, packed = torch.randn(2, 5, 4, 4), PackedLogits((5, 4, 4), "float32", None)
        >>> packed.words, torch.equal(packed.decode(packed.encode(maps)), maps)
        (80, True)
    """

    shape: tuple[int, ...]
    dtype: StoredType
    top_k: int | None

    @property
    def classes(self) -> int:
        """The number of classes C."""
        return self.shape[0]

    @cached_property
    def words(self) -> int:
        """How many 32-bit words a sample takes."""
        return self._value_words + _words(self._index_count, self._index_type)

    @cached_property
    def _value_count(self) -> int:
        return math.prod(self.shape[1:]) * (self.classes if self.top_k is None else self.top_k + 1)

    @property
    def _value_words(self) -> int:
        return _words(self._value_count, STORED_TYPES[self.dtype])

    @property
    def _index_count(self) -> int:
        return math.prod(self.shape[1:]) * (self.top_k or 0)

    @property
    def _index_type(self) -> torch.dtype:
        return torch.int16 if self.classes <= 2**15 else torch.int32

    def encode(self, logits: Tensor) -> Tensor:
        """Turn (N, *shape) logits of any floating type to (N, words) int32, on the same device.

        Raises:
            UserError: If a logit is too large for float16.
        """
        logits = logits.detach().float()
        if self.top_k is None:
            return _packed(self._narrowed(logits))
        largest, classes = logits.topk(self.top_k, dim=1)
        rest = logits.scatter(1, classes, -torch.inf).logsumexp(dim=1, keepdim=True)
        mean = rest - torch.log(rest.new_tensor(self.classes - self.top_k))
        values = _packed(self._narrowed(torch.cat([mean, largest], dim=1)))
        return torch.cat([values, _packed(classes.to(self._index_type))], dim=1)

    def _narrowed(self, values: Tensor) -> Tensor:
        narrow = values.to(STORED_TYPES[self.dtype])
        if self.dtype == "float16" and bool((narrow.isinf() & values.isfinite()).any()):
            largest = float(values[values.isfinite()].abs().max())
            got = f"got 'float16', but a logit of the teacher is {largest:.4g}"
            raise UserError(f"teacher.cache_dtype: {got}, expected 'float32'")
        return narrow

    def decode(self, rows: Tensor) -> Tensor:
        """Turn (N, words) int32 to (N, *shape) float32 logits on the same device."""
        dtype = STORED_TYPES[self.dtype]
        if self.top_k is None:
            return _unpacked(rows, dtype, self._value_count).float().view(-1, *self.shape)
        end, positions = self._value_words, self.shape[1:]
        values = _unpacked(rows[:, :end], dtype, self._value_count).float().view(-1, self.top_k + 1, *positions)
        classes = _unpacked(rows[:, end:], self._index_type, self._index_count).long().view(-1, self.top_k, *positions)
        rest = values[:, :1].expand(-1, self.classes, *positions)
        return rest.scatter(1, classes, values[:, 1:])


def _words(count: int, dtype: torch.dtype) -> int:
    return -(-count * dtype.itemsize // 4)


def _packed(values: Tensor) -> Tensor:
    flat, per_word = values.flatten(1), 4 // values.element_size()
    return F.pad(flat, (0, -flat.shape[1] % per_word)).contiguous().view(torch.int32)


def _unpacked(words: Tensor, dtype: torch.dtype, count: int) -> Tensor:
    return words.contiguous().view(dtype)[:, :count]
