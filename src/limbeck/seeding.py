"""Seed every generator that a run may draw from."""

import random

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
