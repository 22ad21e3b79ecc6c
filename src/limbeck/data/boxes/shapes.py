"""A generated set: shapes on noise with the boxes around them, for trials and tests that need no files."""

import torch
from torch import Tensor

from limbeck.data.boxes.augment import areas
from limbeck.data.boxes.data import BoxData
from limbeck.data.boxes.splits import BoxSet, Target
from limbeck.data.masks.shapes import check_drawing, shape_distance

CLASSES = ("disc", "square", "triangle")
_MOST_SHAPES = 4
# How far the channels of a shape's color lie from those of the background at least, on the circle of 256 values.
_CONTRAST = 70
_LEAST_SIDE, _MOST_HIDDEN = 8, 0.3


def drawn_boxes(*, seed: int = 0, train: int = 300, test: int = 100, side: int = 96, noise: float = 20.0) -> BoxData:
    """Draw discs, squares and triangles of any size, place and color, with noise on top.

    An image has up to four of them. A box is that of the shape's pixels within the image; a shape that would hide
    much of another is left out.

    Args:
        seed: The seed of all draws.
        train: The number of training images.
        test: The number of test images.
        side: Height and width in pixels.
        noise: The standard deviation of the noise, of pixels in [0, 255].

    Raises:
        UserError: If a number is out of range.

    Example:
        >>> data = drawn_boxes(train=8, test=2, side=64)
        >>> data.classes, data.train.shape, len(data.test)
        (('disc', 'square', 'triangle'), (3, 64, 64), 2)
    """
    check_drawing(train, test, side, noise, least_side=32)
    generator = torch.Generator().manual_seed(seed)
    samples = [_drawn(side, noise, generator) for _ in range(train + test)]
    splits = [
        BoxSet([image for image, _ in part], [target for _, target in part])
        for part in (samples[:train], samples[train:])
    ]
    return BoxData("boxes_sample", CLASSES, splits[0], None, splits[1])


def _drawn(side: int, noise: float, generator: torch.Generator) -> tuple[Tensor, Target]:
    background = 256 * torch.rand(3, 1, 1, generator=generator)
    image = background.expand(3, side, side).clone()
    boxes, labels = torch.zeros(0, 4), list[int]()
    for _ in range(int(torch.randint(1, _MOST_SHAPES + 1, (), generator=generator))):
        kind = int(torch.randint(len(CLASSES), (), generator=generator))
        inside = shape_distance(CLASSES[kind], side, generator) < 0
        color, box = _color(background, generator), _around(inside)
        if _is_apart(box, boxes):
            image = torch.where(inside, color, image)
            boxes, labels = torch.cat((boxes, box)), [*labels, kind + 1]
    image += noise * torch.randn(image.shape, generator=generator)
    target = {"boxes": boxes, "labels": torch.tensor(labels, dtype=torch.int64)}
    return image.round().clamp(0, 255).to(torch.uint8), target


def _color(background: Tensor, generator: torch.Generator) -> Tensor:
    """Return a color for a shape of any class that is not lost in the background."""
    return (background + _CONTRAST + (256 - 2 * _CONTRAST) * torch.rand(3, 1, 1, generator=generator)) % 256


def _around(inside: Tensor) -> Tensor:
    """Return the box (1, 4) of the pixels that are inside; of no area without any."""
    rows, columns = inside.any(dim=1).nonzero(), inside.any(dim=0).nonzero()
    if not len(rows):
        return torch.zeros(1, 4)
    edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    return torch.stack(edges)[None].float()


def _is_apart(box: Tensor, others: Tensor) -> bool:
    """Return whether a box (1, 4) is large enough, and no large share of it or of another box lies in the other."""
    if bool((box[:, 2:] - box[:, :2] < _LEAST_SIDE).any()):
        return False
    common = areas(torch.cat((torch.maximum(box, others)[:, :2], torch.minimum(box, others)[:, 2:]), dim=1))
    return bool((common <= _MOST_HIDDEN * torch.minimum(areas(box), areas(others))).all())
