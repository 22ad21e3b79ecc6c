"""Models that a user's own Python function builds: named ``python:module:function``, or registered under a name."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from limbeck.errors import UserError, one_line, shortened
from limbeck.imports import PREFIX, folder_importable, import_object
from limbeck.models.options import check_options


def python_model(name: str, *, num_classes: int, in_channels: int, options: Mapping[str, object]) -> nn.Module:
    """Import a module, from the current working folder too, and let one of its functions build the model.

    This runs the module's code, on purpose: what a recipe may name is decided before, see
    :func:`limbeck.recipes.trust.check_trust`. Only a Python function or a class of ``nn.Module`` that the module's own
    package defines is ever called, as :func:`call_builder` does.

    Args:
        name: ``MODULE:FUNCTION``, the module dotted.
        num_classes: Number of logits.
        in_channels: Channels of the images.
        options: Further arguments of the function.

    Returns:
        What the function returned.

    Raises:
        UserError: If the name is malformed, the import or the call fails, it names something else than such a function
            or class, an option does not fit, or something else than a module comes back.

    Example:
        >>> python_model("torch.nn:Identity", num_classes=10, in_channels=3, options={})
        Identity()
    """
    label = f"{PREFIX}{name}"
    builder = model_builder(label, import_object("model", label))
    facts = {"num_classes": num_classes, "in_channels": in_channels}
    return call_builder(shortened(label, quoted=False), builder, facts, options)


def model_builder(label: str, found: object) -> Callable[..., Any]:
    """Return what a name stands for if it can build models.

    Args:
        label: The name, for the message.
        found: What it stands for.

    Raises:
        UserError: Unless it is a Python function or a class of ``nn.Module``.

    Example:
        >>> model_builder("python:torch.nn:Identity", nn.Identity)
        <class 'torch.nn.modules.linear.Identity'>
    """
    fits = issubclass(found, nn.Module) if inspect.isclass(found) else callable(found) and _is_function(found)
    if not fits:
        name = label.rpartition(":")[2]
        got = f"the class {name}" if inspect.isclass(found) else f"a {type(found).__name__}"
        expected = "expected a function or a class of torch.nn.Module"
        raise UserError(f"model {shortened(label, quoted=False)!r}: {name!r} is {got}, {expected}")
    assert callable(found)
    return found


def _is_function(found: Callable[..., Any]) -> bool:
    return inspect.isfunction(inspect.unwrap(found))


def call_builder(
    label: str, builder: Callable[..., Any], facts: Mapping[str, object], options: Mapping[str, object]
) -> nn.Module:
    """Let a user's function build a model.

    The function is called with the options, and with the facts as far as its signature takes them, so a function such
    as ``load(path=...)`` serves as it is.

    Args:
        label: The model's name, for messages.
        builder: The function or class.
        facts: Arguments that it need not take: ``num_classes`` and ``in_channels``.
        options: Arguments that it must take.

    Returns:
        What the function returned.

    Raises:
        UserError: If an option does not fit, the call fails, or something else than a module comes back.

    Example:
        >>> call_builder("mine", nn.Linear, {"num_classes": 10}, {"in_features": 2, "out_features": 3})
        Linear(in_features=2, out_features=3, bias=True)
    """
    with folder_importable():
        model = _call(label, builder, _arguments(label, builder, facts, options))
    if not isinstance(model, nn.Module):
        raise UserError(f"model {label!r}: returned a {type(model).__name__}, expected a torch.nn.Module")
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
    given = {name: value for name, value in facts.items() if takes_any or name in accepted} | dict(options)
    lacking = [p.name for p in by_name if p.default is p.empty and p.name not in given]
    if lacking:
        raise UserError(f"model {label!r}: the function needs the option {lacking[0]!r}, which was not given")
    return given


def _call(label: str, builder: Callable[..., Any], arguments: Mapping[str, object]) -> object:
    try:
        return builder(**arguments)
    except (Exception, SystemExit) as error:  # a user's function may raise anything; its traceback stays chained
        raise UserError(f"model {label!r} could not be built: {one_line(error)}") from error
