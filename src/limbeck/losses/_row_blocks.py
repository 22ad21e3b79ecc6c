"""Rows of (N, C) tensors, cut into blocks that are small enough to stay in a core's cache."""

from dataclasses import dataclass

import torch
from torch import Tensor

# Elements a block and thread, measured: more leave the cache, fewer cost more for calls than for arithmetic.
_CPU_BLOCK, _GPU_BLOCK = 2**17, 2**24
# What does not fit one block is cut into so many or more, so that memory for one block is small beside the rest ...
_LEAST_BLOCKS = 3
# ... but not into fewer rows than this, because what is kept of each block costs as much as a few rows.
_LEAST_ROWS = 32
# A row of fewer classes does not fill a CPU's vector units: there the rows come last in a block.
_NARROW = 32


@dataclass(frozen=True)
class RowBlocks:
    """How N rows of C classes are cut. A block of k tensors is (k, rows, C), or (k, C, rows) if there are few classes.

    Args:
        rows: N.
        classes: C.
        step: Rows a block; the last may have fewer.
        class_axis: Where the classes are in a block, 1 or 2.

    Example:
        >>> blocks = RowBlocks(rows=5, classes=3, step=2, class_axis=1)
        >>> blocks.parts()
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
        >>> blocks.view(torch.zeros(2 * 5 * 3), slice(4, 5)).shape
        torch.Size([2, 3, 1])
        >>> blocks.fit(blocks.spare(torch.zeros(()), 4), slice(4, 5)).shape
        torch.Size([4, 3, 1])
    """

    rows: int
    classes: int
    step: int
    class_axis: int

    @property
    def row_axis(self) -> int:
        """Where the rows are in a block."""
        return 3 - self.class_axis

    def parts(self) -> list[slice]:
        """Return the rows of each block."""
        return [slice(first, min(first + self.step, self.rows)) for first in range(0, self.rows, self.step)]

    def view(self, memory: Tensor, part: slice) -> Tensor:
        """Return the block of these rows in (2 N C,) memory for all blocks of two tensors; each is contiguous."""
        block = memory[2 * self.classes * part.start : 2 * self.classes * part.stop]
        return block.view((2, -1, self.classes) if self.class_axis == 2 else (2, self.classes, -1))

    def spare(self, like: Tensor, tensors: int) -> Tensor:
        """Return memory for any one block of so many tensors, of the type of ``like``."""
        inner = (self.step, self.classes) if self.class_axis == 2 else (self.classes, self.step)
        return like.new_empty(tensors, *inner)

    def fit(self, spare: Tensor, part: slice) -> Tensor:
        """Cut spare memory to the size of a block."""
        count = part.stop - part.start
        return spare if count == self.step else spare.narrow(self.row_axis, 0, count)

    def turn(self, rows: Tensor) -> Tensor:
        """Return (rows, C) values in a block's layout."""
        return rows if self.class_axis == 2 else rows.t()

    def per_row(self, values: Tensor) -> Tensor:
        """Return (..., rows) values so that they broadcast over the classes of a block."""
        return values.unsqueeze(-1 if self.class_axis == 2 else -2)

    def per_class(self, values: Tensor) -> Tensor:
        """Return (..., C) values so that they broadcast over the rows of a block."""
        return values.unsqueeze(-2 if self.class_axis == 2 else -1)


def cut(logits: Tensor) -> RowBlocks:
    """Cut (N, C) logits for where they are: blocks grow with the threads, and are large on a GPU.

    Example:
        >>> cut(torch.zeros(4, 1000)).step
        4
    """
    rows, classes = logits.shape
    cpu = logits.device.type == "cpu"
    elements = _CPU_BLOCK * torch.get_num_threads() if cpu else _GPU_BLOCK
    step = max(rows, 1)
    if logits.numel() > elements:
        step = min(step, max(_LEAST_ROWS, min(elements // classes, -(-rows // _LEAST_BLOCKS))))
    return RowBlocks(rows, classes, step, class_axis=1 if cpu and classes < _NARROW else 2)
