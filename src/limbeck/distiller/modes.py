"""Networks in eval mode for a while, compiled ones uncompiled."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

from limbeck.models.tracing import modes_kept


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network in eval mode; its modules' modes are put back.

    Example:
        >>> network = nn.Dropout()
        >>> with evaluating(network):
        ...     network.training
        False
        >>> network.training
        True
    """
    # A compiled network may run without the hook that records its features.
    compiled = getattr(network, "_compiled_call_impl", None) is not None
    with modes_kept(network), torch.compiler.set_stance("force_eager") if compiled else nullcontext():
        network.eval()
        yield
