"""A batch of any modality, and what an epoch of batches is."""

from collections.abc import Iterator, Sized
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils import _pytree as pytree


class Batch(NamedTuple):
    """One batch; ``inputs`` and ``targets`` are whatever the task takes, moved and copied tensor by tensor.

    Attributes:
        inputs: What the networks take: a tensor, a mapping of keyword arguments, a list of images.
        targets: The ground truth, such as (N,) classes, (N, C) probabilities or (N, H, W) maps; None without any.
        indices: Positions of the samples in their split, int64 (N,); None where they are not known.

    Example:
        >>> batch = Batch({"pixels": torch.zeros(2, 1, 28, 28)}, torch.tensor([3, 9]), torch.arange(2))
        >>> batch.size, batch.labels
        (2, tensor([3, 9]))
    """

    inputs: Any
    targets: Any = None
    indices: Tensor | None = None

    @property
    def labels(self) -> Any:
        """The targets, under the name that they have in classification."""
        return self.targets

    @property
    def size(self) -> int:
        """The number of samples."""
        for counted in (self.indices, self.targets):
            if isinstance(counted, Tensor) and counted.ndim:
                return len(counted)
        if isinstance(self.inputs, list):
            return len(self.inputs)
        tensors = [leaf for leaf in pytree.tree_leaves(self.inputs) if isinstance(leaf, Tensor)]
        return len(tensors[0]) if tensors else 0

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch on a device; nothing is copied that is there already."""
        moved = pytree.tree_map_only(Tensor, lambda leaf: leaf.to(device, non_blocking=True), tuple(self))
        return Batch(*moved)


@runtime_checkable
class Epochs(Sized, Protocol):
    """What a training goes through: ``len`` batches an epoch, and the batches of an epoch by its number.

    Example:
        >>> class Twice:
        ...     def __len__(self):
        ...         return 2
        ...     def epoch(self, epoch):
        ...         return iter([Batch(torch.zeros(3, 2))] * 2)
        >>> isinstance(Twice(), Epochs)
        True
    """

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Return the batches of an epoch, from 0; the same ones whenever it is called with this number."""
