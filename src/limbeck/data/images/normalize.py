"""Pixels to what a model takes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from limbeck.errors import UserError


@dataclass(frozen=True, eq=False)
class Normalizer:
    """Turns uint8 pixels to ``(pixels / 255 - mean) / std`` by one multiplication and one addition.

    Args:
        scale: ``1 / (255 * std)``, float32 (1, C, H, W).
        shift: ``-mean / std``, float32 (1, C, H, W).

    Example:
        >>> normalize = normalizer((1, 1, 2), [0.5], [0.5])
        >>> normalize(torch.tensor([[[[0, 255]]]], dtype=torch.uint8))
        tensor([[[[-1.,  1.]]]])
    """

    scale: Tensor
    shift: Tensor

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return float32 (N, C, H, W) in the memory format of ``pixels``.

        Args:
            pixels: uint8 (N, C, H, W), or float32 in [0, 255], which is overwritten.
        """
        # Two roundings on purpose: a fused one differs between vectorized and leftover elements, so with the batch.
        return _floats(pixels).mul_(self.scale).add_(self.shift)


def _floats(pixels: Tensor) -> Tensor:
    """Return uint8 pixels as float32 of the same strides, and floats as they are."""
    if pixels.is_floating_point() or pixels.device.type != "cpu":
        return pixels.float()
    strides = torch.empty_like(pixels, device="meta").stride()
    # Numpy asks the system for huge pages, torch does not: without them most of the time goes into page faults.
    room = torch.from_numpy(np.empty(pixels.numel(), np.float32))
    return room.as_strided(pixels.shape, strides).copy_(pixels)


def normalizer(
    shape: tuple[int, int, int],
    mean: Sequence[float],
    std: Sequence[float],
    *,
    device: torch.device | str = "cpu",
    channels_last: bool = False,
) -> Normalizer:
    """Prepare the normalization of images of one shape.

    Args:
        shape: Channels, height and width in pixels.
        mean: The mean of each channel, of pixels in [0, 1].
        std: The standard deviation of each channel, of pixels in [0, 1].
        device: Where the pixels will be.
        channels_last: Whether they will be in that memory format.

    Raises:
        UserError: If there is not one mean and one positive std for each channel.

    Example:
        >>> normalizer((3, 8, 8), [0.5], [0.5])
        Traceback (most recent call last):
        limbeck.errors.UserError: data.mean: got 1 values, expected 3, one for each channel
    """
    for name, values in (("mean", mean), ("std", std)):
        if len(values) != shape[0]:
            raise UserError(f"data.{name}: got {len(values)} values, expected {shape[0]}, one for each channel")
    if min(std) <= 0:
        raise UserError(f"data.std: got {tuple(std)}, expected values above 0")
    m, s = (torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1) for values in (mean, std))
    # As large as an image: broadcasting over the innermost dimension of channels_last is six times slower.
    memory = torch.channels_last if channels_last else torch.contiguous_format
    full = ((1 / (255 * s)).float().expand(1, *shape), (-m / s).float().expand(1, *shape))
    return Normalizer(*(values.contiguous(memory_format=memory).to(device) for values in full))
