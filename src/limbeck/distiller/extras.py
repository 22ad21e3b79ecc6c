"""Modules that a method trains beside the student: on its device, and never in half precision."""

from collections.abc import Callable, Iterable
from typing import Self

import torch
from torch import Tensor, nn

_HALF = (torch.float16, torch.bfloat16)


class KeptWide(nn.Module):
    """A module that follows its owner to other devices and types, except to half precision.

    Example:
        >>> class Number(KeptWide):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.register_buffer("value", torch.tensor(1 / 3))
        >>> Number().bfloat16().value
        tensor(0.3333)
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def kept_wide(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return tensor.to(moved.device) if moved.dtype in _HALF else moved

        super()._apply(kept_wide, recurse)  # type: ignore[no-untyped-call]
        return self


class ExtraModules(KeptWide, nn.ModuleList):
    """Modules that stand beside a student: discriminators, adapters, temperatures.

    They are put on the student's device, in float64 if it is and in fp32 otherwise, and follow the module that holds
    them to other devices and types, except to half precision: losses compute in fp32 whatever the student does.

    Args:
        student: The student.
        modules: The modules.

    Example:
        >>> beside = ExtraModules(nn.Linear(2, 2).double(), [nn.Linear(3, 1)])
        >>> beside[0].weight.dtype, beside.bfloat16()[0].weight.dtype
        (torch.float64, torch.float64)
    """

    def __init__(self, student: nn.Module, modules: Iterable[nn.Module]) -> None:
        super().__init__(modules)
        weights = next(student.parameters(), torch.empty(0))
        self.to(weights.device, torch.float64 if weights.dtype == torch.float64 else None)
