"""The rooms from recipes to the command line: no import goes up, and light packages import no torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import limbeck

SOURCE = Path(limbeck.__file__).parent
# What a room may import of these; the rooms below them import none.
BELOW = {
    "recipes": set(),
    "build": {"recipes"},
    "students": set(),
    "report": {"recipes", "build"},
    "runs": {"recipes", "build", "report", "students"},
    "advice": {"recipes", "build"},
    "export": {"recipes", "build", "report", "runs", "students"},
    "cli": {"recipes", "build", "report", "runs", "students", "advice", "export"},
    "__init__": {"recipes", "build", "report", "runs", "students", "advice", "export"},
    "__main__": {"cli"},
}


def imported_rooms(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "limbeck":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("limbeck."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("limbeck."))


def test_no_import_goes_up():
    upper, upward = {"recipes", "build", "students", "report", "runs", "advice", "export", "cli"}, []
    for path in SOURCE.rglob("*.py"):
        room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        allowed = BELOW.get(room, set()) | {room}
        upward += [(path.name, name) for name in imported_rooms(path) if name in upper - allowed]
    assert upward == []


@pytest.mark.parametrize("package", ["limbeck.recipes", "limbeck.errors", "limbeck.report"])
def test_a_package_that_needs_no_torch_imports_none(package):
    code = f"import sys, {package}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_packages_are_attributes_at_their_first_use():
    names = ["cache", "runs", "report", "errors"]
    code = f"import limbeck\nfor name in {names}: assert getattr(limbeck, name).__name__ == 'limbeck.' + name"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert set(names) <= set(dir(limbeck))
