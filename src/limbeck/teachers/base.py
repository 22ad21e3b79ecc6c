"""The one call that every source of teacher logits answers."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Teacher(nn.Module, ABC):
    """A source of teacher logits: a live network, a bank, a virtual teacher.

    Subclasses implement :meth:`logits`. A teacher never receives gradient and never changes: ``Distiller`` calls it
    without a graph and keeps it out of its own parameters, buffers and ``state_dict``.

    Attributes:
        needs_labels: Whether what it says depends on the true labels, so that its own accuracy means nothing.

    Example:
        >>> import torch
        >>> class Certain(Teacher):
        ...     def logits(self, inputs, labels, indices=None, epoch=0):
        ...         return 9.0 * torch.nn.functional.one_hot(labels, 3).float()
        >>> Certain()(None, torch.tensor([1]))
        tensor([[0., 9., 0.]])
    """

    needs_labels = False

    @abstractmethod
    def logits(self, inputs: Tensor, labels: Tensor, indices: Tensor | None = None, epoch: int = 0) -> Tensor:
        """Return (N, C) logits for a batch.

        Args:
            inputs: The batch as the student sees it, such as (N, channels, H, W).
            labels: (N,) true classes.
            indices: (N,) positions of the samples in the training set, if known.
            epoch: The epoch, from 0.
        """

    def forward(self, inputs: Tensor, labels: Tensor, indices: Tensor | None = None, epoch: int = 0) -> Tensor:
        """Return (N, C) logits for a batch; see :meth:`logits`."""
        return self.logits(inputs, labels, indices, epoch)

    def unaugmented(self, inputs: Tensor, labels: Tensor, indices: Tensor, epoch: int = 0) -> Tensor:
        """Return (N, C) logits for samples of the training set as they are, without augmentation.

        A teacher that remembers the training's views must tell these from them; any other need not.
        """
        return self.logits(inputs, labels, indices, epoch)

    def why_not_recordable(self) -> str | None:
        """Say what this teacher has yet to decide on the host before its next answers; None if nothing.

        Only answers that take no such decision can be recorded as part of a CUDA graph. It is asked after the first
        batches of an epoch.
        """
        return None
