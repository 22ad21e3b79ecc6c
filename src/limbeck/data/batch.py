"""A batch of any modality, and what an epoch of batches is."""

from collections.abc import Iterator, Mapping, Sized
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import islice
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from limbeck.errors import UserError
from limbeck.randomness.seeding import generators_kept


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
        for part in (self.indices, self.targets):
            if isinstance(part, Tensor) and part.ndim:
                return len(part)
        for part in (self.targets, self.inputs):
            if isinstance(part, list):
                return len(part)
        tensors = [leaf for leaf in pytree.tree_leaves(self.inputs) if isinstance(leaf, Tensor)]
        return len(tensors[0]) if tensors else 0

    @classmethod
    def of(cls, parts: Any) -> "Batch":
        """Return a batch as it is, and make one of a tuple or list of its parts.

        Raises:
            UserError: If it is neither.

        Example:
            >>> Batch.of([torch.zeros(2, 3), torch.tensor([3, 9])]).targets
            tensor([3, 9])
        """
        if isinstance(parts, cls):
            return parts
        if not isinstance(parts, tuple | list) or not 1 <= len(parts) <= len(cls._fields):
            got = f"{len(parts)} parts" if isinstance(parts, tuple | list) else type(parts).__name__
            raise UserError(f"batch: got {got}, expected a Batch or a tuple (inputs, targets, indices)")
        return cls(*parts)

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch on a device; nothing is copied that is there already."""
        return Batch(*(_moved(part, device) for part in self))


def _moved(part: Any, device: torch.device | str) -> Any:
    # Walking through a nested structure takes ten times as long as a look at the one tensor that a part mostly is.
    if isinstance(part, Tensor):
        return part.to(device, non_blocking=True)
    return pytree.tree_map_only(Tensor, lambda leaf: leaf.to(device, non_blocking=True), part)


def device_of(values: Any) -> torch.device:
    """Return the device of the first tensor within ``values``; the CPU if there is none.

    Example:
        >>> device_of({"text": ["a"], "mask": torch.ones(1)})
        device(type='cpu')
    """
    if isinstance(values, Tensor):
        return values.device
    tensors = (leaf for leaf in pytree.tree_leaves(values) if isinstance(leaf, Tensor))
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


def are_rows(values: Any, count: int) -> bool:
    """Return whether ``values`` are tensors with one row for each of ``count`` samples; tensors of a list are samples.

    Example:
        >>> are_rows({"x": torch.zeros(3, 2), "mask": None}, 3), are_rows([torch.zeros(3, 2)] * 3, 3)
        (True, False)
    """
    parts = values.values() if isinstance(values, Mapping) else (values,)
    if any(isinstance(part, list) for part in parts):
        return False
    # For pytree None is a leaf in some versions and none in others.
    leaves = [leaf for leaf in pytree.tree_leaves(values) if leaf is not None]
    return all(isinstance(leaf, Tensor) and leaf.ndim > 0 and len(leaf) == count for leaf in leaves)


@runtime_checkable
class Epochs(Sized, Protocol):
    """The batches of a training: ``len`` of them an epoch, and those of an epoch by its number.

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


@runtime_checkable
class SkippableEpochs(Epochs, Protocol):
    """Epochs that can begin with any of their batches, without making those before it.

    Example:
        >>> from limbeck.data import load
        >>> data = load("fashion_mnist_sample", train_limit=100)
        >>> isinstance(data.batches(data.train, batch_size=64), SkippableEpochs)
        True
    """

    def epoch_from(self, epoch: int, start: int) -> Iterator[Batch]:
        """Return the batches of an epoch, from 0, but the first ``start``."""


def batches_from(source: Epochs, epoch: int, start: int) -> Iterator[Batch]:
    """Return the batches of an epoch from one of them on; those before it are not made where that can be avoided.

    Args:
        source: The batches.
        epoch: The epoch, from 0.
        start: How many are left out.

    Example:
        >>> from limbeck.data import load
        >>> data = load("fashion_mnist_sample", train_limit=100)
        >>> [len(batch.inputs) for batch in batches_from(data.batches(data.train, batch_size=64), 0, 1)]
        [36]
    """
    if not start:
        return source.epoch(epoch)
    if isinstance(source, SkippableEpochs):
        return source.epoch_from(epoch, start)
    batches = source.epoch(epoch)
    # What is drawn for them was drawn before the training was stopped.
    with generators_kept():
        for _ in islice(batches, start):
            pass
    return batches


@contextmanager
def kept_workers(*several: object) -> Iterator[None]:
    """Enter those that are context managers, such as views that keep their worker processes between epochs.

    Example:
        >>> from contextlib import nullcontext
        >>> with kept_workers([], nullcontext()):
        ...     pass
    """
    with ExitStack() as stack:
        for source in several:
            if isinstance(source, AbstractContextManager):
                stack.enter_context(source)
        yield
