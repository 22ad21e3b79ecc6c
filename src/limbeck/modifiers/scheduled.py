"""DTS: a temperature that falls with the epochs and rises where the student is far behind its teacher."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from limbeck.errors import UserError
from limbeck.losses.gather import gather_rows
from limbeck.modifiers.base import Modified, Modifier
from limbeck.rows import check_temperature, full, ground_truth


class ScheduledTemperature(Modifier):
    r"""Divide both sides by DTS's temperature, and multiply the losses that scale with it by its square.

    After every batch of the training (:meth:`update`), with the batch's gap
    :math:`g = \mathrm{CE}(z^t, y) - \mathrm{CE}(z^s, y)`:

    .. math:: c = \tfrac12 (1 + \cos(\pi k e / E)), \quad s = \begin{cases} g / (g + 1) & g < -1 \\ 1 & \text{else}
        \end{cases}, \quad T \leftarrow m T + (1 - m)\,\mathrm{clamp}(T_0\,c\,s,\ T_\min,\ T_\max)

    The temperature is a buffer, saved with the module. Nothing of it waits for the device.

    Args:
        initial: The temperature at the start, T_0.
        minimum: The lowest target.
        maximum: The highest target.
        curve: k, how far along the cosine the training gets; 1 ends at 0.
        momentum: m, in [0, 1): how slowly the temperature follows its target.

    Raises:
        UserError: If a temperature is not above 0, the minimum is above the maximum, the initial temperature is
            outside them, the curve is outside (0, 1] or the momentum outside [0, 1).

    References:
        Islam et al.: Dynamic Temperature Scheduler for Knowledge Distillation, arXiv 2511.13767. The paper's rule, "s
        if s > 1 else 1" with s = g / (g + 1), divides by 0 at g = -1, where we take 1; a batch whose gap is no finite
        number leaves the temperature as it is [ours].

    Example:
        >>> modifier = ScheduledTemperature()
        >>> logits = torch.tensor([[2., 0., 1.]])
        >>> factor = modifier(logits, logits, torch.tensor([0]), 0.5).factor
        >>> modifier.update(logits, logits, torch.tensor([0]), 0.5)
        >>> float(factor), float(modifier.temperature)
        (64.0, 7.599999904632568)
    """

    follows_epochs = True
    temperature: Tensor

    def __init__(
        self,
        *,
        initial: float = 8.0,
        minimum: float = 4.0,
        maximum: float = 8.0,
        curve: float = 1.0,
        momentum: float = 0.9,
    ) -> None:
        super().__init__()
        check_temperature(minimum, "minimum")
        if not minimum <= initial <= maximum < float("inf"):
            raise UserError(f"initial: got {initial}, expected it from minimum {minimum} to maximum {maximum}")
        if not 0 < curve <= 1:
            raise UserError(f"curve: got {curve}, expected above 0 and at most 1")
        if not 0 <= momentum < 1:
            raise UserError(f"momentum: got {momentum}, expected at least 0 and below 1")
        self.initial, self.minimum, self.maximum = initial, minimum, maximum
        self.curve, self.momentum = curve, momentum
        self.register_buffer("temperature", torch.tensor(float(initial)))

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, progress: float) -> Modified:  # noqa: ARG002
        """Soften (N, C) logits of both sides, in fp32.

        Args:
            student_logits: (N, C) float logits.
            teacher_logits: (N, C) float logits.
            labels: Not needed.
            progress: Not needed.

        Returns:
            Both sides over the temperature as it stands, its square, and itself.
        """
        student, teacher = full(student_logits), full(teacher_logits)
        # A copy: the backward pass needs the temperature of this batch, which `update` overwrites.
        temperature = self.temperature.clone()
        return Modified(student / temperature, teacher / temperature, temperature.square(), temperature)

    @torch.no_grad()
    def update(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, progress: float) -> None:
        """Move the temperature, with a batch of the training.

        Args:
            student_logits: (N, C) float logits.
            teacher_logits: (N, C) float logits.
            labels: (N,) true classes, -100 where there is none, or (N, C) probabilities; for the gap.
            progress: e / E, the epoch (from 0) over the number of epochs.
        """
        student, teacher = full(student_logits.detach()), full(teacher_logits.detach())
        gaps = F.cross_entropy(teacher, labels, reduction="none") - F.cross_entropy(student, labels, reduction="none")
        # That of the whole batch, so that several processes have one temperature.
        labeled = ground_truth(labels, student).labeled
        gathered = gather_rows(gaps)
        gap = gathered.mean() if labeled is None else gathered.sum() / gather_rows(labeled).sum().clamp_min(1)
        cosine = 0.5 * (1 + math.cos(math.pi * self.curve * progress))
        target = (self.initial * cosine * _scale(gap)).clamp(self.minimum, self.maximum)
        moved = self.momentum * self.temperature + (1 - self.momentum) * target
        moved = torch.where(gap.isfinite(), moved, self.temperature)
        if torch.compiler.is_compiling():
            # A compiled backward pass reads the buffer itself, copy or not, so that it must not be written to.
            self.temperature = moved
        else:
            # A recorded CUDA graph reads this very memory.
            self.temperature.copy_(moved)

    def extra_repr(self) -> str:
        """Show the range."""
        return f"from {self.initial:g}, {self.minimum:g} to {self.maximum:g}"


def _scale(gap: Tensor) -> Tensor:
    # g / (g + 1) is above 1 for g below -1.
    behind = gap < -1
    return torch.where(behind, gap / torch.where(behind, gap + 1, 1), 1)
