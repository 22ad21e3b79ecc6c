"""Models that a user's own Python function builds, by ``module:function``."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from limbeck.errors import UserError, one_line, shortened, unknown_name
from limbeck.models.options import check_options


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
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise UserError(f"model {label!r}: importing {module!r} failed: {one_line(error)}") from error
        places = f"looked in the working folder {Path.cwd()} and in the installed packages"
        raise UserError(f"model {label!r}: importing {module!r} failed: {one_line(error)}; {places}") from error
    except (Exception, SystemExit) as error:  # a user's module may raise anything while it is imported
        raise UserError(f"model {label!r}: importing {module!r} failed: {one_line(error)}") from error


def in_working_folder(name: str) -> bool:
    """Return whether a ``python:MODULE:FUNCTION`` is code of the current working folder: ``./MODULE.py``.

    The packages that hold the module must lie there too. An installed module is not the folder's, also where the
    environment that it is installed in lies below the folder. Nothing is imported.

    Args:
        name: What stands behind ``python:``.

    Example:
        >>> in_working_folder("os:system")
        False
    """
    parts = name.partition(":")[0].split(".")
    if not all(part.isidentifier() for part in parts) or not _is_found_here(parts[0]):
        return False
    places = {".".join(parts[:count]): Path.cwd().joinpath(*parts[:count]) for count in range(1, len(parts) + 1)}
    loaded = [(sys.modules[module], place) for module, place in places.items() if module in sys.modules]
    return _source(Path.cwd().joinpath(*parts)) is not None and all(_is_loaded_from(*each) for each in loaded)


def _is_found_here(module: str) -> bool:
    """Return whether importing a module or package of the first level would take that of the working folder."""
    if module in sys.modules:
        return True
    with _folder_importable():
        spec = importlib.util.find_spec(module)
    if spec is None:
        return False
    if spec.origin is None:
        return str(Path.cwd() / module) in (spec.submodule_search_locations or ())
    return _is_at(spec.origin, Path.cwd() / module)


def _is_loaded_from(module: ModuleType, place: Path) -> bool:
    file = getattr(module, "__file__", None)
    # A package without an __init__.py has no file, and runs nothing.
    return _is_at(file, place) if file else str(place) in getattr(module, "__path__", ())


def _is_at(file: str, place: Path) -> bool:
    source = _source(place)
    return source is not None and Path(file).is_file() and source.samefile(file)


def _source(place: Path) -> Path | None:
    """Return the file that holds the code of the module or package at ``place``."""
    files = (place / "__init__.py", place.with_name(f"{place.name}.py"))
    return next((file for file in files if file.is_file()), None)


def _find(label: str, module: ModuleType, function: str) -> Callable[..., Any]:
    found: Callable[..., Any] | None = getattr(module, function, None)
    if not hasattr(module, function):
        own = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        raise unknown_name(f"function of module {module.__name__!r}:", function, own)
    if not _builds_models(found):
        got = f"the class {function}" if inspect.isclass(found) else f"a {type(found).__name__}"
        raise UserError(f"model {label!r}: {function!r} is {got}, expected a function or a class of torch.nn.Module")
    assert found is not None
    home = str(found.__module__)
    # What a module imported for its own use, such as subprocess.run, is not what it offers.
    if home.partition(".")[0] != module.__name__.partition(".")[0]:
        raise UserError(f"model {label!r}: {function!r} is defined in {home}, expected python:{home}:{function}")
    return found


def _builds_models(found: object) -> bool:
    if inspect.isclass(found):
        return issubclass(found, nn.Module)
    return callable(found) and inspect.isfunction(inspect.unwrap(found))


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
    them, so a function such as ``load(path=...)`` serves as it is. This runs the module's code, on purpose: what a
    recipe may name is decided before, see :func:`limbeck.recipes.trust.check_trust`. Only a Python function or a class
    of ``nn.Module`` that the module's own package defines is ever called.

    Args:
        name: ``MODULE:FUNCTION``, the module dotted.
        num_classes: Number of logits, for a function that asks.
        in_channels: Channels of the images, for a function that asks.
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
    label = shortened(f"python:{name}", quoted=False)
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
    except (Exception, SystemExit) as error:  # a user's function may raise anything; its traceback stays chained
        raise UserError(f"model {label!r} could not be built: {one_line(error)}") from error
