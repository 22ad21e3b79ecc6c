"""What a student's output means, by its task: probabilities, maps of classes, or boxes."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from limbeck.errors import UserError
from limbeck.models.calling import output_logits
from limbeck.tasks import MAIN, Classification, Detection, MultiLabel, Segmentation, Task
from limbeck.tasks.segmentation import main_maps


class Maps(NamedTuple):
    """The class of each position of some images.

    Attributes:
        classes: int64 (N, H, W), positions in the student's classes.
        probabilities: float32 (N, H, W), those of these classes.

    Example:
        >>> Maps(torch.zeros(1, 2, 2, dtype=torch.int64), torch.ones(1, 2, 2)).classes.shape
        torch.Size([1, 2, 2])
    """

    classes: Tensor
    probabilities: Tensor


class Boxes(NamedTuple):
    """The objects that were found in an image, the most probable first.

    Attributes:
        boxes: float32 (B, 4): the left, upper, right and lower edge in pixels of the image as it was given.
        classes: int64 (B,), positions in the student's classes.
        probabilities: float32 (B,).

    Example:
        >>> Boxes(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0)).boxes.shape
        torch.Size([0, 4])
    """

    boxes: Tensor
    classes: Tensor
    probabilities: Tensor


def class_probabilities(logits: Tensor, task: Task, temperature: float = 1.0) -> Tensor:
    """Return the probability of each class: they sum to 1, or are each on its own where a sample may have several.

    Args:
        logits: (N, C) logits.
        task: Classification, or multi-label classification.
        temperature: What logits are divided by.

    Returns:
        float32 (N, C).

    Example:
        >>> class_probabilities(torch.zeros(1, 4), Classification(4))
        tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
        >>> class_probabilities(torch.zeros(1, 2), MultiLabel(2))
        tensor([[0.5000, 0.5000]])
    """
    scaled = logits.float() / temperature
    return scaled.sigmoid() if isinstance(task, MultiLabel) else scaled.softmax(dim=1)


def interpreted(
    output: Any, task: Task, *, size: tuple[int, int] | None = None, temperature: float = 1.0
) -> Tensor | Maps | list[Boxes]:
    """Turn a network's output into predictions.

    Args:
        output: What the network returned in eval mode.
        task: Its task.
        size: For maps the height and width of the inputs, to which they are enlarged.
        temperature: What logits are divided by.

    Returns:
        Probabilities (N, C), maps, or the boxes of each image.

    Raises:
        UserError: If the task is another than those of limbeck.

    Example:
        >>> interpreted(torch.zeros(1, 2), Classification(2))
        tensor([[0.5000, 0.5000]])
    """
    if isinstance(task, Detection):
        return [Boxes(found["boxes"].float(), found["labels"] - 1, found["scores"].float()) for found in output]
    if isinstance(task, Segmentation):
        return _maps(main_maps(output), size, temperature)
    if isinstance(task, MultiLabel):
        return class_probabilities(output_logits(output), task, temperature)
    if isinstance(task, Classification):
        return class_probabilities(task.rows(output, None)[MAIN].logits, task, temperature)
    raise UserError(f"task {task.name!r}: has no predictions here, expected a task of limbeck; use student.outputs")


def _maps(logits: Tensor, size: tuple[int, int] | None, temperature: float) -> Maps:
    full = logits.float()
    if size is not None:
        full = F.interpolate(full, size=size, mode="bilinear", align_corners=False)
    # The class is that of the largest logit, as a run's figures count it: probabilities can round to a tie.
    classes = full.argmax(dim=1)
    probabilities = (full / temperature).softmax(dim=1).gather(1, classes[:, None])[:, 0]
    return Maps(classes, probabilities)


def joined(parts: list[Tensor | Maps | list[Boxes]]) -> Any:
    """Join the predictions of batches, in their order.

    Example:
        >>> joined([torch.ones(1, 2), torch.ones(2, 2)]).shape
        torch.Size([3, 2])
    """
    first = parts[0]
    if isinstance(first, Maps):
        return Maps(*(torch.cat(values) for values in zip(*parts, strict=True)))
    if isinstance(first, Tensor):
        return torch.cat([part for part in parts if isinstance(part, Tensor)])
    return [boxes for part in parts for boxes in part]
