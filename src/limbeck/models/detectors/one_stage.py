"""The training forward of torchvision's RetinaNet, part by part, with a row for each anchor and class."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection import RetinaNet
from torchvision.ops import box_iou

from limbeck.models.detectors.output import Anchors, DetectorOutput, in_full, level_maps
from limbeck.rows import ABSENT, Rows

Targets = Sequence[Mapping[str, Tensor]]
_BETWEEN = -2


def train_anchors(detector: RetinaNet, images: Sequence[Tensor], targets: Targets) -> DetectorOutput:
    """Run a RetinaNet once, as its own forward in train mode does.

    Args:
        detector: The detector; column 0 of its logits, the background's, is never present and gives no rows.
        images: (3, H, W) floats in [0, 1], of any sizes.
        targets: ``boxes`` and ``labels`` of each image.

    Returns:
        For each level a row of two logits, (0, z), for each anchor and class, with the label 1 where the anchor is of
        that class, -100 where it is neither matched nor background; the detector's losses ``main`` (the classes) and
        ``bbox_regression``; the layout of its anchors. The first level is the head ``main``, the next ``level1`` ...

    Example:
        >>> from limbeck import models
        >>> detector = models.create("small_detector", num_classes=3, stages=1)
        >>> target = {"boxes": torch.tensor([[4., 4., 30., 30.]]), "labels": torch.tensor([2])}
        >>> output = train_anchors(detector, [torch.rand(3, 64, 64)], [target])
        >>> list(output.heads), sorted(output.losses), output.heads["main"].logits.shape[1]
        (['main', 'level1', 'level2', 'level3'], ['bbox_regression', 'main'], 2)
    """
    with in_full(detector.backbone, detector.head):
        batch, resized = detector.transform(list(images), list(targets))
        outputs, anchors, places = _run(detector, batch)
    matched = [_matched(detector, boxes, target["boxes"]) for boxes, target in zip(anchors, resized, strict=True)]
    losses = detector.head.compute_loss(resized, outputs, anchors, matched)
    labels = torch.stack([_labels(*part, places.classes) for part in zip(matched, resized, strict=True)])
    own = {"main": losses.pop("classification"), **losses}
    return DetectorOutput(_heads(outputs["cls_logits"], labels, places), own, places)


def anchor_logits(detector: RetinaNet, images: Sequence[Tensor]) -> DetectorOutput:
    """Return a RetinaNet's rows of all anchors, without labels and losses.

    Args:
        detector: The detector.
        images: (3, H, W) floats in [0, 1].

    Example:
        >>> from limbeck import models
        >>> detector = models.create("small_detector", num_classes=3, stages=1).eval()
        >>> anchor_logits(detector, [torch.rand(3, 64, 64)]).heads["main"].labels is None
        True
    """
    with in_full(detector.backbone, detector.head):
        batch, _ = detector.transform(list(images))
        maps = list(level_maps(detector.backbone(batch.tensors)).values())
        logits = detector.head.classification_head(maps).float()
    places = _places(detector, maps, logits)
    return DetectorOutput(_heads(logits, None, places), {}, places)


def _run(detector: RetinaNet, batch: Any) -> tuple[dict[str, Tensor], list[Tensor], Anchors]:
    maps = list(level_maps(detector.backbone(batch.tensors)).values())
    outputs: dict[str, Tensor] = detector.head(maps)
    anchors = detector.anchor_generator(batch, maps)
    return outputs, anchors, _places(detector, maps, outputs["cls_logits"])


def _places(detector: RetinaNet, maps: Sequence[Tensor], logits: Tensor) -> Anchors:
    positions = [part.shape[2] * part.shape[3] for part in maps]
    each = logits.shape[1] // sum(positions)
    generator = detector.anchor_generator
    shapes = (tuple(map(tuple, generator.sizes)), tuple(map(tuple, generator.aspect_ratios)))
    return Anchors(shapes, tuple(each * count for count in positions), logits.shape[2])


def _matched(detector: RetinaNet, anchors: Tensor, boxes: Tensor) -> Tensor:
    if not len(boxes):
        return torch.full((len(anchors),), -1, dtype=torch.int64, device=anchors.device)
    found: Tensor = detector.proposal_matcher(box_iou(boxes, anchors))
    return found


def _labels(matched: Tensor, target: Mapping[str, Tensor], classes: int) -> Tensor:
    """Return (A, C) of 1, 0 and -100 for the anchors of an image."""
    # Anchors of the background point to a row of zeros behind the boxes.
    of_boxes = torch.cat([target["labels"], target["labels"].new_zeros(1)])
    found = of_boxes[torch.where(matched >= 0, matched, len(of_boxes) - 1)]
    labels = (found[:, None] == torch.arange(1, classes, device=found.device)).long()
    return labels.masked_fill((matched == _BETWEEN)[:, None], ABSENT)


def _heads(logits: Tensor, labels: Tensor | None, places: Anchors) -> dict[str, Rows]:
    counts = list(places.counts)
    values = torch.split(logits[..., 1:], counts, dim=1)
    truths = [None] * len(counts) if labels is None else torch.split(labels, counts, dim=1)
    names = ["main", *(f"level{place}" for place in range(1, len(counts)))]
    return {name: _rows(part, truth) for name, part, truth in zip(names, values, truths, strict=True)}


def _rows(values: Tensor, labels: Tensor | None) -> Rows:
    flat = values.flatten()
    logits = torch.stack([torch.zeros_like(flat), flat], dim=1)
    sample = torch.arange(len(values), device=values.device).repeat_interleave(values[0].numel())
    return Rows(logits, None if labels is None else labels.flatten(), None, sample)
