"""How well the probabilities of rows fit their labels: loss and calibration error at a temperature."""

import torch
from torch import Tensor
from torch.nn import functional as F

from limbeck.rows import check_temperature, ground_truth

_BINS = 15


class Calibration:
    """Mean loss in nats and calibration error of rows at a temperature, counted batch by batch in float64.

    The calibration error is that of the predicted class, in 15 equal bins of its probability, as
    :class:`limbeck.tasks.classification.ClassificationEvaluator` has it. Rows without a label count nowhere.

    Args:
        temperature: What the logits are divided by.

    Raises:
        UserError: If the temperature is not above 0.

    Example:
        >>> calibration = Calibration()
        >>> calibration.add(torch.tensor([[0.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 1]))
        >>> {name: round(value, 3) for name, value in calibration.figures().items()}
        {'loss': 0.693, 'ece': 0.0}
    """

    def __init__(self, temperature: float = 1.0) -> None:
        check_temperature(temperature)
        self.temperature, self.rows, self._loss = temperature, 0, 0.0
        # Sums by bin; a confidence of 1 has one to itself, as in torchmetrics.
        self._confidence = torch.zeros(_BINS + 1, dtype=torch.float64)
        self._right = torch.zeros(_BINS + 1, dtype=torch.float64)

    @torch.no_grad()
    def add(self, logits: Tensor, labels: Tensor | None) -> None:
        """Count some rows.

        Args:
            logits: (R, C) float logits.
            labels: (R,) true classes, -100 where there is none, or (R, C) probabilities; None for rows without any.

        Raises:
            UserError: If the labels are something else.
        """
        logits = logits.detach().to("cpu", torch.float64) / self.temperature
        truth = ground_truth(None if labels is None else labels.cpu(), logits)
        labeled = torch.ones(len(logits), dtype=torch.bool) if truth.labeled is None else truth.labeled
        logits, true, classes = logits[labeled], truth.labels[labeled], truth.classes[labeled]
        target = true.double() if true.ndim == 2 else true
        self._loss += float(F.cross_entropy(logits, target, reduction="sum"))
        self.rows += len(logits)
        confidence, predicted = logits.softmax(dim=1).max(dim=1)
        bins = torch.bucketize(confidence, torch.linspace(0, 1, _BINS + 1, dtype=torch.float64), right=True) - 1
        self._confidence += torch.bincount(bins, weights=confidence, minlength=_BINS + 1)
        self._right += torch.bincount(bins, weights=(predicted == classes).double(), minlength=_BINS + 1)

    def figures(self) -> dict[str, float]:
        """Return ``loss`` and ``ece``; 0 without any labeled row."""
        rows = max(self.rows, 1)
        return {"loss": self._loss / rows, "ece": float((self._confidence - self._right).abs().sum()) / rows}
