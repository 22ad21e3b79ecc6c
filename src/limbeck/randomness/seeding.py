"""Seed every generator that a run may draw from, save their states, and leave them as they were."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

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


def generator_states() -> dict[str, Any]:
    """Return the states of Python's, NumPy's and torch's global generators, as tensors and plain values.

    Example:
        >>> states = generator_states()
        >>> first = random.random(), float(np.random.rand()), float(torch.rand(1))
        >>> set_generator_states(states)
        >>> (random.random(), float(np.random.rand()), float(torch.rand(1))) == first
        True
    """
    name, key, *rest = np.random.get_state()
    # Reading the state of a CUDA generator starts CUDA, which a run on the CPU need not do.
    started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(key, np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if started else [],
        "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
    }


def set_generator_states(states: Mapping[str, Any]) -> None:
    """Set the global generators to what :func:`generator_states` returned; devices that are gone are left out."""
    name, key, *rest = states["numpy"]
    random.setstate(states["python"])
    np.random.set_state((name, key.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    for device, state in enumerate(states["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(state, device)
    if states["mps"] is not None and torch.backends.mps.is_available():
        torch.mps.set_rng_state(states["mps"])


@contextmanager
def generators_kept() -> Iterator[None]:
    """Restore the states of the global generators after the block, whatever is drawn or seeded in it.

    Example:
        >>> seed_everything(0)
        >>> with generators_kept():
        ...     seed_everything(5)
        >>> after = random.random()
        >>> seed_everything(0)
        >>> random.random() == after
        True
    """
    states, seed = generator_states(), torch.initial_seed()
    try:
        yield
    finally:
        set_generator_states(states)
        if torch.cuda.is_available() and not states["cuda"]:
            torch.cuda.manual_seed_all(seed)
