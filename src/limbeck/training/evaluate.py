"""Measure a network on a split: top-1, top-5, NLL, calibration error and confidence, and its predictions."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError

from limbeck.data import Batch


@dataclass(frozen=True)
class Measured:
    """What a network reached on a split.

    Attributes:
        accuracy: Top-1 accuracy, in [0, 1].
        top5: Top-5 accuracy, in [0, 1]; None with fewer than six classes.
        loss: Mean negative log-likelihood of the true class, in nats.
        ece: Expected calibration error of 15 equal bins, in [0, 1].
        confidence: Mean of each row's largest probability, in [0, 1].
        predictions: (N,) predicted classes, in the split's order.

    Example:
        >>> sorted(Measured(0.9, None, 0.3, 0.02, 0.88, torch.tensor([1])).numbers())
        ['accuracy', 'confidence', 'ece', 'loss']
    """

    accuracy: float
    top5: float | None
    loss: float
    ece: float
    confidence: float
    predictions: Tensor

    def numbers(self) -> dict[str, float]:
        """Return the figures that exist, by name."""
        names = ("accuracy", "top5", "loss", "ece", "confidence")
        found: dict[str, float | None] = {name: getattr(self, name) for name in names}
        return {name: value for name, value in found.items() if value is not None}


def _metrics(num_classes: int) -> MetricCollection:
    common: dict[str, Any] = {"num_classes": num_classes, "validate_args": False}
    metrics: dict[str, Metric | MetricCollection] = {
        "accuracy": MulticlassAccuracy(average="micro", **common),
        "ece": MulticlassCalibrationError(n_bins=15, norm="l1", **common),
    }
    if num_classes > 5:
        metrics["top5"] = MulticlassAccuracy(top_k=5, average="micro", **common)
    return MetricCollection(metrics, compute_groups=False)


@torch.no_grad()
def measure(
    network: nn.Module,
    batches: Iterable[Batch],
    num_classes: int,
    *,
    precision: AbstractContextManager[object] | None = None,
) -> Measured:
    """Run ``network`` in eval mode over ``batches``; the mode that it had comes back afterwards.

    Args:
        network: Its output is (N, C) logits.
        batches: Every sample once, on the network's device.
        num_classes: Number of classes C.
        precision: An autocast context, or None for fp32.

    Returns:
        The figures, over all samples.

    Example:
        >>> batch = Batch(torch.eye(3), torch.tensor([0, 1, 1]), torch.arange(3))
        >>> round(measure(nn.Identity(), [batch], 3).accuracy, 3)
        0.667
    """
    mode = network.training
    network.eval()
    metrics, loss, predictions = _metrics(num_classes), MeanMetric(nan_strategy="disable"), []
    confidence = MeanMetric(nan_strategy="disable")
    with precision or nullcontext():
        for batch in batches:
            logits = network(batch.inputs).float()
            probabilities = logits.softmax(dim=1)
            metrics.to(logits.device).update(probabilities, batch.labels)
            confidence.to(logits.device).update(probabilities.amax(dim=1))
            loss.to(logits.device).update(F.cross_entropy(logits, batch.labels, reduction="none"))
            predictions.append(logits.argmax(dim=1))
    network.train(mode)
    values = {name: float(value) for name, value in metrics.compute().items()}
    return Measured(
        accuracy=values["accuracy"],
        top5=values.get("top5"),
        loss=float(loss.compute()),
        ece=values["ece"],
        confidence=float(confidence.compute()),
        predictions=torch.cat(predictions).cpu(),
    )
