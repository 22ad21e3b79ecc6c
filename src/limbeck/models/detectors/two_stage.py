"""The training forward of torchvision's two-stage detectors, part by part, and their logits of given regions."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.roi_heads import fastrcnn_loss
from torchvision.models.detection.transform import resize_boxes

from limbeck.models.detectors.output import DetectorOutput, Regions, in_full, level_maps
from limbeck.rows import Rows

Targets = Sequence[Mapping[str, Tensor]]


def train_regions(detector: FasterRCNN, images: Sequence[Tensor], targets: Targets) -> DetectorOutput:
    """Run a two-stage detector once, as its own forward in train mode does.

    Args:
        detector: The detector; its samplers draw from torch's generator, as in its own forward.
        images: (3, H, W) floats in [0, 1], of any sizes.
        targets: ``boxes`` and ``labels`` of each image.

    Returns:
        A row of C + 1 logits for each sampled proposal, with its label (0 is the background); the detector's four
        losses: ``main`` (the classes), ``box_reg``, ``objectness`` and ``rpn_box_reg``; the sampled proposals.

    Example:
        >>> from limbeck import models
        >>> detector = models.create("small_detector", num_classes=3)
        >>> target = {"boxes": torch.tensor([[4., 4., 30., 30.]]), "labels": torch.tensor([2])}
        >>> output = train_regions(detector, [torch.rand(3, 64, 64)], [target])
        >>> sorted(output.losses), output.heads["main"].logits.shape[1]
        (['box_reg', 'main', 'objectness', 'rpn_box_reg'], 4)
    """
    rpn, heads = detector.rpn, detector.roi_heads
    with in_full(detector.backbone, rpn.head, heads.box_predictor):
        batch, resized = detector.transform(list(images), list(targets))
        maps = level_maps(detector.backbone(batch.tensors))
        proposals, losses = rpn(batch, maps, resized)
        proposals, _, labels, deltas = heads.select_training_samples(proposals, resized)
        logits, regression = _classified(detector, maps, proposals, batch.image_sizes)
    of_classes, of_boxes = fastrcnn_loss(logits, regression, labels, deltas)
    own = {name.removeprefix("loss_"): loss for name, loss in losses.items()}
    rows = Rows(logits, torch.cat(labels), None, _samples(proposals))
    places = Regions(proposals, list(batch.image_sizes))
    return DetectorOutput({"main": rows}, {"main": of_classes, "box_reg": of_boxes, **own}, places)


def region_logits(detector: FasterRCNN, images: Sequence[Tensor], regions: Regions) -> DetectorOutput:
    """Classify the regions of another detector, scaled to the images as this one resizes them.

    Args:
        detector: The detector.
        images: (3, H, W) floats in [0, 1], the same as the other's.
        regions: The other's.

    Returns:
        A row for each region, in their order, without labels and losses.

    Example:
        >>> from limbeck import models
        >>> detector = models.create("small_detector", num_classes=3).eval()
        >>> regions = Regions([torch.tensor([[0., 0., 32., 32.]])], [(128, 128)])
        >>> region_logits(detector, [torch.rand(3, 64, 64)], regions).heads["main"].logits.shape
        torch.Size([1, 4])
    """
    with in_full(detector.backbone, detector.roi_heads.box_predictor):
        batch, _ = detector.transform(list(images))
        maps = level_maps(detector.backbone(batch.tensors))
        sizes = list(batch.image_sizes)
        boxes = [_scaled(*part) for part in zip(regions.boxes, regions.sizes, sizes, strict=True)]
        logits, _ = _classified(detector, maps, boxes, sizes)
    return DetectorOutput({"main": Rows(logits, None, None, _samples(boxes))}, {}, Regions(boxes, sizes))


def _classified(
    detector: FasterRCNN, maps: Mapping[str, Tensor], boxes: list[Tensor], sizes: Sequence[tuple[int, int]]
) -> Any:
    heads = detector.roi_heads
    return heads.box_predictor(heads.box_head(heads.box_roi_pool(maps, boxes, sizes)))


def _scaled(boxes: Tensor, size: tuple[int, int], own: tuple[int, int]) -> Tensor:
    scaled: Tensor = boxes if tuple(size) == tuple(own) else resize_boxes(boxes, list(size), list(own))
    return scaled


def _samples(boxes: Sequence[Tensor]) -> Tensor:
    return torch.cat([torch.full((len(part),), n, device=part.device) for n, part in enumerate(boxes)])
