"""Objects of a user's own Python code, named ``python:MODULE:NAME``."""

import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from limbeck.errors import UserError, one_line, shortened, unknown_name

PREFIX = "python:"
# A whole value, or a part of a composition or list, where "@" begins a label.
_NAME = re.compile(r"(?:^|[+,])\s*(python:[^+,@]*)")


def python_names(text: str) -> list[str]:
    """List the ``python:`` names in a value of a recipe.

    Args:
        text: A name, names joined by ``+`` or a list with commas, each perhaps with a label behind ``@``.

    Returns:
        The names with their prefix, in order.

    Example:
        >>> python_names("revise+python:lab.losses:focal@hot"), python_names("kd")
        (['python:lab.losses:focal'], [])
    """
    return [name.strip() for name in _NAME.findall(text)]


@contextmanager
def folder_importable() -> Iterator[None]:
    """Put the current working folder in front of the import path for the block."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    # A file written a moment ago may be missing from the import system's listing of the folder.
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(folder)


def import_object(kind: str, name: str) -> object:
    """Import a module, from the current working folder too, and return what it holds under a name.

    This runs the module's code, on purpose: which names a recipe may hold is checked before, see
    :func:`limbeck.recipes.trust.check_trust`.

    Args:
        kind: What the object is needed as, such as ``"model"``; it begins the line of an error.
        name: ``python:MODULE:NAME``, the module dotted.

    Returns:
        The object. A function or class is defined in the module's own package: what a module imported for its own use,
        such as ``subprocess.run``, is refused.

    Raises:
        UserError: If the name is malformed, the module cannot be imported, or it has no such object of its own.

    Example:
        >>> import_object("model", "python:torch.nn:Identity")
        <class 'torch.nn.modules.linear.Identity'>
    """
    label = f"{kind} {shortened(name, quoted=False)!r}"
    module, _, attribute = name.removeprefix(PREFIX).partition(":")
    if not attribute or not all(part.isidentifier() for part in module.split(".")):
        form = "FUNCTION, such as python:teacher:load" if kind == "model" else "NAME, such as python:losses:focal"
        raise UserError(f"{label}: expected python:MODULE:{form}")
    with folder_importable():
        home = _import(label, module)
    if not hasattr(home, attribute):
        offered = [key for key, value in vars(home).items() if callable(value) and not key.startswith("_")]
        raise unknown_name(f"function of module {module!r}:", attribute, offered)
    value: object = getattr(home, attribute)
    _check_defined_there(label, attribute, value, module)
    return value


def _import(label: str, module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise UserError(f"{label}: importing {module!r} failed: {one_line(error)}") from error
        places = f"looked in the working folder {Path.cwd()} and in the installed packages"
        raise UserError(f"{label}: importing {module!r} failed: {one_line(error)}; {places}") from error
    except (Exception, SystemExit) as error:  # a user's module may raise anything while it is imported
        raise UserError(f"{label}: importing {module!r} failed: {one_line(error)}") from error


def _check_defined_there(label: str, attribute: str, value: object, module: str) -> None:
    if not inspect.isclass(value) and not inspect.isfunction(value):
        return
    home = str(value.__module__)
    if home.partition(".")[0] != module.partition(".")[0]:
        raise UserError(f"{label}: {attribute!r} is defined in {home}, expected python:{home}:{attribute}")


def in_working_folder(name: str) -> bool:
    """Return whether a ``python:MODULE:NAME`` is code of the current working folder: ``./MODULE.py``.

    The packages that hold the module must lie there too. An installed module is not the folder's, also where the
    environment that it is installed in lies below the folder. Nothing is imported.

    Args:
        name: The part behind ``python:``.

    Example:
        >>> in_working_folder("os:system")
        False
    """
    parts = name.partition(":")[0].split(".")
    if not all(part.isidentifier() for part in parts) or not _is_found_here(parts[0]):
        return False
    places = {".".join(parts[:count]): Path.cwd().joinpath(*parts[:count]) for count in range(1, len(parts) + 1)}
    loaded = [(sys.modules[module], place) for module, place in places.items() if module in sys.modules]
    return _source(Path.cwd().joinpath(*parts)) is not None and all(_is_loaded_from(*pair) for pair in loaded)


def _is_found_here(module: str) -> bool:
    """Return whether importing a module or package of the first level would take that of the working folder."""
    if module in sys.modules:
        return True
    with folder_importable():
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


def check_trusted(key: str, name: str, *, chosen_here: bool, holder: str) -> None:
    """Refuse a ``python:`` name that is not the user's own code, chosen by the user; nothing is imported.

    Args:
        key: What has the name, to begin the error with.
        name: ``python:MODULE:NAME``.
        chosen_here: Whether whatever holds the name lies in the working folder, or the user gave it otherwise.
        holder: What holds the name, such as ``"recipe"``.

    Raises:
        UserError: If the code lies outside the working folder, or the name was chosen elsewhere.

    Example:
        >>> check_trusted("student.name", "python:os:system", chosen_here=True, holder="recipe")
        Traceback (most recent call last):
        limbeck.errors.UserError: student.name: got 'python:os:system', but the working folder ... has no module ...
    """
    expected = f"expected --trust (in Python trust=True) if you trust the {holder} and the code"
    module = name.removeprefix(PREFIX).partition(":")[0]
    if not in_working_folder(name.removeprefix(PREFIX)):
        here = f"the working folder {Path.cwd()} has no module {shortened(module)}"
        raise UserError(f"{key}: got {shortened(name)}, but {here}; {expected}")
    if not chosen_here:
        raise UserError(f"{key}: got {shortened(name)}, but the {holder} lies outside the working folder; {expected}")


def optional_package(module: str, extra: str, purpose: str) -> Any:
    """Import a module of a package that not every installation has.

    Args:
        module: The module, such as ``"skops.io"``.
        extra: The extra of limbeck that installs its package.
        purpose: What it is needed for, for the message.

    Returns:
        The module.

    Raises:
        UserError: If the package is missing.

    Example:
        >>> optional_package("nowhere.at_all", "tables", "reading a table")
        Traceback (most recent call last):
        limbeck.errors.UserError: reading a table: needs the package nowhere, which is missing, expected ...
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        expected = f"expected pip install 'limbeck[{extra}]'"
        raise UserError(f"{purpose}: needs the package {package}, which is missing, {expected}") from None
