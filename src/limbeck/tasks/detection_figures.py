"""The figures of detection: COCO's average precision of boxes."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from limbeck.imports import optional_package
from limbeck.tasks.gathering import gather_list
from limbeck.tasks.metrics import Measured

# COCO counts so many detections of an image, those of the highest scores.
_MOST = 100
# As pycocotools has them; torchmetrics rounds its own to float32, by which boxes at a threshold fall below it.
_OVERLAPS, _RECALLS = np.linspace(0.5, 0.95, 10).tolist(), np.linspace(0.0, 1.0, 101).tolist()
Boxes = Mapping[str, Tensor]


class DetectionEvaluator:
    """COCO's mean average precision, and the average precision of each class.

    ``map`` is the mean over IoU thresholds .5, .55, ... .95, ``map_50`` and ``map_75`` are those of one threshold;
    all are means over the classes that have true boxes, the others have no figure. Of an image the 100 boxes of the
    highest scores count. Crowds count nowhere: boxes in them are neither right nor wrong.

    Args:
        class_names: The C class names without the background; the average precision of a class is the figure
            ``ap.NAME``.

    Raises:
        UserError: If pycocotools is missing.

    References:
        Lin et al., Microsoft COCO, arXiv 1405.0312; computed by torchmetrics with pycocotools.

    Example:
        >>> box = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
        >>> evaluator = DetectionEvaluator(("cat", "dog"))
        >>> output = [{"boxes": box, "labels": torch.tensor([2]), "scores": torch.tensor([0.9])}]
        >>> evaluator.update(output, [{"boxes": box * 0.8, "labels": torch.tensor([2])}])
        >>> {name: round(value, 3) for name, value in evaluator.compute().values.items()}
        {'map': 0.3, 'map_50': 1.0, 'map_75': 0.0, 'ap.dog': 0.3}
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        optional_package("pycocotools", "detection", "the figures of detection")
        from torchmetrics.detection import MeanAveragePrecision

        self._names = tuple(class_names)
        # Whether processes add up what they have counted is for gather() to decide.
        self._metric = MeanAveragePrecision(
            iou_thresholds=_OVERLAPS, rec_thresholds=_RECALLS, class_metrics=True, sync_on_compute=False
        )
        self._metric.warn_on_many_detections = False
        self._detected: list[Tensor] = []
        self._counted: list[tuple[list[dict[str, Tensor]], list[dict[str, Tensor]]]] = []

    @torch.no_grad()
    def update(self, output: Sequence[Boxes], targets: Sequence[Boxes]) -> None:
        """Count a batch.

        Args:
            output: For each image ``boxes`` (D, 4), ``labels`` (D,) from 1 and ``scores`` (D,), as torchvision's
                detectors return them in eval mode.
            targets: For each image ``boxes`` (B, 4) and ``labels`` (B,), and perhaps ``crowd`` (B,).
        """
        self._count([_highest(boxes) for boxes in output], [_truth(target) for target in targets])

    def _count(self, found: list[dict[str, Tensor]], truth: list[dict[str, Tensor]]) -> None:
        self._metric.update(found, truth)
        self._counted.append((found, truth))
        self._detected += [torch.cat((b["boxes"], b["labels"][:, None], b["scores"][:, None]), dim=1) for b in found]

    def gather(self) -> None:
        """Add what the other processes have counted."""
        counted, self._counted, self._detected = gather_list(self._counted), [], []
        self._metric.reset()
        for found, truth in counted:
            self._count(found, truth)

    def compute(self) -> Measured:
        """Return the figures over all images, and the boxes that were found.

        Returns:
            The figures; as predictions float32 (N, D, 6): left, upper, right and lower edge, class from 1 and score of
            an image's D boxes of the highest scores; NaN where an image has fewer.
        """
        if not self._detected:
            return Measured({"map": 0.0, "map_50": 0.0, "map_75": 0.0}, self._predicted())
        found = self._metric.compute()
        values = {name: max(float(found[name]), 0.0) for name in ("map", "map_50", "map_75")}
        classes, precisions = found["classes"].reshape(-1).tolist(), found["map_per_class"].reshape(-1).tolist()
        # -1 stands for a class without true boxes.
        known = {c: precision for c, precision in zip(classes, precisions, strict=True) if precision >= 0}
        per_class = {f"ap.{name}": known[c] for c, name in enumerate(self._names, start=1) if c in known}
        return Measured({**values, **per_class}, self._predicted())

    def _predicted(self) -> Tensor:
        most = max((len(boxes) for boxes in self._detected), default=0)
        predicted = torch.full((len(self._detected), most, 6), torch.nan)
        for row, boxes in zip(predicted, self._detected, strict=True):
            row[: len(boxes)] = boxes
        return predicted


def _highest(boxes: Boxes) -> dict[str, Tensor]:
    order = boxes["scores"].float().cpu().sort(descending=True, stable=True).indices[:_MOST]
    of_image = {name: boxes[name].cpu()[order] for name in ("boxes", "labels", "scores")}
    return {**of_image, "boxes": of_image["boxes"].float(), "scores": of_image["scores"].float()}


def _truth(target: Boxes) -> dict[str, Tensor]:
    truth = {"boxes": target["boxes"].float().cpu(), "labels": target["labels"].cpu()}
    return {**truth, "iscrowd": target["crowd"].long().cpu()} if "crowd" in target else truth
