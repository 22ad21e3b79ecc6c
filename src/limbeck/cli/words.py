"""What the commands share: the recipe and its overrides as arguments, the console, and Ctrl-C."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

_PACKAGED = ", ".join(sorted(path.stem for path in (Path(__file__).parents[1] / "recipes").glob("*.yaml")))
Recipe = Annotated[
    str, typer.Argument(help=f"A YAML file, or a packaged recipe: {_PACKAGED}.", show_default=False, metavar="RECIPE")
]
Pairs = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Values that replace the recipe's, such as training.epochs=5."),
]

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
    # Recorded output is read by people and programs too: a pipe's 80 columns would break lines in two.
    return console if console.is_terminal else Console(width=200)


class Stopped(Exception):  # noqa: N818 - not an error
    """Ctrl-C, taken before the command-line library turns it into an exit of its own; the text says how to go on."""


@contextmanager
def stoppable(how: str = "the same command with --resume goes on") -> Iterator[None]:
    """Turn Ctrl-C within the block into :class:`Stopped`, with ``how`` to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped(how) from None
