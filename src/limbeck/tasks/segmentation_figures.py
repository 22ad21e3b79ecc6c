"""The figures of segmentation, counted at the size of the masks."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from limbeck.ranks import gathered
from limbeck.tasks.gathering import gather_list
from limbeck.tasks.metrics import Measured

# Logits are enlarged to the masks' size for so many samples at a time.
_SAMPLES = 4
_BINS = 15


def full_size(logits: Tensor, targets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Enlarge maps of logits to the size of the masks, a few samples at a time.

    Args:
        logits: (N, C, h, w) logits.
        targets: (N, H, W) true classes.

    Yields:
        (n, C, H, W) float32 logits and (n, H, W) int64 classes.

    Example:
        >>> [maps.shape[0] for maps, _ in full_size(torch.zeros(5, 2, 1, 1), torch.zeros(5, 4, 4))]
        [4, 1]
    """
    for maps, masks in zip(torch.split(logits, _SAMPLES), torch.split(targets, _SAMPLES), strict=True):
        yield F.interpolate(maps.float(), size=masks.shape[1:], mode="bilinear", align_corners=False), masks.long()


class SegmentationEvaluator:
    """Mean IoU, pixel accuracy, mean loss in nats, and the IoU of each class, at the size of the masks.

    The IoU of a class is the number of positions that are and are predicted to be of it, over the number of those that
    are or are predicted to be; ignored positions count nowhere. The mean is that over classes which are there in
    truth or prediction, as torchmetrics has it; others have no IoU.

    Args:
        names: The C class names; the IoU of a class is the figure ``iou.NAME``.
        logits: Takes a network's output to (N, C, h, w) logits.
        ignore_index: The class of positions that count nowhere.

    Example:
        >>> evaluator = SegmentationEvaluator(("sky", "road"), lambda output: output)
        >>> evaluator.update(torch.tensor([[[[5., 0.]], [[0., 5.]]]]), torch.tensor([[[0, 0, 1, 0]]]))
        >>> {name: round(value, 3) for name, value in evaluator.compute().values.items() if name != "loss"}
        {'miou': 0.583, 'pixel_accuracy': 0.75, 'iou.sky': 0.667, 'iou.road': 0.5}
    """

    def __init__(self, names: Sequence[str], logits: Callable[[Any], Tensor], *, ignore_index: int = 255) -> None:
        self._names, self._logits, self._ignored = tuple(names), logits, ignore_index
        self._counts = torch.zeros(len(names), len(names), dtype=torch.int64)
        self._loss = torch.zeros((), dtype=torch.float64)
        self._calibration = torch.zeros(_BINS, 3, dtype=torch.float64)
        self._predictions: list[Tensor] = []

    @torch.no_grad()
    def update(self, output: Any, targets: Tensor) -> None:
        """Count a batch: an output, and (N, H, W) true classes."""
        for full, masks in full_size(self._logits(output), targets):
            self._add(full, masks)

    def _add(self, full: Tensor, masks: Tensor) -> None:
        classes = len(self._names)
        predicted, counted = full.argmax(dim=1), masks != self._ignored
        pairs = masks[counted] * classes + predicted[counted]
        self._counts += pairs.bincount(minlength=classes**2).view(classes, classes).cpu()
        loss = F.cross_entropy(full, masks, ignore_index=self._ignored, reduction="sum")
        self._loss += loss.double().cpu()
        self._add_confidences(full, counted, predicted == masks)
        self._predictions.append(predicted.to(torch.uint8 if classes <= 256 else torch.int32).cpu())

    def _add_confidences(self, full: Tensor, counted: Tensor, right: Tensor) -> None:
        confidences = full.softmax(dim=1).amax(dim=1)[counted].double().cpu()
        bins = (confidences * _BINS).long().clamp(max=_BINS - 1)
        columns = (torch.ones_like(confidences), confidences, right[counted].double().cpu())
        self._calibration.index_add_(0, bins, torch.stack(columns, dim=1))

    def gather(self) -> None:
        """Add what the other processes have counted."""
        counted = gathered((self._counts, self._loss, self._calibration))
        self._counts, self._loss, self._calibration = (
            torch.stack(parts).sum(0) for parts in zip(*counted, strict=True)
        )
        self._predictions = gather_list(self._predictions)

    def compute(self) -> Measured:
        """Return the figures over all samples, and the predicted masks, (N, H, W), or None where sizes differ."""
        counts = self._counts.double()
        right, present = counts.diagonal(), counts.sum(0) + counts.sum(1)
        unions = present - right
        ious = {name: float(right[c] / unions[c]) for c, name in enumerate(self._names) if unions[c] > 0}
        whole = counts.sum().clamp_min(1)
        mean = sum(ious.values()) / max(len(ious), 1)
        figures = {"miou": mean, "pixel_accuracy": float(right.sum() / whole), "loss": float(self._loss / whole)}
        details = {"confusion": self._counts.clone(), "calibration": self._calibration.clone()}
        return Measured({**figures, **{f"iou.{name}": iou for name, iou in ious.items()}}, self._predicted(), details)

    def _predicted(self) -> Tensor | None:
        sizes = {part.shape[1:] for part in self._predictions}
        return torch.cat(self._predictions) if len(sizes) == 1 else None
