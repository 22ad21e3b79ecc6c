"""The rooms of the package: lower floors import nothing of upper ones, no imports in a circle, and short files."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
LONGEST_FILE = 400
# The package's own file stands above all rooms: it passes on their public names.
FACADE = "limbeck"
FLOORS = {
    **dict.fromkeys(("errors", "validation", "randomness"), 0),
    # Helpers for any program.
    **dict.fromkeys(("files", "imports", "locking", "precision", "processes", "ranks", "registry", "reporting"), 0),
    **dict.fromkeys(("rows", "losses", "targets", "modifiers", "selection"), 1),
    **dict.fromkeys(("models", "data", "teachers"), 2),
    **dict.fromkeys(("tasks", "methods"), 3),
    **dict.fromkeys(("cache", "distiller"), 4),
    "training": 5,
    **dict.fromkeys(("recipes", "build", "students"), 6),
    **dict.fromkeys(("runs", "report", "advice", "export", "frameworks"), 7),
    **dict.fromkeys(("cli", "testing"), 8),
    **dict.fromkeys((FACADE, "__main__"), 9),
}


def module_name(path: Path) -> str:
    """``limbeck.losses.kd`` for its file, ``limbeck.losses`` for the package's."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted((SOURCE / FACADE).rglob("*.py"))}


def room(module: str) -> str:
    return ([*module.split("."), FACADE])[1]


def imported_by(node: ast.AST) -> list[str]:
    """Names that a statement imports; ``import_module("limbeck.losses")`` is one as well."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "a relative import: write the whole name"
        return [f"{node.module}.{alias.name}" for alias in node.names]
    called = isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args
    name = node.args[0] if called else None
    return [name.value] if isinstance(name, ast.Constant) else []


def nearest_module(name: str) -> str:
    """The module that holds a name: ``limbeck.losses.kd`` of ``limbeck.losses.kd.kd_loss``."""
    while name not in MODULES and "." in name:
        name = name.rpartition(".")[0]
    return name


def imports(path: Path) -> list[tuple[int, str]]:
    """Line and module of everything that a file imports from the package, inside functions as well."""
    found = ((node, name) for node in ast.walk(ast.parse(path.read_text())) for name in imported_by(node))
    return [(node.lineno, nearest_module(name)) for node, name in found if name.split(".")[0] == FACADE]


IMPORTS = [(module, line, target) for module, path in MODULES.items() for line, target in imports(path)]
BETWEEN_ROOMS = [(module, line, target) for module, line, target in IMPORTS if room(module) != room(target)]


def written(found: list[tuple[str, int, str]]) -> str:
    lines = {f"{MODULES[module].relative_to(SOURCE.parent)}:{line} imports {target}" for module, line, target in found}
    return "\n".join(sorted(lines))


def circle(graph: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_every_room_has_a_floor():
    assert {room(module) for module in MODULES} <= FLOORS.keys()


def test_the_imports_are_found():
    assert ("limbeck.losses.kd", "limbeck.rows") in {(module, target) for module, _, target in IMPORTS}
    assert ("limbeck.__main__", "limbeck.cli.main") in {(module, target) for module, _, target in IMPORTS}


def test_no_room_imports_a_room_of_a_higher_floor():
    upward = [found for found in BETWEEN_ROOMS if FLOORS[room(found[2])] > FLOORS[room(found[0])]]
    assert not upward, "\n" + written(upward)


def test_no_room_imports_a_private_module_of_another():
    private = [found for found in BETWEEN_ROOMS if any(part.startswith("_") for part in found[2].split("."))]
    assert not private, "\n" + written(private)


@pytest.mark.parametrize("unit", [room, str], ids=["rooms", "modules"])
def test_nothing_imports_in_a_circle(unit):
    graph: dict[str, set[str]] = {}
    for module, _, target in IMPORTS:
        if unit(module) != unit(target):
            graph.setdefault(unit(module), set()).add(unit(target))
    assert not circle(graph)


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"a"}})


def test_no_file_is_long():
    lengths = {str(path.relative_to(SOURCE)): len(path.read_text().splitlines()) for path in MODULES.values()}
    assert not {path: length for path, length in lengths.items() if length > LONGEST_FILE}
