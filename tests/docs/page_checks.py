"""Whether a block of a page is valid, without running it."""

import ast
import importlib
import re
import tomllib

import typer
from page_blocks import ROOT, words_of

from limbeck.cli.main import app
from limbeck.recipes.loading import load_recipe, parse_overrides

COMMAND = typer.main.get_command(app)
# A recipe that a page leaves to its reader stands for any.
STAND_IN = "own-images"
# Programs whose arguments are their own.
_OTHERS = {"cd", "cp", "export", "kill", "ls", "mkdir", "mlflow", "rm", "source", "tensorboard", "unzip", "wandb"}


def check_block(block, folder):
    """Raise if a command, an option, a recipe's key or value, or a name of limbeck's in it does not exist.

    Files of the page are written to the folder.
    """
    if block.file:
        (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
        (folder / block.file).write_text(block.text)
    if block.is_python:
        check_python(block.text)
    elif block.file and block.file.endswith((".yaml", ".yml")):
        load_recipe(folder / block.file, trust=True)
    elif not block.file:
        commands = [words for line in block.commands for words in words_of(line)]
        assert commands, "a block without a command"
        for words in commands:
            check_command(words, folder)


def check_command(words, folder):
    program, rest = words[0].rpartition("/")[2], words[1:]
    if program == "limbeck":
        check_limbeck(rest, folder)
    elif program == "pip":
        check_extras(" ".join(rest))
    elif program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
        assert rest[0] in targets, f"no such target of make: {rest[0]}"
    elif program == "python":
        assert rest[0].startswith("-") or (ROOT / rest[0]).is_file() or (folder / rest[0]).is_file(), f"no {rest[0]}"
    else:
        assert program in _OTHERS, f"unknown program: {program}"


def check_extras(arguments):
    """Check the extras in ``limbeck[text,tables]``."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for names in re.findall(r"limbeck\[([^\]]*)\]|\.\[([^\]]*)\]", arguments):
        for name in "".join(names).split(","):
            assert name in extras, f"no such extra: {name}"


def check_limbeck(words, folder):
    """Parse a command line as limbeck does, then its recipe with the overrides."""
    command, name = COMMAND, "limbeck"
    while getattr(command, "commands", None) and words and not words[0].startswith("-"):
        name, *words = words
        assert name in command.commands, f"no such command: {name}"
        command = command.commands[name]
    if "--help" in words or "--version" in words:
        return
    try:
        given = command.make_context(name, [known(word, folder) for word in words]).params
    except Exception as error:  # its kind depends on typer's version
        raise AssertionError(f"limbeck {name}: {error}") from None
    if given.get("recipe"):
        check_recipe(given)


def known(word, folder):
    """Return the path of a recipe that the page or the repository has; any other is the reader's own."""
    if not word.endswith((".yaml", ".yml")) or "=" in word:
        return word
    return str(next((place / word for place in (folder, ROOT) if (place / word).is_file()), STAND_IN))


def check_recipe(given):
    values = parse_overrides(list(given.get("overrides") or []))
    options = {"compare.methods": given.get("methods"), "compare.seeds": given.get("seeds")}
    values |= {key: value for key, value in options.items() if value is not None}
    load_recipe(given["recipe"], values, trust=True)


def check_python(text):
    """Check that a program can be parsed, and that every name of limbeck's in it exists."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            for alias in (alias.name for alias in node.names if alias.name.split(".")[0] == "limbeck"):
                importlib.import_module(alias)
        elif isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "limbeck":
            for alias in node.names:
                check_name(f"{node.module}.{alias.name}")
        elif isinstance(node, ast.Attribute) and (name := dotted(node)):
            check_name(name)


def dotted(node):
    """``limbeck.losses.kd_loss`` for such an expression, None for any other."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id != "limbeck":
        return None
    return ".".join(["limbeck", *reversed(parts)])


def check_name(name):
    package, *rest = name.split(".")
    found, path = importlib.import_module(package), package
    for part in rest:
        path = f"{path}.{part}"
        try:
            found = getattr(found, part)
        except AttributeError:
            try:
                found = importlib.import_module(path)
            except ImportError:
                raise AssertionError(f"no such name: {path}") from None
