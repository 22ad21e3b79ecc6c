"""The map between the corrected logits and the losses: one call on both sides' rows."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn


class Modified(NamedTuple):
    """Both sides as the losses get them.

    Attributes:
        student: (N, C) logits.
        teacher: (N, C) logits.
        factor: What the losses that scale with it are multiplied by, such as a squared temperature; a number or a
            scalar tensor.
        temperature: What both sides have been divided by; a number or a scalar tensor.
    """

    student: Tensor
    teacher: Tensor
    factor: Tensor | float = 1.0
    temperature: Tensor | float = 1.0

    @property
    def undivided(self) -> tuple[Tensor, Tensor]:
        """Both sides' (N, C) logits as they were before the temperature."""
        if isinstance(self.temperature, float) and self.temperature == 1.0:
            return self.student, self.teacher
        return self.student * self.temperature, self.teacher * self.temperature


class Modifier(nn.Module, ABC):
    """A map of student's and teacher's logits that works in front of any loss.

    It may have parameters, which are trained beside the student, and buffers. The cross-entropy with the true labels
    gets the unmodified logits.

    Attributes:
        follows_epochs: Whether ``progress`` matters to it, so that the number of epochs must be known.
        ignores_scale: Whether its result is the same for logits that were divided by a temperature before, so that
            nothing is left of that temperature.

    Example:
        >>> import torch
        >>> class Halved(Modifier):
        ...     def forward(self, student_logits, teacher_logits, labels, progress):
        ...         return Modified(student_logits / 2, teacher_logits / 2, 4.0)
        >>> Halved()(torch.ones(1, 2), torch.ones(1, 2), torch.tensor([0]), 0.0).student
        tensor([[0.5000, 0.5000]])
    """

    follows_epochs = False
    ignores_scale = False

    def update(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, progress: float) -> None:
        """Change with a batch of the training, after :meth:`forward` on the same arguments; by default not at all."""

    @abstractmethod
    def forward(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, progress: float) -> Modified:
        """Map both sides.

        Args:
            student_logits: (N, C) float logits.
            teacher_logits: (N, C) float logits, without gradient.
            labels: (N,) true classes.
            progress: How far the training is, from 0 to below 1: the epoch over the number of epochs.
        """
