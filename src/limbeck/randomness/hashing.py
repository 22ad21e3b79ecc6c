"""Random numbers that are a pure function of (seed, epoch, sample index): the same in any order, batch or process."""

from collections.abc import Iterable

import torch
from torch import Tensor

# The multipliers of the splitmix64 finalizer, as signed 64-bit integers (torch has no unsigned multiplication).
_GOLDEN = -7046029254386353131
_MIX1 = -4658895280553007687
_MIX2 = -7723592293110705685


def _shift_right(x: Tensor, bits: int) -> Tensor:
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _scramble(x: Tensor) -> Tensor:
    x = (x ^ _shift_right(x, 30)) * _MIX1
    x = (x ^ _shift_right(x, 27)) * _MIX2
    return x ^ _shift_right(x, 31)


def _mixed(numbers: Iterable[int], device: torch.device | None = None) -> Tensor:
    state = torch.zeros((), dtype=torch.int64, device=device)
    for number in numbers:
        state = _scramble(state + _GOLDEN + number)
    return state


def random_bits(indices: Tensor, *, seed: int, epoch: int, stream: int = 0) -> Tensor:
    """Hash each sample index to 63 random bits.

    Args:
        indices: Sample indices, any integer shape.
        seed: The run's seed.
        epoch: The epoch, from 0.
        stream: Which of the independent numbers of a sample to draw (0 for the first, 1 for the next, ...).

    Returns:
        Non-negative int64 values of the same shape and on the same device as ``indices``.

    Example:
        >>> both = random_bits(torch.tensor([3, 4]), seed=0, epoch=1)
        >>> bool(random_bits(torch.tensor([4]), seed=0, epoch=1)[0] == both[1])
        True
    """
    state = _mixed((seed, epoch, stream), indices.device)
    return _shift_right(_scramble(indices.to(torch.int64) * _GOLDEN + state), 1)


def random_integers(indices: Tensor, high: int, *, seed: int, epoch: int, stream: int = 0) -> Tensor:
    """Draw one integer of ``[0, high)`` for each sample index (the modulo bias is below ``high / 2**63``).

    Args:
        indices: Sample indices, any integer shape.
        high: Exclusive upper bound, at least 1.
        seed: The run's seed.
        epoch: The epoch, from 0.
        stream: Which of the independent numbers of a sample to draw.

    Returns:
        int64 values of the same shape and on the same device as ``indices``.

    Example:
        >>> draws = random_integers(torch.arange(1000), 9, seed=0, epoch=0)
        >>> int(draws.min()), int(draws.max())
        (0, 8)
    """
    return random_bits(indices, seed=seed, epoch=epoch, stream=stream) % high


def derived_seed(*numbers: int) -> int:
    """Mix whole numbers to one seed below 2**63, for the generators of torch and NumPy.

    Example:
        >>> derived_seed(0, 1) != derived_seed(1, 0)
        True
    """
    return int(_shift_right(_mixed(numbers), 1))
