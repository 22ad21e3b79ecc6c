"""How much each batch of an update counts, whatever processes and accumulation make of the samples."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from limbeck.data.batch import Batch, device_of
from limbeck.ranks import summed
from limbeck.tasks import Task


class Share(NamedTuple):
    """How much a batch counts.

    Attributes:
        weight: Of its loss in that of the update, which is the mean over all rows.
        samples: In sums over samples: so many that those of all processes are the samples of the update.
        figures: What its figures are multiplied by, so that they are means over rows, too.
    """

    weight: Tensor | float
    samples: Tensor | float
    figures: Tensor | float = 1.0

    def of(self, figures: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a batch's figures as they count."""
        plain = isinstance(self.figures, float)
        return {name: value if plain else value * self.figures for name, value in figures.items()}


def groups(batches: Iterable[Batch], count: int) -> Iterator[list[Batch]]:
    """Yield the batches of each update; the last one may have fewer.

    Example:
        >>> [len(group) for group in groups([Batch(None)] * 5, 2)]
        [2, 2, 1]
    """
    remaining = iter(batches)
    while group := list(islice(remaining, count)):
        yield group


def shares_of_update(batches: Sequence[Batch], task: Task, processes: int) -> list[Share]:
    """Divide an update between its batches, by the rows that their ground truth supervises.

    Args:
        batches: This process's batches of the update.
        task: Counts rows.
        processes: How many processes make the update; all of them call this together.

    Returns:
        A share a batch. The losses of processes have been made means over all of them already.

    Example:
        >>> from limbeck.tasks import Classification
        >>> batches = [Batch(None, torch.zeros(n, dtype=torch.int64)) for n in (6, 2)]
        >>> [float(share.weight) for share in shares_of_update(batches, Classification(3), 1)]
        [0.75, 0.25]
    """
    if len(batches) == 1 and processes == 1:
        return [Share(1.0, batches[0].size)]
    device = device_of(tuple(batches[0]))
    # Counted where the targets are, so that no step waits for the device.
    rows = [task.supervised_rows(batch.targets, batch.size) for batch in batches]
    counted = torch.stack([torch.as_tensor(count, dtype=torch.float32, device=device) for count in rows])
    own = torch.stack([counted, counted.new_tensor([float(batch.size) for batch in batches])])
    counts = summed(own)
    weights = counts[0] / counts[0].sum().clamp_min(1)
    samples = weights * counts[1].sum() / processes
    of_rows = own[0] / own[1] * counts[1].sum() / counts[0].sum().clamp_min(1)
    return [Share(*values) for values in zip(weights, samples, of_rows, strict=True)]
