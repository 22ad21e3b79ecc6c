"""What the commands share: arguments and options, the console, and Ctrl-C."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from limbeck.errors import UserError
from limbeck.recipes import read_recipe

CONTINUE = "the same command with --resume continues"
"""How to continue a command that keeps what it has done."""


def known_recipe(recipe: str | None) -> str | None:
    """Return a recipe's name if there is such a recipe, before anything slow is imported.

    Raises:
        UserError: If there is none.

    Example:
        >>> known_recipe("quickstart")
        'quickstart'
    """
    if recipe is not None:
        read_recipe(recipe)
    return recipe


def needed_recipe(recipe: str | None) -> str:
    """Return a recipe's name if one is given and there is such a recipe.

    Raises:
        UserError: If there is none.

    Example:
        >>> needed_recipe("quickstart")
        'quickstart'
    """
    if recipe is None:
        raise UserError("Missing argument 'RECIPE'; see limbeck run --help")
    return known_recipe(recipe) or recipe


_PACKAGED = ", ".join(sorted(path.stem for path in (Path(__file__).parents[1] / "recipes").glob("*.yaml")))
Recipe = Annotated[
    str,
    typer.Argument(
        help=f"A YAML file, or a packaged recipe: {_PACKAGED}.",
        show_default=False,
        metavar="RECIPE",
        callback=known_recipe,
    ),
]
# Checked by the command itself, which can do without: the words may all be KEY=VALUE.
OptionalRecipe = Annotated[
    str | None,
    typer.Argument(
        help=f"A YAML file, or a packaged recipe: {_PACKAGED}; none beside --replay.",
        show_default=False,
        metavar="RECIPE",
    ),
]
Pairs = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Values that replace the recipe's, such as training.epochs=5."),
]

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the result and errors only.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Print what the library's loggers report, too.")]
Trust = Annotated[
    bool, typer.Option("--trust", help="Let the recipe run python: functions from outside the working folder.")
]


def make_console() -> Console:
    """Make the console that a command prints to.

    Example:
        >>> make_console().width > 0
        True
    """
    console = Console()
    # The 80 columns of a pipe would break lines in two.
    return console if console.is_terminal else Console(width=200)


class Stopped(Exception):  # noqa: N818 - not an error
    """Ctrl-C, caught before the command-line library exits; the text is how to continue."""
