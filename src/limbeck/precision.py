"""The precisions by name, and computing in one of them."""

from contextlib import AbstractContextManager
from typing import Literal

import torch

Precision = Literal["fp32", "bf16", "fp16"]
LOWERED = {"bf16": torch.bfloat16, "fp16": torch.float16}


def computing_in(precision: str, device: str) -> AbstractContextManager[object]:
    """Return a context in which layers compute in a precision, whatever the context around it.

    Args:
        precision: ``"fp32"``, ``"bf16"`` or ``"fp16"``.
        device: The kind of the device, such as ``"cpu"``.

    Example:
        >>> with computing_in("bf16", "cpu"):
        ...     lowered = torch.nn.Linear(2, 2)(torch.zeros(1, 2)).dtype
        ...     with computing_in("fp32", "cpu"):
        ...         full = torch.nn.Linear(2, 2)(torch.zeros(1, 2)).dtype
        >>> lowered, full
        (torch.bfloat16, torch.float32)
    """
    if precision == "fp32":
        return torch.autocast(device, enabled=False)
    return torch.autocast(device, dtype=LOWERED[precision])
