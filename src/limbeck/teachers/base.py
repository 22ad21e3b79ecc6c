"""The interface of every source of teacher output."""

from abc import ABC
from typing import Any

from torch import Tensor, nn

from limbeck.data.batch import Batch


class Teacher(nn.Module, ABC):
    """A source of teacher output: a live network, a logit cache, an ensemble, a virtual teacher.

    Subclasses implement :meth:`answer`, or :meth:`logits` where that is simpler. A teacher never receives gradient and
    never changes: ``Distiller`` calls it without a graph and keeps it out of its own parameters, buffers and
    ``state_dict``.

    Attributes:
        needs_labels: Whether its output depends on the true labels, so that its own accuracy means nothing.

    Example:
        >>> import torch
        >>> class Certain(Teacher):
        ...     needs_labels = True
        ...     def answer(self, batch, epoch=0):
        ...         return 9.0 * torch.nn.functional.one_hot(batch.targets, 3).float()
        >>> Certain()(None, torch.tensor([1]))
        tensor([[0., 9., 0.]])
    """

    needs_labels = False

    def answer(self, batch: Batch, epoch: int = 0) -> Any:
        """Return the output for a batch, such as (N, C) logits; a task turns it into rows.

        Args:
            batch: Inputs as the student sees them, ground truth, and positions in the training set if there are any.
            epoch: The epoch, from 0.
        """
        return self.logits(batch.inputs, batch.targets, batch.indices, epoch)

    def logits(self, inputs: Any, labels: Any, indices: Tensor | None = None, epoch: int = 0) -> Any:
        """Return (N, C) logits for a batch; :meth:`answer` calls it unless a subclass overrides that."""
        raise NotImplementedError(f"{type(self).__name__}: implements neither answer nor logits, expected one of them")

    def forward(self, inputs: Any, labels: Any = None, indices: Tensor | None = None, epoch: int = 0) -> Any:
        """Return the output for a batch given in parts; see :meth:`answer`."""
        return self.answer(Batch(inputs, labels, indices), epoch)

    def unaugmented(self, batch: Batch, epoch: int = 0) -> Any:
        """Return the output for samples of the training set without augmentation.

        A teacher that stores output by the training's views must not use it for these samples; any other returns what
        :meth:`answer` does.
        """
        return self.answer(batch, epoch)

    def why_not_recordable(self) -> str | None:
        """Return why the next calls take a decision on the host; None if they take none.

        Only calls that take no such decision can be recorded as part of a CUDA graph. The engine calls this after the
        first batches of an epoch.
        """
        return None


class LabelTeacher(Teacher):
    """A teacher whose logits are made from labels alone: a row of logits for a row's label, on any task.

    ``Distiller`` gives it the labels of rows instead of a batch's targets. Subclasses implement :meth:`logits`.

    Attributes:
        num_classes: Number of classes C.

    Example:
        >>> from limbeck.teachers import VirtualTeacher
        >>> isinstance(VirtualTeacher(3), LabelTeacher)
        True
    """

    needs_labels = True
    num_classes: int
