"""Gaussian noise as a pure function of (seed, epoch, sample, column)."""

from functools import cache

import torch
from torch import Tensor

from limbeck.randomness.hashing import random_bits

_NOISE_STREAM = 211
_BITS = 16


@cache
def _quantiles() -> Tensor:
    """Return the middles of 2 ** 16 equally likely slices of the standard normal distribution, with variance 1."""
    middles: Tensor = torch.special.ndtri((torch.arange(2**_BITS, dtype=torch.float64) + 0.5) / 2**_BITS)
    return torch.Tensor.float(middles / middles.square().mean().sqrt())


def gaussian_noise(indices: Tensor, width: int, *, seed: int, epoch: int) -> Tensor:
    """Draw standard normal numbers, rounded to one of 65,536 equally likely quantiles.

    A table of quantiles is looked up, so that a number is the same to the bit in a batch of any size.

    Args:
        indices: Positions of the samples, int64 (N,).
        width: Numbers of a sample.
        seed: The run's seed.
        epoch: The epoch, from 0.

    Returns:
        float32 (N, width), on the device of ``indices``.

    Example:
        >>> noise = gaussian_noise(torch.arange(1000), 10, seed=0, epoch=0)
        >>> abs(float(noise.mean())) < 0.02, abs(float(noise.std()) - 1) < 0.02
        (True, True)
        >>> bool((gaussian_noise(torch.tensor([7]), 10, seed=0, epoch=0) == noise[7]).all())
        True
    """
    cells = indices.unsqueeze(1) * width + torch.arange(width, device=indices.device)
    bits = random_bits(cells, seed=seed, epoch=epoch, stream=_NOISE_STREAM)
    return _quantiles().to(indices.device)[bits >> (63 - _BITS)]
