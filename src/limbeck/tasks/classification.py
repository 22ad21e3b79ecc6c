"""Classification: one row of logits a sample."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics import Metric as TorchMetric
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError, MulticlassF1Score

from limbeck.errors import UserError
from limbeck.models.calling import output_logits
from limbeck.rows import ABSENT, Rows, ground_truth, whole_numbers
from limbeck.tasks.base import MAIN, Task
from limbeck.tasks.gathering import gather_list, gather_metrics
from limbeck.tasks.metrics import Measured, Metric
from limbeck.tasks.outputs import logits_of_samples


class Classification(Task):
    """One of C classes for each sample, whatever the sample is.

    Targets are (N,) true classes (-100: none) or (N, C) probabilities; outputs are (N, C) logits, or hold them as
    :func:`limbeck.models.calling.output_logits` describes.

    Args:
        num_classes: Number of classes; needed by :meth:`evaluator`.

    Example:
        >>> Classification().rows(torch.zeros(2, 3), torch.tensor([0, 2]))["main"].labels
        tensor([0, 2])
    """

    name = "classification"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("accuracy", "accuracy"),
        Metric("ece", "ECE", higher_is_better=False),
        Metric("loss", "NLL", higher_is_better=False, share=False),
        Metric("top5", "top-5 accuracy", compared=False),
        Metric("macro_f1", "macro F1", compared=False),
        Metric("confidence", "mean confidence", higher_is_better=None, compared=False),
    )

    def rows(self, output: Any, targets: Tensor | None) -> Mapping[str, Rows]:
        """Return the one head's rows: the logits as they are."""
        return {MAIN: Rows(output_logits(output), targets)}

    def check_mixed(self) -> None:
        """Check that the number of classes is known.

        Raises:
            UserError: If it is not.
        """
        if self.num_classes is None:
            raise UserError("num_classes: got None, expected the number of classes to mix labels")

    def mixed(self, targets: Tensor, share: float) -> Tensor:
        """Mix the labels of sample i of N with those of sample N - 1 - i; see :meth:`Task.mixed`.

        Args:
            targets: (N,) true classes, or (N, C) probabilities.
            share: How much of each sample is its own.

        Returns:
            (N, C) probabilities.

        Raises:
            UserError: If a label is absent, or the number of classes is not known.

        Example:
            >>> Classification(3).mixed(torch.tensor([0, 2]), 0.75)
            tensor([[0.7500, 0.0000, 0.2500],
                    [0.2500, 0.0000, 0.7500]])
        """
        self.check_mixed()
        assert self.num_classes is not None
        soft = targets
        if not targets.is_floating_point():
            classes = whole_numbers(targets, "labels", valid=range(self.num_classes), meaning=" to be mixed")
            soft = torch.zeros(len(targets), self.num_classes, device=targets.device).scatter_(1, classes[:, None], 1)
        return share * soft + (1 - share) * soft.flip(0)

    def evaluator(self) -> "ClassificationEvaluator":
        """Return an evaluator of top-1, top-5, macro F1, calibration error, loss and confidence.

        Raises:
            UserError: If the number of classes is not known.
        """
        if self.num_classes is None:
            raise UserError("num_classes: got None, expected the number of classes to measure")
        return ClassificationEvaluator(self.num_classes)

    def check(self, output: Any, num_classes: int, role: str, data: str) -> None:
        """Check that an output is (N, C) logits of the data's classes; see :meth:`Task.check`."""
        super().check(logits_of_samples(output, num_classes, role), num_classes, role, data)

    def check_targets(self, targets: Any, data: str) -> None:
        """Check that each sample has one class; see :meth:`Task.check_targets`."""
        if isinstance(targets, Tensor) and targets.ndim > 2:
            got = f"got {data}, whose samples have a class at each position"
            raise UserError(f"task {self.name!r}: {got}, expected task 'segmentation', or data of one class each")
        if isinstance(targets, Tensor) and targets.ndim == 2 and not targets.is_floating_point():
            got = f"got {data}, whose samples have several classes"
            raise UserError(f"task {self.name!r}: {got}, expected task 'multilabel', or data of one class each")


class ClassificationEvaluator:
    """Top-1 and top-5 accuracy, macro F1, calibration error of 15 equal bins, mean loss in nats and mean confidence.

    Macro F1 is the mean over the classes that occur or are predicted. Top-5 is left out with fewer than six classes;
    samples without a label count nowhere.

    Args:
        num_classes: Number of classes C.

    Example:
        >>> evaluator = ClassificationEvaluator(3)
        >>> evaluator.update(torch.eye(3), torch.tensor([0, 1, 1]))
        >>> round(evaluator.compute().accuracy, 3)
        0.667
    """

    def __init__(self, num_classes: int) -> None:
        self._metrics = _metrics(num_classes)
        self._loss, self._confidence = (MeanMetric(nan_strategy="disable", sync_on_compute=False) for _ in range(2))
        self._predictions: list[Tensor] = []
        self._labels: list[Tensor] = []
        self._confidences: list[Tensor] = []

    @torch.no_grad()
    def update(self, output: Any, targets: Tensor) -> None:
        """Count a batch: (N, C) logits and (N,) true classes, or (N, C) probabilities."""
        logits = output_logits(output).float()
        self._predictions.append(logits.argmax(dim=1))
        truth = ground_truth(targets, logits)
        labels, classes, probabilities = truth.labels, truth.classes, logits.softmax(dim=1)
        known = classes if truth.labeled is None else classes.masked_fill(~truth.labeled, ABSENT)
        self._labels.append(known.to(torch.int32).cpu())
        self._confidences.append(probabilities.amax(dim=1).cpu())
        if truth.labeled is not None:
            columns = (logits, labels, classes, probabilities)
            logits, labels, classes, probabilities = (values[truth.labeled] for values in columns)
        self._metrics.to(logits.device).update(probabilities, classes)
        self._confidence.to(logits.device).update(probabilities.amax(dim=1))
        self._loss.to(logits.device).update(F.cross_entropy(logits, labels, reduction="none"))

    def gather(self) -> None:
        """Add what the other processes have counted."""
        gather_metrics([*self._metrics.values(), self._loss, self._confidence])
        self._predictions = gather_list([part.cpu() for part in self._predictions])
        self._labels, self._confidences = gather_list(self._labels), gather_list(self._confidences)

    def compute(self) -> Measured:
        """Return the figures over all samples, and the predicted classes."""
        values = self._metrics.compute() | {"loss": self._loss.compute(), "confidence": self._confidence.compute()}
        order = ("accuracy", "top5", "macro_f1", "loss", "ece", "confidence")
        figures = {name: float(values[name]) for name in order if name in values}
        details = {"confidence": torch.cat(self._confidences), "labels": torch.cat(self._labels)}
        return Measured(figures, torch.cat(self._predictions).cpu(), details)


def _metrics(num_classes: int) -> MetricCollection:
    # Whether processes add up what they have counted is for gather() to decide.
    common: dict[str, Any] = {"num_classes": num_classes, "validate_args": False, "sync_on_compute": False}
    metrics: dict[str, TorchMetric | MetricCollection] = {
        "accuracy": MulticlassAccuracy(average="micro", **common),
        "ece": MulticlassCalibrationError(n_bins=15, norm="l1", **common),
        "macro_f1": MulticlassF1Score(average="macro", **common),
    }
    if num_classes > 5:
        metrics["top5"] = MulticlassAccuracy(top_k=5, average="micro", **common)
    return MetricCollection(metrics, compute_groups=False)
