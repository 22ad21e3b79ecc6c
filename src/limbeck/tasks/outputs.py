"""Whether an output holds one row of logits a sample."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from limbeck.errors import UserError
from limbeck.models.calling import output_logits


def logits_of_samples(output: Any, num_classes: int, role: str) -> Tensor:
    """Return the (N, C) logits that an output is, or holds.

    Args:
        output: What a network returned.
        num_classes: The number of classes that is expected, for the message.
        role: The network, at the beginning of an error's line.

    Raises:
        UserError: If it holds no logits of two dimensions.

    Example:
        >>> import torch
        >>> logits_of_samples({"logits": torch.zeros(2, 3)}, 3, "student").shape
        torch.Size([2, 3])
    """
    mapped = isinstance(output, Mapping)
    logits = output_logits(output) if mapped else getattr(output, "logits", output)
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise UserError(f"{role}: its output is {got}, expected logits of shape (N, {num_classes})")
    return logits
