"""CTKD: one temperature that is trained against the student, a little at first."""

import math

import torch
from torch import Tensor, nn

from limbeck.errors import UserError
from limbeck.modifiers.base import Modified, Modifier
from limbeck.rows import check_temperature, full


class LearnedTemperature(Modifier):
    r"""Divide both sides by CTKD's global temperature, and multiply the losses that scale with it by its square.

    .. math:: T = T_\mathrm{start} + R\,\sigma(\theta), \quad
        \partial L / \partial \theta \leftarrow -\lambda\,\partial L / \partial \theta, \quad
        \lambda = \tfrac12 \big(1 - \cos(\pi \min(1, e / E_\lambda))\big)

    The one parameter, :attr:`theta`, takes part in the same backward pass as the student, but with the gradient
    reversed: an optimizer that lowers the student's loss raises it by the temperature. The curriculum turns this on
    gradually over the first epochs.

    Args:
        start: The temperature that is never gone below.
        span: R, by how much the temperature can exceed it.
        curriculum: The share of the training after which lambda is 1; the released code takes 10 of 240 epochs.

    Attributes:
        theta: The parameter, 1 at the start, which makes the temperature 15.6.

    Raises:
        UserError: If start or span is not above 0, or the curriculum outside (0, 1].

    References:
        Li et al.: Curriculum Temperature for Knowledge Distillation, AAAI 2023, arXiv 2211.16231, the global version;
        start, span, first value and curriculum are the released code's. It counts epochs from 1, so that its lambda
        begins at .024; here it begins at 0 [ours].

    Example:
        >>> modifier, rows = LearnedTemperature(), torch.tensor([[4., 0., -4.]])
        >>> easy = modifier(rows, rows, torch.tensor([0]), 0.0)
        >>> f"{easy.factor.sqrt().item():.3f}"
        '15.621'
        >>> modifier(rows, rows, torch.tensor([0]), 0.5).factor.backward()
        >>> bool(modifier.theta.grad < 0)
        True
    """

    follows_epochs = True

    def __init__(self, *, start: float = 1.0, span: float = 20.0, curriculum: float = 10 / 240) -> None:
        super().__init__()
        check_temperature(start, "start")
        check_temperature(span, "span")
        if not 0 < curriculum <= 1:
            raise UserError(f"curriculum: got {curriculum}, expected a share above 0 and at most 1")
        self.start, self.span, self.curriculum = start, span, curriculum
        self.theta = nn.Parameter(torch.tensor(1.0))

    @property
    def temperature(self) -> Tensor:
        """The temperature as it stands, a scalar without gradient."""
        return self.start + self.span * torch.sigmoid(self.theta.detach())

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, progress: float) -> Modified:  # noqa: ARG002
        """Soften (N, C) logits of both sides, in fp32.

        Args:
            student_logits: (N, C) float logits.
            teacher_logits: (N, C) float logits.
            labels: (N,) true classes, not needed.
            progress: The epoch (from 0) over the number of epochs.

        Returns:
            Both sides over the temperature, its square, and itself, all with a reversed gradient for :attr:`theta`.
        """
        strength = 0.5 * (1 - math.cos(math.pi * min(1.0, progress / self.curriculum)))
        fixed = self.theta.detach()
        # The difference is 0: the value stays exactly theta's, and the gradient is -strength times the usual one.
        reversed_theta = fixed - strength * (self.theta - fixed)
        temperature = self.start + self.span * torch.sigmoid(full(reversed_theta))
        student, teacher = full(student_logits) / temperature, full(teacher_logits) / temperature
        return Modified(student, teacher, temperature.square(), temperature)

    def extra_repr(self) -> str:
        """Show the range."""
        return f"{self.start:g} to {self.start + self.span:g}"
