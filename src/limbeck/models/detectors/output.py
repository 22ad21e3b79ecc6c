"""What a detector returns to be trained: rows of logits, its own losses, and where the rows lie."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from limbeck.rows import Rows


class Regions(NamedTuple):
    """The regions of images that a two-stage detector classified.

    Attributes:
        boxes: (R_n, 4) float x1 y1 x2 y2 for each image, in pixels of the image as the detector resized it.
        sizes: Height and width of each image as the detector resized it.
    """

    boxes: list[Tensor]
    sizes: list[tuple[int, int]]


class Anchors(NamedTuple):
    """The anchors of a one-stage detector.

    Attributes:
        shapes: The sizes and the aspect ratios of its anchors, for each level.
        counts: How many anchors an image has at each level, of the images as the detector resized them.
        classes: How many columns of logits an anchor has, that of the background included.
    """

    shapes: tuple[Any, ...]
    counts: tuple[int, ...]
    classes: int


class DetectorOutput(NamedTuple):
    """What a detector returns in train mode, or for another detector's regions or anchors.

    Attributes:
        heads: Rows of logits; of a one-stage detector by level.
        losses: Its own losses by name, of which ``"main"`` is that of the classes; empty without ground truth.
        places: Where the rows lie.
    """

    heads: dict[str, Rows]
    losses: dict[str, Tensor]
    places: Regions | Anchors


@contextmanager
def in_full(*parts: nn.Module) -> Iterator[None]:
    """Let parts of a network return float32 where autocast lowered them to half precision.

    torchvision makes anchors in the type of the feature maps, and decodes boxes in that of the head's output: in
    bfloat16 an edge at 300 pixels would be off by one.

    Args:
        parts: The modules.

    Example:
        >>> layer = nn.Linear(2, 2).bfloat16()
        >>> with in_full(layer):
        ...     layer(torch.zeros(1, 2).bfloat16()).dtype
        torch.float32
    """
    with ExitStack() as stack:
        for part in parts:
            stack.callback(part.register_forward_hook(_raised).remove)
        yield


def _raised(module: nn.Module, args: Any, output: Any) -> Any:  # noqa: ARG001 - as torch calls hooks
    return pytree.tree_map_only(Tensor, _full, output)


def _full(part: Tensor) -> Tensor:
    return part.float() if part.dtype in (torch.bfloat16, torch.float16) else part


def level_maps(maps: Any) -> Mapping[str, Tensor]:
    """Return a backbone's maps by level; a single one is level ``"0"``.

    Example:
        >>> list(level_maps(torch.zeros(1, 3, 2, 2)))
        ['0']
    """
    return {"0": maps} if isinstance(maps, Tensor) else maps
