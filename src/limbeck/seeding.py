"""Seed every generator that a run may draw from."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global generators, on all devices.

    A run does this right before it makes the student, and again before it makes the distiller.

    Args:
        seed: A whole number of at least 0.

    Example:
        >>> seed_everything(0)
        >>> first = torch.rand(1)
        >>> seed_everything(0)
        >>> bool(torch.rand(1) == first)
        True
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@contextmanager
def generators_kept() -> Iterator[None]:
    """Give the generators that :func:`seed_everything` seeds back the state they had before the block.

    Example:
        >>> seed_everything(0)
        >>> with generators_kept():
        ...     first = torch.rand(1)
        >>> bool(torch.rand(1) == first)
        True
    """
    python, numpy, seed = random.getstate(), np.random.get_state(), torch.initial_seed()
    used_cuda = torch.cuda.is_initialized()
    try:
        # Reading the state of a CUDA generator starts CUDA, which a run on the CPU need not do.
        with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if used_cuda else ()):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        if not used_cuda and torch.cuda.is_available():
            torch.cuda.manual_seed_all(seed)
