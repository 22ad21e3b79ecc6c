"""What all module twins of losses share: a function with its settings, called as every loss is."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


class LossModule(nn.Module):
    """A loss function as a module that holds its settings.

    Args:
        loss: Called as ``loss(student_logits, teacher_logits, weight=..., **settings)``.
        settings: What the function is given on each call; ``module.settings`` holds them.

    Attributes:
        needs_labels: Whether the function takes the labels as its third argument.

    Example:
        >>> import torch
        >>> from limbeck.losses import kd_loss
        >>> module = LossModule(kd_loss, temperature=2.0)
        >>> module
        LossModule(temperature=2.0)
        >>> module(torch.zeros(4, 3), torch.zeros(4, 3))
        tensor(0.)
    """

    needs_labels = False

    def __init__(self, loss: Callable[..., Tensor], **settings: Any) -> None:
        super().__init__()
        self._loss, self.settings = loss, settings

    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        labels: Tensor | None = None,
        weight: Tensor | None = None,
        temperature: Tensor | float = 1.0,
        divided_by: Tensor | float = 1.0,
    ) -> Tensor:
        """Compute the loss; ``labels`` are accepted by every loss module, needed or not.

        A ``temperature`` that stands in front of the loss multiplies the loss's own, if it has one. Logits that were
        ``divided_by`` one already vary less by that, and so does the least spread of a loss that has one.
        """
        settings = self._settings_at(temperature, divided_by)
        needed = (labels,) if self.needs_labels else ()
        return self._loss(student_logits, teacher_logits, *needed, weight=weight, **settings)

    def _settings_at(self, temperature: Tensor | float, divided_by: Tensor | float) -> dict[str, Any]:
        settings = dict(self.settings)
        if "temperature" in settings:
            settings["temperature"] = settings["temperature"] * temperature
        if settings.get("min_spread"):
            settings["min_spread"] /= divided_by.detach() if isinstance(divided_by, Tensor) else divided_by
        return settings

    def extra_repr(self) -> str:
        """Describe the settings."""
        return ", ".join(f"{name}={value!r}" for name, value in self.settings.items())


class LabeledLossModule(LossModule):
    """A :class:`LossModule` whose function takes the labels as its third argument.

    Attributes:
        needs_labels: True: rows without a label count nothing in such a loss.

    Example:
        >>> import torch
        >>> from limbeck.losses import nkd_loss
        >>> LabeledLossModule(nkd_loss)(torch.eye(2), torch.eye(2), torch.arange(2))
        tensor(0.2290)
    """

    needs_labels = True
