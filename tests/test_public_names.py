"""The public names and their arguments are those of ``public_names.txt``: no change of either goes unnoticed.

``python tests/test_public_names.py`` rewrites the file.
"""

import inspect
import re
import types
from difflib import unified_diff
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import get_origin

import pytest

import limbeck

STORED = Path(__file__).with_name("public_names.txt")
ROOMS = (
    *("cache", "data", "errors", "export", "losses", "losses.features", "methods", "models", "modifiers", "report"),
    "rows",
    *("runs", "selection", "targets", "tasks", "teachers", "testing", "training"),
)
PACKAGES = ["limbeck", *(f"limbeck.{name}" for name in ROOMS if find_spec(f"limbeck.{name}"))]


def names_of(module):
    """What ``__all__`` lists, or else the public names that the module itself defines."""
    own = (name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__)
    return sorted(getattr(module, "__all__", None) or (name for name in own if not name.startswith("_")))


def arguments(value):
    """Names, kinds and defaults; types are left out, since each Python writes them in another way."""
    # Python 3.13 gives the name of a type arguments, too.
    if get_origin(value) is not None:
        return ""
    try:
        signature = inspect.signature(value)
    except ValueError:
        return ""
    bare = [part.replace(annotation=inspect.Parameter.empty) for part in signature.parameters.values()]
    text = str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))
    return re.sub(r"<(?:function|class|object) ?'?([\w.<>]*)'?(?: object)?(?: at 0x\w+)?>", r"<\1>", text)


def members(kind):
    """Public methods, properties and fields of a class that the package defines, inherited ones included."""
    ours = [base for base in reversed(kind.__mro__) if base.__module__.startswith("limbeck")]
    found = {name: value for base in ours for name, value in vars(base).items() if not name.startswith("_")}
    return dict(sorted(found.items()))


def described(name, value):
    if isinstance(value, types.ModuleType):
        return [f"{name}: package"]
    if isinstance(value, type):
        # The arguments of exceptions are Python's.
        head = f"class {name}" + ("" if issubclass(value, BaseException) else arguments(value))
        return [head, *(f"{name}.{key}{member(given)}" for key, given in members(value).items())]
    return [f"{name}{arguments(value)}" if callable(value) else name]


def member(value):
    function = getattr(value, "__func__", value)
    return arguments(function) if isinstance(function, types.FunctionType) else ""


def public_names():
    lines = (
        line
        for package in PACKAGES
        for module in [import_module(package)]
        for name in names_of(module)
        for line in described(f"{package}.{name}", getattr(module, name))
    )
    return "\n".join(lines) + "\n"


def test_the_public_names_are_those_of_the_file():
    difference = unified_diff(STORED.read_text().splitlines(), public_names().splitlines(), "stored", "now", n=0)
    changed = "\n".join(difference)
    assert not changed, f"rewrite the file by `python {Path(__file__).name}` in tests/ if this is meant:\n{changed}"


@pytest.mark.parametrize("package", [name for name in PACKAGES[1:] if name.count(".") == 1])
def test_every_public_package_is_reachable_from_limbeck(package):
    assert getattr(limbeck, package.removeprefix("limbeck.")) is import_module(package)


def test_arguments_are_written_without_types_and_addresses():
    def example(rows: int, *, count: float = 1.5, call=abs, other=arguments):
        """Some arguments of each kind."""

    assert arguments(example) == "(rows, *, count=1.5, call=<built-in function abs>, other=<arguments>)"


if __name__ == "__main__":
    STORED.write_text(public_names())
    print(f"{STORED}: {len(STORED.read_text().splitlines())} lines")
