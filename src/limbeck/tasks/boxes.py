"""Checks of the images and boxes that a detector is given."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from limbeck.errors import UserError


def checked_images(inputs: Any) -> list[Tensor]:
    """Return the images of a batch, checked.

    Args:
        inputs: The images, or a mapping that has them as ``images``.

    Raises:
        UserError: If there are none, or one is no float (channels, H, W).

    Example:
        >>> len(checked_images({"images": torch.zeros(2, 3, 8, 8)}))
        2
        >>> checked_images([torch.zeros(3, 8, 8, dtype=torch.uint8)])
        Traceback (most recent call last):
        limbeck.errors.UserError: images[0]: got torch.uint8 (3, 8, 8), expected floats (3, H, W) in [0, 1]
    """
    given = inputs.get("images") if isinstance(inputs, Mapping) else inputs
    images = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else []
    if not images:
        got = f"the keys {', '.join(map(str, inputs)) or 'none'}" if isinstance(inputs, Mapping) else _described(inputs)
        got = "no image" if isinstance(given, Iterable) else got
        raise UserError(f"inputs: got {got}, expected a list of images, or a mapping that has it as images")
    for place, image in enumerate(images):
        if not isinstance(image, Tensor) or not image.is_floating_point() or image.ndim != 3:
            raise UserError(f"images[{place}]: got {_described(image)}, expected floats (3, H, W) in [0, 1]")
    return images


def check_boxes(targets: Any, images: int, num_classes: int | None = None) -> None:
    """Check the ground truth of a batch of images; values are looked at on the CPU alone.

    Args:
        targets: For each image a mapping with ``boxes`` and ``labels``.
        images: Number of images.
        num_classes: Number of classes, without the background; None if it is not known.

    Raises:
        UserError: If there is not one mapping an image, shapes or types are others, a box has no area, or a label is no
            class.

    Example:
        >>> boxes = torch.tensor([[4., 4., 4., 9.]])
        >>> check_boxes([{"boxes": boxes, "labels": torch.tensor([1])}], 1)
        Traceback (most recent call last):
        limbeck.errors.UserError: targets[0]: got the box [4.0, 4.0, 4.0, 9.0], expected x1 y1 x2 y2 with x1 < x2 ...
    """
    if not isinstance(targets, list | tuple) or len(targets) != images:
        got = f"{len(targets)}" if isinstance(targets, list | tuple) else type(targets).__name__
        raise UserError(f"targets: got {got}, expected a list of {images} mappings with boxes and labels")
    for place, target in enumerate(targets):
        _check(f"targets[{place}]", target, num_classes)


def _check(name: str, target: Any, num_classes: int | None) -> None:
    if not isinstance(target, Mapping) or not {"boxes", "labels"} <= set(target):
        raise UserError(f"{name}: got {_described(target)}, expected a mapping with boxes and labels")
    boxes, labels = target["boxes"], target["labels"]
    if not isinstance(boxes, Tensor) or boxes.dtype != torch.float32 or boxes.ndim != 2 or boxes.shape[1] != 4:
        raise UserError(f"{name}: got {_described(boxes)} as boxes, expected float32 (B, 4)")
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64 or labels.shape != boxes.shape[:1]:
        raise UserError(f"{name}: got {_described(labels)} as labels, expected int64 ({len(boxes)},)")
    crowd = target.get("crowd", labels.bool())
    if not isinstance(crowd, Tensor) or crowd.dtype != torch.bool or crowd.shape != labels.shape:
        raise UserError(f"{name}: got {_described(crowd)} as crowd, expected bool ({len(boxes)},)")
    if boxes.device.type == "cpu" and len(boxes):
        _check_values(name, boxes, labels, num_classes)


def _check_values(name: str, boxes: Tensor, labels: Tensor, num_classes: int | None) -> None:
    # Not the other way round: nan is smaller than nothing.
    wrong = ~((boxes[:, 2:] > boxes[:, :2]).all(dim=1) & boxes.isfinite().all(dim=1))
    if wrong.any():
        got = [round(number, 3) for number in boxes[wrong][0].tolist()]
        raise UserError(f"{name}: got the box {got}, expected x1 y1 x2 y2 with x1 < x2 and y1 < y2")
    if int(labels.min()) < 1 or (num_classes is not None and int(labels.max()) > num_classes):
        most = num_classes or "the number of classes"
        labeled = f"labels from {int(labels.min())} to {int(labels.max())}"
        raise UserError(f"{name}: got {labeled}, expected 1 to {most} (0 is the background)")


def _described(value: Any) -> str:
    return f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


def without_crowds(target: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the boxes and labels of an image that a detector is trained on.

    Args:
        target: ``boxes``, ``labels`` and perhaps ``crowd``, (B,) bool.

    Example:
        >>> target = {"boxes": torch.ones(2, 4), "labels": torch.ones(2), "crowd": torch.tensor([True, False])}
        >>> without_crowds(target)["boxes"].shape
        torch.Size([1, 4])
    """
    kept = {name: target[name] for name in ("boxes", "labels")}
    if "crowd" not in target:
        return kept
    single = ~target["crowd"]
    return {name: part[single] for name, part in kept.items()}
