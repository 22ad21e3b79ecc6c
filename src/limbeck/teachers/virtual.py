"""A teacher of uniform probabilities; a target such as Tf-KD's adds the label."""

import torch
from torch import Tensor

from limbeck.teachers.base import LabelTeacher


class VirtualTeacher(LabelTeacher):
    """All classes are equally likely.

    Args:
        num_classes: Number of classes C.

    Example:
        >>> VirtualTeacher(4)(torch.zeros(2, 3), torch.tensor([0, 1])).softmax(1)
        tensor([[0.2500, 0.2500, 0.2500, 0.2500],
                [0.2500, 0.2500, 0.2500, 0.2500]])
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes

    def logits(self, inputs: object, labels: Tensor, indices: Tensor | None = None, epoch: int = 0) -> Tensor:  # noqa: ARG002
        """Return (N, C) zeros on the labels' device."""
        return torch.zeros(len(labels), self.num_classes, device=labels.device)
