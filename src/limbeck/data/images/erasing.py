"""Random erasing: a rectangle of a view is set to the mean."""

import math

import torch
from torch import Tensor

from limbeck.randomness.hashing import random_bits

_ERASING_STREAM = 210
_TRIES = 10
_AREA, _RATIO = (0.02, 0.33), (0.3, 3.3)


def erase(inputs: Tensor, indices: Tensor, share: float, *, seed: int, epoch: int) -> Tensor:
    """Set a rectangle to 0 in a share of normalized images, in place: with the data's normalization 0 is the mean.

    A rectangle has 2 % to 33 % of the area, uniform, and a ratio of height to width from 0.3 to 3.3, uniform in its
    logarithm; of ten that are drawn the first that fits is taken, and none if none does. These are torchvision's
    settings for RandomErasing.

    Args:
        inputs: Normalized images, float (N, C, H, W), which are overwritten.
        indices: The samples' positions in their split, int64 (N,), on the same device.
        share: How many of the images have a rectangle erased, in [0, 1].
        seed: The run's seed.
        epoch: The epoch, from 0.

    Returns:
        ``inputs``.

    References:
        Zhong et al.: Random Erasing Data Augmentation, AAAI 2020.

    Example:
        >>> images = erase(torch.ones(100, 1, 8, 8), torch.arange(100), 0.5, seed=0, epoch=0)
        >>> 30 < int((images == 0).any(dim=3).any(dim=2).sum()) < 70
        True
    """
    height, width = inputs.shape[2:]
    top, left, tall, wide = rectangles(indices, share, height, width, seed=seed, epoch=epoch).unbind(1)
    rows = torch.arange(height, device=inputs.device).view(1, 1, -1, 1)
    columns = torch.arange(width, device=inputs.device).view(1, 1, 1, -1)
    top, left, tall, wide = (values.view(-1, 1, 1, 1) for values in (top, left, tall, wide))
    erased = (rows >= top) & (rows < top + tall) & (columns >= left) & (columns < left + wide)
    return inputs.masked_fill_(erased, 0)


def rectangles(indices: Tensor, share: float, height: int, width: int, *, seed: int, epoch: int) -> Tensor:
    """Draw what :func:`erase` erases; its arguments are those.

    Returns:
        (N, 4) int64: top, left, height and width; a height and width of 0 where nothing is erased.

    Example:
        >>> rectangles(torch.tensor([3]), 0.0, 8, 8, seed=0, epoch=0)[0, 2:]
        tensor([0, 0])
    """

    def uniform(number: int) -> Tensor:
        # In float64, of 53 of the 63 bits: at most one part in 1e15 below 1.
        bits = random_bits(indices, seed=seed, epoch=epoch, stream=_ERASING_STREAM + number)
        return (bits >> 10).double() / 2**53

    drawn = uniform(0) < share
    size = torch.zeros(len(indices), 2, dtype=torch.int64, device=indices.device)
    low, high = (math.log(ratio) for ratio in _RATIO)
    for attempt in range(_TRIES):
        area = height * width * (_AREA[0] + (_AREA[1] - _AREA[0]) * uniform(3 + 2 * attempt))
        ratio = (low + (high - low) * uniform(4 + 2 * attempt)).exp()
        tried = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], dim=1).round().long()
        fits = (tried[:, 0] < height) & (tried[:, 1] < width) & (size[:, 0] == 0) & drawn
        size = torch.where(fits[:, None], tried, size)
    room = torch.stack([height - size[:, 0], width - size[:, 1]], dim=1) + 1
    corner = (torch.stack([uniform(1), uniform(2)], dim=1) * room).long()
    return torch.cat([corner, size], dim=1)
