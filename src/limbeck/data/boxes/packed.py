"""Images and boxes of several sizes as a few tensors, which is what a worker process can send."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from limbeck.data.boxes.splits import Size, Target


class Packed(NamedTuple):
    """The samples of a batch, one behind the other: a worker sends each tensor through a file of its own.

    Attributes:
        pixels: Those of all images, uint8 (P,).
        sizes: Height and width of each image.
        truth: The entries of the ground truth by name, each of all boxes.
        counts: The number of boxes of each image.

    Example:
        >>> target = {"boxes": torch.zeros(2, 4), "labels": torch.tensor([1, 2])}
        >>> images, targets = Packed.of([(torch.zeros(3, 4, 6, dtype=torch.uint8), target)]).unpacked("cpu")
        >>> images[0].shape, images[0].dtype, targets[0]["labels"]
        (torch.Size([3, 4, 6]), torch.float32, tensor([1, 2]))
    """

    pixels: Tensor
    sizes: list[Size]
    truth: dict[str, Tensor]
    counts: list[int]

    @classmethod
    def of(cls, samples: Sequence[tuple[Tensor, Target]]) -> Self:
        """Pack images (uint8 (3, H, W)) with their ground truth, of which all have the same entries."""
        images, targets = zip(*samples, strict=True)
        return cls(
            torch.cat([image.reshape(-1) for image in images]),
            [(image.shape[1], image.shape[2]) for image in images],
            {name: torch.cat([target[name] for target in targets]) for name in targets[0]},
            [len(target["labels"]) for target in targets],
        )

    def unpacked(self, device: torch.device | str) -> tuple[list[Tensor], list[Target]]:
        """Return the images, float32 (3, H, W) in [0, 1], and their ground truth, on a device."""
        move: dict[str, Any] = {"device": device, "non_blocking": True}
        pixels = self.pixels.to(**move).float().div_(255)
        places = [3 * height * width for height, width in self.sizes]
        images = [part.view(3, *size) for part, size in zip(torch.split(pixels, places), self.sizes, strict=True)]
        parts = {name: torch.split(values.to(**move), self.counts) for name, values in self.truth.items()}
        return images, [{name: parts[name][n] for name in parts} for n in range(len(images))]
