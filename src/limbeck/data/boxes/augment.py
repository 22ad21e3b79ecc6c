"""How an image and its boxes are varied together, as a pure function of (seed, epoch, sample)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import ConfigDict
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

from limbeck.data.boxes.splits import Size, Target
from limbeck.data.masks.augment import MaskAugment, Window
from limbeck.errors import UserError
from limbeck.validation import Real, Whole

_MEAN_COLOR = (124, 116, 104)
"""ImageNet's, which torchvision's detectors take to zero."""
_LEAST_SIDE = 0.01


@dataclass(frozen=True)
class BoxAugment:
    """How training images and their boxes are varied together.

    Args:
        flip: Whether half of the views are mirrored left to right.
        zoom: The range of factors by which image and boxes are enlarged, such as ``(0.5, 2.0)``, uniform in its
            logarithm; a view of the image's size is then cut out of the enlarged image, or has it within a border of
            the mean color. None for no such change. It makes the views countless.
        window: Height and width in pixels of the views; None for those of the image. It makes the views countless.
        visible: The share of a box that must lie in the view, or else the box is left out; of others that part stays.

    Raises:
        UserError: If a setting is out of range.

    References:
        Enlarging by a factor and cutting a window: large scale jittering, Ghiasi et al., Simple Copy-Paste, arXiv
        2012.07177. The share that must be visible is ours.

    Example:
        >>> BoxAugment(flip=True).views, BoxAugment(flip=True, zoom=(0.5, 2.0)).views
        (2, None)
    """

    # For recipes, which hold it as a mapping.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    flip: bool = False
    zoom: tuple[Real, Real] | None = None
    window: tuple[Whole, Whole] | None = None
    visible: Real = 0.25

    def __post_init__(self) -> None:
        # Makes the checks of the settings that masks have too.
        _ = self.places
        if not 0 <= self.visible <= 1:
            raise UserError(f"augment.visible: got {self.visible}, expected a share from 0 to 1")

    @property
    def places(self) -> MaskAugment:
        """Where the views lie, drawn as those of images with masks are."""
        return MaskAugment(self.flip, self.zoom, self.window)

    @property
    def countless(self) -> str | None:
        """The setting that makes views countless, or None."""
        return self.places.countless

    @property
    def views(self) -> int | None:
        """The number of distinct views of an image, 1 or 2; None where they are countless."""
        return self.places.views

    @property
    def unaugmented(self) -> int | None:
        """The number of the view that is the image as it is: 0; None where views are countless."""
        return self.places.unaugmented

    def draw(self, indices: Tensor, *, seed: int, epoch: int) -> Tensor:
        """Draw the number of each sample's view: 1 for the mirrored one, else 0.

        Args:
            indices: Positions of the samples in their split, int64 (N,).
            seed: The run's seed.
            epoch: The epoch, from 0.

        Returns:
            int64 (N,).

        Raises:
            UserError: If the views are countless.
        """
        return self.places.draw(indices, seed=seed, epoch=epoch)

    def view(self, image: Tensor, target: Target, index: int, *, seed: int, epoch: int) -> tuple[Tensor, Target]:
        """Return a sample's view: its image, and what its ground truth is there.

        Args:
            image: uint8 (3, H, W).
            target: Its ground truth, see :class:`limbeck.data.boxes.splits.BoxSet`.
            index: The sample's position in its split.
            seed: The run's seed.
            epoch: The epoch, from 0.

        Example:
            >>> target = {"boxes": torch.tensor([[1.0, 0.0, 4.0, 2.0]]), "labels": torch.tensor([1])}
            >>> image = torch.zeros(3, 6, 8, dtype=torch.uint8)
            >>> image, target = BoxAugment(zoom=(2.0, 2.0)).view(image, target, 0, seed=0, epoch=0)
            >>> image.shape
            torch.Size([3, 6, 8])
        """
        row = torch.tensor([index])
        if not self.countless:
            flip = self.flip and bool(self.draw(row, seed=seed, epoch=epoch))
            return mirrored(image, target) if flip else (image, target)
        size = (image.shape[1], image.shape[2])
        place = Window(*(values[0] for values in self.places.windows(row, size, seed=seed, epoch=epoch)))
        image, target = cut_view(image, target, place, self.window or size, visible=self.visible)
        return mirrored(image, target) if bool(place.flip) else (image, target)


def mirrored(image: Tensor, target: Target) -> tuple[Tensor, Target]:
    """Mirror an image and its boxes left to right.

    Example:
        >>> target = {"boxes": torch.tensor([[1.0, 0.0, 4.0, 2.0]]), "labels": torch.tensor([1])}
        >>> mirrored(torch.zeros(3, 6, 8, dtype=torch.uint8), target)[1]["boxes"]
        tensor([[4., 0., 7., 2.]])
    """
    left, top, right, bottom = target["boxes"].unbind(1)
    width = image.shape[2]
    boxes = torch.stack((width - right, top, width - left, bottom), dim=1)
    return image.flip(2), {**target, "boxes": boxes}


def cut_view(image: Tensor, target: Target, place: Window, window: Size, *, visible: float) -> tuple[Tensor, Target]:
    """Cut a window out of an enlarged image and its boxes; what lies outside has the mean color.

    Args:
        image: uint8 (3, H, W).
        target: Its ground truth.
        place: Where the window lies, each a scalar tensor; ``flip`` is not looked at.
        window: Height and width of the window.
        visible: The share of a box that must lie within.

    Example:
        >>> target = {"boxes": torch.tensor([[1.0, 0.0, 4.0, 2.0], [0.0, 4.0, 8.0, 6.0]]), "labels": torch.ones(2)}
        >>> place = Window(*(torch.tensor(value, dtype=torch.float64) for value in (0, 4, 2, 0)))
        >>> cut_view(torch.zeros(3, 6, 8, dtype=torch.uint8), target, place, (6, 8), visible=0.25)[1]["boxes"]
        tensor([[0., 0., 4., 4.]])
    """
    top, left = int(place.top), int(place.left)
    height, width = (round(side * float(place.zoom)) for side in image.shape[1:])
    boxes = scaled(target["boxes"], (image.shape[1], image.shape[2]), (height, width))
    if (height, width) != tuple(image.shape[1:]):
        image = tvf.resize(image, [height, width], antialias=True)
    view = torch.tensor(_MEAN_COLOR, dtype=torch.uint8).view(3, 1, 1).expand(3, *window).clone()
    rows, columns = _shared(top, window[0], height), _shared(left, window[1], width)
    view[:, rows[0] - top : rows[1] - top, columns[0] - left : columns[1] - left] = image[
        :, rows[0] : rows[1], columns[0] : columns[1]
    ]
    return view, _within(target, boxes - boxes.new_tensor([left, top, left, top]), window, visible)


def scaled(boxes: Tensor, size: Size, to: Size) -> Tensor:
    """Scale boxes (B, 4) as an image that is resized from one size to another.

    Example:
        >>> scaled(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), (10, 10), (10, 20))
        tensor([[2., 2., 6., 4.]])
    """
    across, down = to[1] / size[1], to[0] / size[0]
    return boxes * boxes.new_tensor([across, down, across, down])


def clipped(boxes: Tensor, size: Size) -> Tensor:
    """Clip boxes (B, 4) at the edges of an image.

    Example:
        >>> clipped(torch.tensor([[-1.0, 2.0, 30.0, 4.0]]), (10, 10))
        tensor([[ 0.,  2., 10.,  4.]])
    """
    return torch.minimum(boxes.clamp_min(0), boxes.new_tensor([size[1], size[0], size[1], size[0]]))


def areas(boxes: Tensor) -> Tensor:
    """Return the areas of boxes (B, 4), (B,), 0 for those without one.

    Example:
        >>> areas(torch.tensor([[1.0, 2.0, 3.0, 5.0], [3.0, 2.0, 1.0, 5.0]]))
        tensor([6., 0.])
    """
    return (boxes[:, 2] - boxes[:, 0]).clamp_min(0) * (boxes[:, 3] - boxes[:, 1]).clamp_min(0)


def have_area(boxes: Tensor) -> Tensor:
    """Return which boxes (B, 4) have an area, (B,) bool: those of at least 0.01 pixels in width and height.

    Of a thinner box both edges are one number in float32 once it is mirrored to the other side of its image.

    Example:
        >>> have_area(torch.tensor([[1.0, 2.0, 3.0, 5.0], [3.0, 2.0, 3.001, 5.0]]))
        tensor([ True, False])
    """
    return (boxes[:, 2:] - boxes[:, :2] >= _LEAST_SIDE).all(dim=1)


def _shared(start: int, length: int, side: int) -> tuple[int, int]:
    """Return where a window's part within the image begins and ends, in pixels of the image."""
    first = min(max(start, 0), side)
    return first, max(first, min(start + length, side))


def _within(target: Target, boxes: Tensor, size: Size, visible: float) -> Target:
    inside = clipped(boxes, size)
    stays = have_area(inside) & (areas(inside) >= visible * areas(boxes))
    return {**{name: values[stays] for name, values in target.items()}, "boxes": inside[stays]}
