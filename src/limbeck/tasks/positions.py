"""Some of the positions of a map, spread over it and replayable."""

import torch
from torch import Tensor

from limbeck.randomness.hashing import random_bits
from limbeck.rows import Rows

_STREAM = 601


def spread_positions(sample: Tensor, count: int, indices: Tensor | None, *, seed: int, epoch: int) -> Tensor:
    """Draw rows of each sample: its rows are cut into ``count`` equal stretches, and one is drawn from each.

    A draw depends on seed, epoch and the sample alone, so that student, teacher and a repeated epoch have the same. All
    positions of a map are drawn equally often where their number is a multiple of ``count``, nearly so elsewhere.

    Args:
        sample: (R,) the sample of each row, ascending.
        count: How many rows of a sample are drawn; all of one that has no more.
        indices: (N,) positions of the samples in the training set; None for their places in the batch.
        seed: The seed.
        epoch: The epoch, from 0.

    Returns:
        (M,) positions of rows, ascending, int64.

    Example:
        >>> spread_positions(torch.tensor([0, 0, 1, 1, 1, 1]), 2, None, seed=0, epoch=0)
        tensor([0, 1, 2, 4])
    """
    samples = int(sample[-1]) + 1
    rows = sample.bincount(minlength=samples)
    numbers = torch.arange(samples, device=sample.device) if indices is None else indices[:samples].to(sample.device)
    stretch = torch.arange(count, device=sample.device)
    drawn = rows.clamp_max(count).clamp_min(1)[:, None]
    start, end = (stretch * rows[:, None] // drawn, (stretch + 1) * rows[:, None] // drawn)
    bits = random_bits(numbers[:, None] * count + stretch, seed=seed, epoch=epoch, stream=_STREAM)
    places = (rows.cumsum(0) - rows)[:, None] + start + bits % (end - start).clamp_min(1)
    return places[stretch < rows[:, None]]


def rows_at(rows: Rows, picked: Tensor) -> Rows:
    """Return the rows at positions, int64 (M,), with all that is known of each.

    Example:
        >>> rows_at(Rows(torch.eye(3), torch.tensor([0, 1, 2])), torch.tensor([2])).labels
        tensor([2])
    """
    rest = (None if part is None else part[picked] for part in rows[1:])
    return Rows(rows.logits[picked], *rest)
