"""Models that a user's own Python function builds: named ``python:MODULE:FUNCTION``, or registered under a name."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from limbeck.errors import UserError, one_line, shortened
from limbeck.imports import folder_importable
from limbeck.models.estimators.network import EstimatorNetwork
from limbeck.models.options import check_options


def model_builder(label: str, found: object) -> Callable[..., Any]:
    """Return the object of a name if it can build models.

    Args:
        label: The name, for the message.
        found: The object.

    Raises:
        UserError: Unless it is a Python function or a class of ``nn.Module``.

    Example:
        >>> model_builder("python:torch.nn:Identity", nn.Identity)
        <class 'torch.nn.modules.linear.Identity'>
    """
    if inspect.isclass(found) and issubclass(found, nn.Module):
        return found
    if callable(found) and inspect.isfunction(inspect.unwrap(found)):
        return found
    name = label.rpartition(":")[2]
    got = f"the class {name}" if inspect.isclass(found) else f"a {type(found).__name__}"
    expected = "expected a function or a class of torch.nn.Module"
    raise UserError(f"model {shortened(label, quoted=False)!r}: {name!r} is {got}, {expected}")


def call_builder(
    label: str, builder: Callable[..., Any], facts: Mapping[str, object], options: Mapping[str, object]
) -> nn.Module:
    """Build a model with a user's function.

    The function is called with the options, and with the facts as far as its signature takes them, so a function such
    as ``load(path=...)`` serves as it is.

    Args:
        label: The model's name, for messages.
        builder: The function or class.
        facts: Arguments that it need not take: ``num_classes`` and ``in_channels``.
        options: Arguments that it must take.

    Returns:
        What the function returned; a classifier with ``predict_proba`` as a network.

    Raises:
        UserError: If an option does not fit, the call fails, or something else than a module comes back.

    Example:
        >>> call_builder("mine", nn.Linear, {"num_classes": 10}, {"in_features": 2, "out_features": 3})
        Linear(in_features=2, out_features=3, bias=True)
    """
    arguments = _arguments(label, builder, facts, options)
    try:
        with folder_importable():
            model = builder(**arguments)
    except (Exception, SystemExit) as error:  # a user's function may raise anything; its traceback stays chained
        raise UserError(f"model {label!r} could not be built: {one_line(error)}") from error
    classes = facts.get("num_classes")
    if not isinstance(model, nn.Module) and hasattr(model, "predict_proba") and isinstance(classes, int):
        return EstimatorNetwork(model, classes, named_later=True)
    if not isinstance(model, nn.Module):
        expected = "expected a torch.nn.Module, or a classifier with predict_proba"
        raise UserError(f"model {label!r}: returned a {type(model).__name__}, {expected}")
    return model


def _arguments(
    label: str, function: Callable[..., Any], facts: Mapping[str, object], options: Mapping[str, object]
) -> dict[str, object]:
    parameters = inspect.signature(function).parameters.values()
    by_name = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    accepted = {p.name for p in by_name}
    if not takes_any:
        check_options(label, options, accepted - set(facts))
    arguments = {name: value for name, value in facts.items() if takes_any or name in accepted} | dict(options)
    lacking = [p.name for p in by_name if p.default is p.empty and p.name not in arguments]
    if lacking:
        raise UserError(f"model {label!r}: the function needs the option {lacking[0]!r}, which was not given")
    return arguments
