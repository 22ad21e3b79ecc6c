"""Which options a constructor takes, and the error of one line where an option does not fit."""

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn

from limbeck.errors import UserError, one_line, unknown_name

_UNEXPECTED = re.compile(r"(\w+)(?:\.__init__)?\(\) got an unexpected keyword argument '(\w+)'")
_OURS = ("num_classes", "in_channels", "in_chans")


def keyword_defaults(function: Callable[..., Any]) -> tuple[str, ...]:
    """List the parameters of a function or class that have a default and can be given by keyword.

    Example:
        >>> keyword_defaults(lambda a, b=1, *, c, d=2: None)
        ('b', 'd')
    """
    parameters = inspect.signature(function).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return tuple(p.name for p in parameters if p.kind in kinds and p.default is not inspect.Parameter.empty)


def check_options(label: str, options: Iterable[str], accepted: Iterable[str]) -> None:
    """Refuse the first option that a model does not take.

    Args:
        label: The model's name, for the message.
        options: Names of the options given.
        accepted: Names of the options that the model takes.

    Raises:
        UserError: If an option is not accepted.

    Example:
        >>> check_options("resnet8", ["widht"], ["width"])
        Traceback (most recent call last):
        limbeck.errors.UserError: unknown resnet8 option 'widht'; did you mean 'width'? Valid: width
    """
    accepted = tuple(accepted)
    for option in options:
        if option not in accepted:
            raise unknown_name(f"{label} option", option, accepted)


def _refusal(label: str, error: Exception, home: str) -> UserError:
    match = _UNEXPECTED.search(str(error)) if isinstance(error, TypeError) else None
    if match is None:
        return UserError(f"model {label!r} could not be built: {one_line(error)}")
    constructor, option = match.groups()
    if option in _OURS:
        return UserError(f"model {label!r} takes no {option}, so it cannot be made to fit this task")
    function = getattr(sys.modules[home], constructor, None)
    return unknown_name(f"{label} option", option, set(keyword_defaults(function)) - set(_OURS) if function else ())


def build(label: str, constructor: Callable[..., nn.Module], home: str, arguments: Mapping[str, object]) -> nn.Module:
    """Call another library's constructor and turn whatever it raises into one line.

    Args:
        label: The model's name, for the messages.
        constructor: What builds the model.
        home: The module in which the model's class lives; its signature names the accepted options.
        arguments: Keyword arguments of the constructor.

    Returns:
        The model.

    Raises:
        UserError: If the constructor raises anything.

    Example:
        >>> build("layer", nn.Linear, "torch.nn", {"in_features": 2, "out_features": 3})
        Linear(in_features=2, out_features=3, bias=True)
    """
    try:
        return constructor(**arguments)
    except Exception as error:  # a bad value or a failed download raises no common type
        raise _refusal(label, error, home) from error
