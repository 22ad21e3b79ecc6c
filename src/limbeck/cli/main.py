"""The ``limbeck`` command."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from limbeck.cli.cache import app as cache
from limbeck.cli.words import Pairs, Recipe, Stopped, Trust, make_console, stoppable

app = typer.Typer(
    name="limbeck",
    help="Knowledge distillation: train a small network from a strong, an unreliable, a tiny or no teacher.",
    epilog="Examples:  limbeck compare quickstart  |  limbeck run quickstart method=dist training.epochs=5  |"
    "  limbeck methods dr_kd",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
Out = Annotated[Path | None, typer.Option("--out", help="The folder for the results; a new one.", show_default=False)]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with what was stopped in that folder.")]
app.add_typer(cache, name="cache")


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"limbeck {version('limbeck')}, torch {version('torch')}")
        raise typer.Exit


@app.callback()
def _everywhere(
    version: Annotated[
        bool, typer.Option("--version", help="Show the versions and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass


@app.command(
    epilog="Examples:  limbeck run quickstart  |  limbeck run recipe.yaml method=lr+dist seed=1 --out runs/first  |"
    "  limbeck run recipe.yaml --out runs/first --resume"
)
def run(recipe: Recipe, overrides: Pairs = None, out: Out = None, resume: Resume = False, trust: Trust = False) -> None:
    """Distil one student as a recipe says."""
    from limbeck.cli.console import LiveProgress
    from limbeck.runs import Reporting, parse_overrides
    from limbeck.runs import run as run_recipe

    console = make_console()
    with stoppable(), LiveProgress(console) as progress:
        say = Reporting(lambda line: console.print(line, highlight=False, markup=False), progress)
        values = parse_overrides(overrides or [])
        run_recipe(recipe, overrides=values, out=out, resume=resume, reporting=say, trust=trust)


@app.command(
    epilog="Examples:  limbeck compare quickstart  |"
    "  limbeck compare recipe.yaml --methods none,kd,dist,lr+dist --seeds 3 --out runs/table  |"
    "  limbeck compare recipe.yaml --methods kd,kd@hot compare.settings.kd@hot.temperature=8"
)
def compare(
    recipe: Recipe,
    overrides: Pairs = None,
    methods: Annotated[
        str | None, typer.Option(help="Methods or compositions, separated by commas.", show_default="the recipe's")
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Runs of each method.", show_default="the recipe's")] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Runs at a time.", show_default="one a core on a CPU, one on a GPU")
    ] = None,
    out: Out = None,
    resume: Resume = False,
    trust: Trust = False,
) -> None:
    """Run several methods and seeds with one teacher, and print one table."""
    from limbeck.cli.console import LiveProgress, Overall
    from limbeck.report.table import to_rich
    from limbeck.runs import Reporting, parse_overrides
    from limbeck.runs import compare as compare_recipe

    console = make_console()
    given = {"compare.methods": methods, "compare.seeds": seeds}
    values = parse_overrides(overrides or []) | {key: value for key, value in given.items() if value is not None}
    overall = Overall(console)
    try:
        with stoppable(), LiveProgress(console) as progress:
            say = Reporting(lambda line: console.print(line, highlight=False, markup=False), progress)
            found = compare_recipe(
                recipe,
                overrides=values,
                out=out,
                resume=resume,
                jobs=jobs,
                reporting=say,
                tick=overall.tick,
                trust=trust,
            )
    finally:
        overall.stop()
    console.print(to_rich(found.rows, found.title))
    for note in found.notes:
        console.print(f"  {note}", highlight=False, markup=False)
    console.print(
        f"table and plot: {found.folder}/table.md, table.csv, plot.png, plot.svg", highlight=False, markup=False
    )


@app.command(epilog="Examples:  limbeck methods  |  limbeck methods lr_ds")
def methods(
    name: Annotated[str | None, typer.Argument(help="A method or component.", show_default=False)] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print all cards as Markdown.")] = False,
) -> None:
    """List the methods, or print one method's card."""
    from limbeck.cli.cards import card, overview
    from limbeck.methods.markdown import all_cards, card_markdown
    from limbeck.methods.registry import entry

    if markdown:
        print(all_cards() if name is None else card_markdown(entry(name)), end="")
        return
    console = make_console()
    console.print(overview() if name is None else card(name))


@app.command(epilog="Examples:  limbeck recipes  |  limbeck recipes own-images > mine.yaml")
def recipes(
    name: Annotated[str | None, typer.Argument(help="A packaged recipe.", show_default=False)] = None,
) -> None:
    """List the packaged recipes, or print one, to begin a recipe of your own with."""
    from limbeck.recipes import packaged, read_recipe

    if name is not None:
        print(read_recipe(name)[1], end="")
        return
    width = max(map(len, packaged()))
    for each in packaged():
        print(f"{each:<{width}}  {read_recipe(each)[1].splitlines()[0].removeprefix('# ')}")


def main() -> None:
    """Run the command line: exit code 0, 2 for a user's mistake, 1 for a failure."""
    from limbeck.errors import RunError, UserError

    try:
        sys.exit(app(prog_name="limbeck", standalone_mode=False))
    except UserError as error:
        print(f"limbeck: {error}", file=sys.stderr)
        sys.exit(2)
    except RunError as error:
        print(f"limbeck: {error}", file=sys.stderr)
        sys.exit(1)
    except (Stopped, KeyboardInterrupt) as stop:
        how = str(stop) or "the same command with --resume goes on"
        print(f"limbeck: stopped; {how}", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        sys.exit(_usage_error(error))


def _usage_error(error: Exception) -> int:
    """Tell a mistake in the command itself in one line; the kind of exception depends on typer's version."""
    if not hasattr(error, "format_message"):
        raise error
    message, context = error.format_message().rstrip("."), getattr(error, "ctx", None)
    # Without a message the help was shown instead.
    if message:
        command = context.command_path if context else "limbeck"
        print(f"limbeck: {message}; see {command} --help", file=sys.stderr)
    return 2
