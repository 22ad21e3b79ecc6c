"""Multi-label classification: each class of a sample is present or not, a row of two logits."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MeanMetric
from torchmetrics.classification import MultilabelAccuracy, MultilabelF1Score
from torchmetrics.functional.classification import binary_average_precision

from limbeck.errors import UserError
from limbeck.models.calling import output_logits
from limbeck.rows import ABSENT, Rows
from limbeck.tasks.base import MAIN, Task
from limbeck.tasks.gathering import gather_list, gather_metrics
from limbeck.tasks.metrics import Measured, Metric
from limbeck.tasks.outputs import logits_of_samples

UNKNOWN = -1
"""The ground truth of a class of which it is not known whether a sample has it; so is any other negative number."""


class MultiLabel(Task):
    """Any number of C classes for each sample, by a sigmoid of each logit.

    The logit z of a class becomes the row (0, z), whose softmax is (1 - sigmoid(z), sigmoid(z)): a sample is C rows of
    two, which losses, targets and selections take as any others. Targets are (N, C) of 1 (present), 0 (absent) and -1
    or nan (unknown: no cross-entropy, the teacher alone supervises that class of that sample).

    Args:
        num_classes: Number of classes C; needed by :meth:`evaluator`.

    Example:
        >>> rows = MultiLabel().rows(torch.tensor([[2., -1.]]), torch.tensor([[1, -1]]))["main"]
        >>> rows.logits, rows.labels, rows.sample
        (tensor([[ 0.,  2.],
                [ 0., -1.]]), tensor([   1, -100]), tensor([0, 0]))
    """

    name = "multilabel"
    several_rows = True
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("map", "mAP"),
        Metric("f1", "macro F1"),
        Metric("label_accuracy", "label accuracy"),
        Metric("loss", "NLL", higher_is_better=False, share=False),
    )

    @property
    def row_classes(self) -> int:
        """The number of logits of a row: 2."""
        return 2

    def rows(self, output: Any, targets: Tensor | None) -> Mapping[str, Rows]:
        """Return the one head's rows, class by class of each sample.

        Args:
            output: (N, C) logits, or what holds them.
            targets: (N, C) of 1, 0, and -1 or nan; None without any.

        Raises:
            UserError: If logits or targets are of another shape, or a target is another number.
        """
        logits = output_logits(output)
        samples, classes = logits.shape
        rows = torch.stack([torch.zeros_like(logits), logits], dim=2).flatten(0, 1)
        sample = torch.arange(samples, device=logits.device).repeat_interleave(classes)
        return {MAIN: Rows(rows, None if targets is None else _labels(targets, logits), None, sample)}

    def figures(self, rows: Mapping[str, Rows]) -> dict[str, Tensor]:
        """Return the share of the known labels that are right at a probability of a half, times the samples."""
        logits, labels, _, sample = rows[MAIN]
        assert sample is not None
        if labels is None or not len(sample):
            return {"label_accuracy": logits.new_zeros(())}
        # Not of a value on the device, which would be waited for at every step.
        samples = sample[-1] + 1
        right, known = logits.argmax(dim=1) == labels, labels != ABSENT
        return {"label_accuracy": samples * (right & known).sum() / known.sum().clamp_min(1)}

    def evaluator(self) -> "MultiLabelEvaluator":
        """Return an evaluator of mean average precision, macro F1, label accuracy and loss.

        Raises:
            UserError: If the number of classes is not known.
        """
        if self.num_classes is None:
            raise UserError("num_classes: got None, expected the number of classes to measure")
        return MultiLabelEvaluator(self.num_classes)

    def check(self, output: Any, num_classes: int, role: str, data: str) -> None:
        """Check that an output is (N, C) logits of the data's classes; see :meth:`Task.check`."""
        logits = logits_of_samples(output, num_classes, role)
        if logits.shape[1] != num_classes:
            raise UserError(f"{role}: gives {logits.shape[1]} classes, expected the {num_classes} of {data}")

    def check_targets(self, targets: Any, data: str) -> None:
        """Check that the ground truth is one number a class; see :meth:`Task.check_targets`."""
        if isinstance(targets, Tensor) and targets.ndim != 2:
            got = f"got {data}, whose samples have one class {'each' if targets.ndim == 1 else 'at each position'}"
            raise UserError(f"task 'multilabel': {got}, expected data of several, such as image_folder with labels")


def _labels(targets: Tensor, logits: Tensor) -> Tensor:
    if targets.shape != logits.shape:
        raise UserError(f"labels: got {tuple(targets.shape)}, expected one a class, {tuple(logits.shape)}")
    known = targets >= 0
    labels = torch.where(known, targets, 0).long()
    # Waited for only where that costs nothing.
    if targets.device.type == "cpu" and not torch.compiler.is_compiling():
        wrong = known & (targets != 0) & (targets != 1)
        if bool(wrong.any()):
            raise UserError(f"labels: got {targets[wrong][0].item():g}, expected 1, 0, or -1 or nan where not known")
    return labels.masked_fill(~known, ABSENT).flatten()


class MultiLabelEvaluator:
    """Mean average precision and F1 over the classes, the share of right labels, and the mean loss of a label in nats.

    Labels that are not known count nowhere. A class without a positive sample has no average precision, and is left
    out of the mean; without any it is 0.

    Args:
        num_classes: Number of classes C.

    Example:
        >>> evaluator = MultiLabelEvaluator(2)
        >>> evaluator.update(torch.tensor([[3., -1.], [-2., 1.]]), torch.tensor([[1, 0], [0, 1]]))
        >>> evaluator.compute().map
        1.0
    """

    def __init__(self, num_classes: int) -> None:
        common: dict[str, Any] = {"num_labels": num_classes, "ignore_index": UNKNOWN}
        common |= {"validate_args": False, "sync_on_compute": False}
        self._f1 = MultilabelF1Score(average="macro", **common)
        self._accuracy = MultilabelAccuracy(average="micro", **common)
        self._loss = MeanMetric(nan_strategy="disable", sync_on_compute=False)
        self._scores: list[Tensor] = []
        self._labels: list[Tensor] = []

    @torch.no_grad()
    def update(self, output: Any, targets: Tensor) -> None:
        """Count a batch: (N, C) logits and (N, C) of 1, 0, and -1 or nan."""
        logits = output_logits(output).float()
        labels = _labels(targets, logits).view_as(logits)
        known = labels != ABSENT
        labels = torch.where(known, labels, UNKNOWN)
        for metric in (self._f1, self._accuracy):
            metric.to(logits.device).update(logits.sigmoid(), labels)
        self._scores.append(logits.cpu())
        self._labels.append(labels.cpu())
        loss = F.binary_cross_entropy_with_logits(logits[known], labels[known].float(), reduction="none")
        self._loss.to(logits.device).update(loss)

    def gather(self) -> None:
        """Add what the other processes have counted."""
        gather_metrics([self._f1, self._accuracy, self._loss])
        self._scores, self._labels = gather_list(self._scores), gather_list(self._labels)

    def compute(self) -> Measured:
        """Return the figures over all samples, and which classes are predicted, (N, C) of 0 and 1."""
        scores, labels = torch.cat(self._scores), torch.cat(self._labels)
        values: dict[str, Any] = {"map": _mean_precision(scores, labels), "f1": self._f1.compute()}
        values |= {"label_accuracy": self._accuracy.compute(), "loss": self._loss.compute()}
        details = {"confidence": scores.sigmoid().half(), "labels": labels.to(torch.int8)}
        return Measured({name: float(value) for name, value in values.items()}, (scores > 0).long(), details)


def _mean_precision(scores: Tensor, labels: Tensor) -> float:
    """Return the mean average precision over the classes with a positive sample; 0 without any."""
    # In float64, in which the sigmoids of large logits still differ.
    probabilities = scores.double().sigmoid()
    precisions = [
        float(binary_average_precision(probabilities[:, c], labels[:, c], ignore_index=UNKNOWN))
        for c in (labels == 1).any(dim=0).nonzero()[:, 0].tolist()
    ]
    return sum(precisions) / len(precisions) if precisions else 0.0
