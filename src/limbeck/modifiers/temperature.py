"""A fixed temperature in front of any loss."""

from torch import Tensor

from limbeck.modifiers.base import Modified, Modifier
from limbeck.rows import check_temperature, full


class Temperature(Modifier):
    """Divide both sides by a temperature, and multiply the losses that scale with it by its square.

    Losses that have a temperature of their own then run at 1.

    Args:
        temperature: Softens both sides; greater than 0.

    Raises:
        UserError: If the temperature is not above 0.

    References:
        Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network, arXiv 1503.02531, section 2.

    Example:
        >>> import torch
        >>> Temperature(4.0)(torch.tensor([[8., 0.]]), torch.tensor([[4., 0.]]), torch.tensor([0]), 0.0)
        Modified(student=tensor([[2., 0.]]), teacher=tensor([[1., 0.]]), factor=16.0, temperature=4.0)
    """

    def __init__(self, temperature: float) -> None:
        super().__init__()
        check_temperature(temperature)
        self.temperature = float(temperature)

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, progress: float) -> Modified:  # noqa: ARG002
        """Soften (N, C) logits of both sides, in fp32; labels and progress are not needed."""
        temperature = self.temperature
        student, teacher = full(student_logits) / temperature, full(teacher_logits) / temperature
        return Modified(student, teacher, temperature**2, temperature)

    def extra_repr(self) -> str:
        """Show the temperature."""
        return f"{self.temperature:g}"
