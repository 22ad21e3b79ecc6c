"""A generated set: shapes drawn on noise, for trials and tests that need no files."""

import math

import torch
from torch import Tensor

from limbeck.data.masks.data import MaskData
from limbeck.data.masks.splits import IGNORED, MaskSet
from limbeck.errors import UserError

CLASSES = ("background", "disc", "square", "triangle", "ring")
_SHAPES_AN_IMAGE = 6
# The mean color of each class, and how far a color lies from it at most: far enough that colors alone do not decide.
_COLORS, _SPREAD = ((128, 128, 128), (170, 100, 90), (90, 160, 100), (100, 100, 170), (160, 150, 80)), 75


def drawn_shapes(*, seed: int = 0, train: int = 400, test: int = 100, side: int = 64, noise: float = 25.0) -> MaskData:
    """Draw discs, squares, triangles and rings of any size and place over one another, with noise on top.

    The colors of a class lie about one of its own, too far for colors alone to decide.

    A border of one pixel around each shape counts nowhere, as in PASCAL VOC.

    Args:
        seed: The seed of all draws.
        train: The number of training images.
        test: The number of test images.
        side: Height and width in pixels.
        noise: The standard deviation of the noise, of pixels in [0, 255].

    Raises:
        UserError: If a number is out of range.

    Example:
        >>> data = drawn_shapes(train=8, test=2, side=32)
        >>> data.classes, data.train.images.shape, len(data.test)
        (('background', 'disc', 'square', 'triangle', 'ring'), torch.Size([8, 3, 32, 32]), 2)
    """
    check_drawing(train, test, side, noise, least_side=16)
    generator = torch.Generator().manual_seed(seed)
    whole = [_drawn(side, noise, generator) for _ in range(train + test)]
    splits = [
        MaskSet(torch.stack([image for image, _ in part]), torch.stack([mask for _, mask in part]))
        for part in (whole[:train], whole[train:])
    ]
    return MaskData("shapes", CLASSES, splits[0], None, splits[1], (0.5,) * 3, (0.25,) * 3)


def check_drawing(train: int, test: int, side: int, noise: float, *, least_side: int) -> None:
    """Raise ``UserError`` if a setting of a drawn set is out of range.

    Args:
        train: The number of training images.
        test: The number of test images.
        side: Height and width in pixels.
        noise: The standard deviation of the noise.
        least_side: What the side is at least.

    Example:
        >>> check_drawing(8, 2, 32, 20.0, least_side=16)
    """
    for name, value, least in (("train", train, 1), ("test", test, 1), ("side", side, least_side)):
        if value < least:
            raise UserError(f"data.options.{name}: got {value}, expected a whole number of at least {least}")
    if noise < 0:
        raise UserError(f"data.options.noise: got {noise}, expected a number of at least 0")


def _drawn(side: int, noise: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    image = _color(0, generator).view(3, 1, 1).expand(3, side, side).clone()
    mask = torch.zeros(side, side, dtype=torch.uint8)
    for _ in range(_SHAPES_AN_IMAGE):
        kind = int(torch.randint(1, len(CLASSES), (), generator=generator))
        distance = shape_distance(CLASSES[kind], side, generator)
        mask[distance < 0.5] = IGNORED
        mask[distance < -0.5] = kind
        image[:, distance < 0] = _color(kind, generator)
    image += noise * torch.randn(image.shape, generator=generator)
    return image.round().clamp(0, 255).to(torch.uint8), mask


def _color(kind: int, generator: torch.Generator) -> Tensor:
    return torch.tensor(_COLORS[kind])[:, None] + _SPREAD * (2 * torch.rand(3, 1, generator=generator) - 1)


def shape_distance(shape: str, side: int, generator: torch.Generator) -> Tensor:
    """Return how many pixels each position of an image lies outside a shape that is drawn; negative within it.

    Args:
        shape: ``"disc"``, ``"square"``, ``"triangle"`` or ``"ring"``.
        side: Height and width of the image in pixels.
        generator: Of place, size and angle.

    Returns:
        (side, side) pixels.

    Example:
        >>> distance = shape_distance("disc", 32, torch.Generator().manual_seed(0))
        >>> distance.shape, bool((distance < 0).any())
        (torch.Size([32, 32]), True)
    """
    *center, spread, turn = torch.rand(4, generator=generator).tolist()
    radius, angle = side * (0.12 + 0.16 * spread), 2 * math.pi * turn
    y, x = torch.meshgrid(*(torch.arange(side) + 0.5 - side * place for place in center), indexing="ij")
    y, x = math.cos(angle) * y - math.sin(angle) * x, math.sin(angle) * y + math.cos(angle) * x
    return _outside(shape, x, y, radius)


def _outside(shape: str, x: Tensor, y: Tensor, radius: float) -> Tensor:
    if shape == "square":
        return torch.maximum(x.abs(), y.abs()) - 0.8 * radius
    if shape == "triangle":
        sides = [math.cos(a) * x + math.sin(a) * y for a in (0.0, 2 * math.pi / 3, 4 * math.pi / 3)]
        return torch.stack(sides).amax(dim=0) - 0.5 * radius
    distance = torch.hypot(x, y)
    return distance - radius if shape == "disc" else (distance - 0.75 * radius).abs() - 0.25 * radius
