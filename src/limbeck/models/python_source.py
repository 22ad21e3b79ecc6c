"""Models that a user's own Python function builds, by ``module:function``."""

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from limbeck.errors import UserError, unknown_name
from limbeck.models.options import check_options, one_line


@contextmanager
def _folder_importable() -> Iterator[None]:
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    # A file written a moment ago may be missing from the import system's listing of the folder.
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(folder)


def _import(label: str, module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except Exception as error:  # a user's module may raise anything while it is imported
        raise UserError(f"model {label!r}: importing {module!r} failed: {one_line(error)}") from error


def _find(label: str, module: ModuleType, function: str) -> Callable[..., Any]:
    found: Callable[..., Any] | None = getattr(module, function, None)
    if callable(found):
        return found
    if hasattr(module, function):
        raise UserError(f"model {label!r}: {function!r} is a {type(found).__name__}, expected a function")
    own = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
    raise unknown_name(f"function of module {module.__name__!r}:", function, own)


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


def python_model(name: str, *, num_classes: int, in_channels: int, options: Mapping[str, object]) -> nn.Module:
    """Import a module, from the current working folder too, and let one of its functions build the model.

    The function is called with the options, and with ``num_classes`` and ``in_channels`` as far as its signature takes
    them, so a function such as ``load(path=...)`` serves as it is. This runs the module's code, on purpose.

    Args:
        name: ``MODULE:FUNCTION``, the module dotted.
        num_classes: Number of logits, for a function that asks.
        in_channels: Channels of the images, for a function that asks.
        options: Further arguments of the function.

    Returns:
        What the function returned.

    Raises:
        UserError: If the name is malformed, the import or the call fails, an option does not fit, or something else
            than a module comes back.

    Example:
        >>> python_model("torch.nn:Identity", num_classes=10, in_channels=3, options={})
        Identity()
    """
    label = f"python:{name}"
    module, _, function = name.partition(":")
    if not module or not function:
        raise UserError(f"model {label!r}: expected python:MODULE:FUNCTION, such as python:teacher:load")
    with _folder_importable():
        builder = _find(label, _import(label, module), function)
        arguments = _arguments(label, builder, {"num_classes": num_classes, "in_channels": in_channels}, options)
        model = _call(label, builder, arguments)
    if not isinstance(model, nn.Module):
        raise UserError(f"model {label!r}: returned a {type(model).__name__}, expected a torch.nn.Module")
    return model


def _call(label: str, builder: Callable[..., Any], arguments: Mapping[str, object]) -> object:
    try:
        return builder(**arguments)
    except Exception as error:  # a user's function may raise anything; its traceback stays chained
        raise UserError(f"model {label!r} could not be built: {one_line(error)}") from error
