"""The optimizers of torch by name, and the arguments that each of them takes."""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from limbeck.errors import UserError, unknown_name

# With any of these among its arguments an optimizer has the form that they choose, by default the fused one.
FUSED_CHOICES = frozenset({"fused", "foreach", "differentiable"})
_RESERVED = {"params", "lr"}


def optimizers() -> dict[str, Callable[..., torch.optim.Optimizer]]:
    """List the optimizers of ``torch.optim`` by lower-case name, without those that need a closure or sparse gradients.

    Example:
        >>> optimizers()["adamw"].__name__
        'AdamW'
    """
    classes: dict[str, Any] = {n.lower(): kind for n, kind in vars(torch.optim).items() if inspect.isclass(kind)}
    unusable = {"optimizer", "lbfgs", "sparseadam"}
    return {n: k for n, k in classes.items() if issubclass(k, torch.optim.Optimizer) and n not in unusable}


def check_optimizer(name: str, arguments: Mapping[str, Any]) -> None:
    """Raise ``UserError`` unless torch has the optimizer and the optimizer takes the arguments with these values.

    Example:
        >>> check_optimizer("sgd", {"momentun": 0.9})
        Traceback (most recent call last):
        limbeck.errors.UserError: unknown argument of sgd 'momentun'; did you mean 'momentum'? Valid: ...
    """
    if name.lower() not in optimizers():
        raise unknown_name("optimizer", name, optimizers())
    kind = optimizers()[name.lower()]
    parameters = inspect.signature(kind).parameters
    valid = set(parameters) - _RESERVED
    for argument, value in arguments.items():
        if argument not in valid:
            raise unknown_name(f"argument of {name}", argument, valid)
        if isinstance(value, bool) and type(parameters[argument].default) in (int, float):
            raise UserError(f"{name}: {argument}: got {value}, expected a number")
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{name}: {argument}: got {value}, expected a finite number")
    try:
        kind([nn.Parameter(torch.zeros(1))], lr=0.1, **arguments)
    except Exception as error:
        raise UserError(f"{name}: {str(error).splitlines()[0]}") from None
