"""Mixed precision for Lightning Fabric: autocast alone lowers the inputs, and a loss scale moves once a step."""

from typing import Any

from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from torch.optim import Optimizer


class LayerwisePrecision(MixedPrecision):
    """Fabric's mixed precision without the rounding of inputs, and with one loss scale for all optimizers of a step.

    Fabric's own rounds every input before the first layer sees it, also those that autocast leaves in float32, such as
    the input of a normalization; and it moves the scale after each optimizer, so that a second one would divide its
    gradients by another scale than they were multiplied by.

    Args:
        precision: ``"bf16-mixed"`` or ``"16-mixed"``.
        device: The kind of the device, such as ``"cuda"``.
        scaler: The loss scale of ``"16-mixed"``; by default torch's.

    Example:
        >>> import torch
        >>> LayerwisePrecision("bf16-mixed", "cpu").convert_input(torch.zeros(1)).dtype
        torch.float32
    """

    def convert_input(self, data: Any) -> Any:
        """Leave the inputs as they are."""
        return data

    def unscale_gradients(self, optimizer: Optimizer) -> None:
        """Divide an optimizer's gradients by the loss scale, also those of a fused one, which torch supports."""
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)

    def optimizer_step(self, optimizer: Any, **kwargs: Any) -> Any:
        """Step one optimizer, unless its gradients are not finite."""
        return optimizer.step(**kwargs) if self.scaler is None else self.scaler.step(optimizer, **kwargs)

    def end_step(self) -> bool:
        """Move the loss scale, once all optimizers are done with a step.

        Returns:
            False if an optimizer left the step out, because its gradients were not finite.
        """
        if self.scaler is None:
            return True
        before = self.scaler.get_scale()
        self.scaler.update()
        return self.scaler.get_scale() >= before


def end_step(fabric: Fabric) -> bool:
    """Move the loss scale of a Fabric after a step, where it has one.

    Returns:
        Whether the step was taken.

    Example:
        >>> end_step(Fabric(accelerator="cpu", devices=1))
        True
    """
    precision = fabric.strategy.precision
    return precision.end_step() if isinstance(precision, LayerwisePrecision) else True
