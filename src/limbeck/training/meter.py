"""Sums of an epoch, kept on the device: no step waits for a number to reach the host."""

import torch
from torch import Tensor

from limbeck.distiller import Output


class EpochMeter:
    """Add up loss, parts and correct answers of an epoch's batches.

    Example:
        >>> meter = EpochMeter()
        >>> out = Output(torch.tensor(2.0), {"ce": torch.tensor(2.0)}, torch.eye(3))
        >>> meter.add(out, torch.tensor([0, 1, 0]))
        >>> {name: round(value, 3) for name, value in meter.means().items()}
        {'loss': 2.0, 'ce': 2.0, 'accuracy': 0.667}
    """

    def __init__(self) -> None:
        self.samples = 0
        self._names: list[str] = []
        self._sums: Tensor | None = None

    def add(self, out: Output, labels: Tensor) -> None:
        """Count one batch, without a device synchronisation."""
        with torch.no_grad():
            values = torch.stack([out.loss, *out.parts.values()]) * len(labels)
            correct = (out.logits.argmax(dim=1) == labels).sum()
            sums = torch.cat([values.detach(), correct[None].to(values.dtype)])
            self._sums = sums if self._sums is None else self._sums.add_(sums)
        self._names = ["loss", *out.parts, "accuracy"]
        self.samples += len(labels)

    def means(self) -> dict[str, float]:
        """Read the means over the samples so far; this waits for the device."""
        if self._sums is None:
            return {}
        return dict(zip(self._names, (self._sums / self.samples).tolist(), strict=True))
