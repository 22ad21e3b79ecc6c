"""The ``limbeck`` command."""

import json
import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limbeck.cli.cache import app as cache
from limbeck.cli.options import Pairs, Quiet, Recipe, Stopped, Trust, Verbose, make_console
from limbeck.cli.students import evaluate, predict
from limbeck.errors import RunError, UserError, shortened

if TYPE_CHECKING:
    from rich.console import Console

    from limbeck.runs.compare import Comparison

_LINE_LENGTH = 2000
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
Resume = Annotated[bool, typer.Option("--resume", help="Continue what was stopped in that folder.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is in that folder.")]
app.add_typer(cache, name="cache")


def _show_version(is_set: bool) -> None:
    if is_set:
        from importlib.metadata import version

        print(f"limbeck {version('limbeck')}, torch {version('torch')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the versions and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass


@app.command(
    epilog="Examples:  limbeck run quickstart  |  limbeck run recipe.yaml method=lr+dist seed=1 --out runs/first  |"
    "  limbeck run recipe.yaml --out runs/first --resume"
)
def run(
    recipe: Recipe,
    overrides: Pairs = None,
    out: Out = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    trust: Trust = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Distill one student by a recipe."""
    from limbeck.cli.console import showing
    from limbeck.runs import parse_overrides
    from limbeck.runs import run as run_recipe

    with showing(quiet=quiet, verbose=verbose) as shown:
        done = run_recipe(
            recipe,
            overrides=parse_overrides(overrides or []),
            out=out,
            resume=resume,
            overwrite=overwrite,
            reporting=shown.reporting,
            trust=trust,
        )
    if quiet:
        shown.console.print(done.line, highlight=False, markup=False, soft_wrap=True)


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
    overwrite: Overwrite = False,
    trust: Trust = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Run several methods and seeds with one teacher, and print one table."""
    from limbeck.cli.console import showing
    from limbeck.runs import compare as compare_recipe
    from limbeck.runs import parse_overrides

    options = {"compare.methods": methods, "compare.seeds": seeds}
    values = parse_overrides(overrides or []) | {key: value for key, value in options.items() if value is not None}
    with showing(quiet=quiet, verbose=verbose) as shown:
        comparison = compare_recipe(
            recipe,
            overrides=values,
            out=out,
            resume=resume,
            overwrite=overwrite,
            jobs=jobs,
            reporting=shown.reporting,
            tick=shown.tick,
            trust=trust,
        )
    _print_comparison(shown.console, comparison)
    _raise_failures(comparison)


def _print_comparison(console: "Console", comparison: "Comparison") -> None:
    from limbeck.report.table import to_rich

    console.print(to_rich(comparison.rows, comparison.title))
    for note in (*comparison.notes, *comparison.failures):
        console.print(f"  {note}", highlight=False, markup=False, soft_wrap=True)
    files = f"table, plot and page: {comparison.folder}/table.md, table.csv, plot.png, plot.svg, report.html"
    console.print(files, highlight=False, markup=False, soft_wrap=True)


def _raise_failures(comparison: "Comparison") -> None:
    if comparison.failures:
        count = len(comparison.failures)
        raise RunError(f"{count} of the runs failed; the same command with --resume tries them again")


@app.command(
    epilog="Examples:  limbeck search quickstart  |  limbeck search recipe.yaml --methods kd,dist --runs 48  |"
    "  limbeck search recipe.yaml --minutes 30 search.settings.kd.temperature=[1,2,4,8]"
)
def search(
    recipe: Recipe,
    overrides: Pairs = None,
    methods: Annotated[
        str | None, typer.Option(help="Methods to try, separated by commas.", show_default="the recipe's")
    ] = None,
    runs: Annotated[int | None, typer.Option(help="Settings to try.", show_default="the recipe's, else 24")] = None,
    minutes: Annotated[
        float | None,
        typer.Option(help="How long settings may be tried; the final table takes more.", show_default=False),
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Runs of each row of the table.", show_default="3")] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Runs at a time.", show_default="one a core on a CPU, one on a GPU")
    ] = None,
    storage: Annotated[
        str | None, typer.Option(help="URL of a database for Optuna's study.", show_default="a file in the folder")
    ] = None,
    out: Out = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    trust: Trust = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Search methods and settings on a validation split, then measure the best on the test split."""
    from limbeck.cli.console import showing
    from limbeck.runs import parse_overrides
    from limbeck.runs import search as search_recipe

    options = {"search.methods": methods, "search.runs": runs, "search.minutes": minutes, "search.seeds": seeds}
    values = parse_overrides(overrides or []) | {key: value for key, value in options.items() if value is not None}
    with showing(quiet=quiet, verbose=verbose, what="search and table") as shown:
        found = search_recipe(
            recipe,
            overrides=values,
            out=out,
            resume=resume,
            overwrite=overwrite,
            jobs=jobs,
            storage=storage,
            reporting=shown.reporting,
            tick=shown.tick,
            trust=trust,
        )
    _print_comparison(shown.console, found.comparison)
    for line in (
        f"best: {found.best.text}",
        f"its recipe: {found.folder}/best.yaml; trials: {found.folder}/trials.csv",
    ):
        shown.console.print(line, highlight=False, markup=False, soft_wrap=True)
    _raise_failures(found.comparison)


@app.command(
    epilog="Examples:  limbeck report runs/quickstart-compare  |  limbeck report runs/kd runs/dist --out both.html"
)
def report(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="The folder of a run or a comparison.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The page.", show_default="report.html in DIR, or here for several"),
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Let python: functions load the data, for the sample images.")
    ] = False,
) -> None:
    """Write one HTML page on runs and comparisons, which loads nothing from elsewhere."""
    from limbeck.report.page import write_page

    page = write_page(folders, out, trust=trust)
    make_console().print(f"page: {page}", highlight=False, markup=False, soft_wrap=True)


@app.command(epilog="Examples:  limbeck check quickstart  |  limbeck check recipe.yaml training.epochs=100")
def check(
    recipe: Recipe, overrides: Pairs = None, trust: Trust = False, quiet: Quiet = False, verbose: Verbose = False
) -> None:
    """Print what a recipe's runs would do and cost, without training or downloading anything."""
    from limbeck.cli.console import showing
    from limbeck.runs import check as check_recipe
    from limbeck.runs import parse_overrides

    with showing(quiet=quiet, verbose=verbose) as shown:
        checked = check_recipe(
            recipe, overrides=parse_overrides(overrides or []), reporting=shown.reporting, trust=trust
        )
    lines = [line for title, parts in checked.sections.items() for line in (f"{title}:", *(f"  {p}" for p in parts))]
    for line in (*lines, *(f"warning: {text}" for text in checked.warnings)):
        shown.console.print(line, highlight=False, markup=False, soft_wrap=True)
    if checked.problems:
        raise UserError("; ".join(checked.problems))


app.command(
    epilog="Examples:  limbeck predict runs/first photos/  |  limbeck predict student.safetensors a.jpg --top-k 3  |"
    "  limbeck predict runs/text new.csv --format jsonl --out predictions.jsonl"
)(predict)
app.command(
    epilog="Examples:  limbeck evaluate runs/first --out runs/first-evaluated  |"
    "  limbeck evaluate student.safetensors data.name=image_folder data.root=photos --split all  |"
    "  limbeck evaluate quickstart --teacher"
)(evaluate)


@app.command(
    epilog="Examples:  limbeck advise quickstart  |  limbeck advise recipe.yaml --student-epochs 10 --reliability"
)
def advise(
    recipe: Recipe,
    overrides: Pairs = None,
    student_epochs: Annotated[
        int | None, typer.Option(help="Epochs of the student beside the teacher.", show_default="a quarter of a run's")
    ] = None,
    reliability: Annotated[
        bool, typer.Option("--reliability", help="Measure what weight: auto does, which takes about one run.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print card and advice as JSON, and nothing else.")] = False,
    trust: Trust = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Measure a recipe's teacher, and print which methods to try first with it."""
    from limbeck.advice import advise as advise_recipe
    from limbeck.cli.console import showing
    from limbeck.runs import parse_overrides

    with showing(quiet=quiet or as_json, verbose=verbose, how="the same command continues") as shown:
        advised = advise_recipe(
            recipe,
            overrides=parse_overrides(overrides or []),
            student_epochs=student_epochs,
            reliability=reliability,
            reporting=shown.reporting,
            trust=trust,
        )
    if as_json:
        print(json.dumps(advised.figures, indent=2))
        return
    for line in advised.lines:
        shown.console.print(line, highlight=False, markup=False, soft_wrap=True)


@app.command(epilog="Examples:  limbeck methods  |  limbeck methods lr_ds  |  limbeck methods lr_ds --markdown")
def methods(
    name: Annotated[str | None, typer.Argument(help="A method or component.", show_default=False)] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print cards as Markdown.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print cards as JSON.")] = False,
) -> None:
    """List the methods, those of installed plug-ins too, or print one method's card."""
    from limbeck.cli.card_pages import as_markdown, card, card_markdown, overview
    from limbeck.cli.cards import as_text, find, read_cards

    cards = read_cards(_print_error) if name is None else {name: find(name, _print_error)}
    if as_json:
        print(as_text(cards), end="")
    elif markdown:
        print(as_markdown(cards) if name is None else card_markdown(cards[name]), end="")
    else:
        make_console().print(overview(cards) if name is None else card(cards[name]))


def _print_error(line: str) -> None:
    text = shortened(" ".join(line.splitlines()), _LINE_LENGTH, quoted=False)
    print(f"limbeck: {text}", file=sys.stderr)


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
    for recipe in packaged():
        print(f"{recipe:<{width}}  {read_recipe(recipe)[1].splitlines()[0].removeprefix('# ')}")


def main() -> None:
    """Run the command line: exit code 0, 2 for a user's mistake, 1 for a failure."""
    # A file name may hold bytes that are no text.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(prog_name="limbeck", standalone_mode=False)
        sys.stdout.flush()
    except UserError as error:
        code = _failed(error, 2)
    except RunError as error:
        code = _failed(error, 1)
    except (Stopped, KeyboardInterrupt) as stop:
        code = _failed(f"stopped; {str(stop) or 'the same command with --resume continues'}", 130)
    except BrokenPipeError:
        # The reader of the output, such as head, has closed it; nothing can be flushed there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except Exception as error:
        code = _other_error(error)
    sys.exit(code)


def _failed(message: object, code: int) -> int:
    _print_error(str(message))
    return code


def _other_error(error: Exception) -> int:
    """Print an error of memory, files or the command itself as one line; raise anything else."""
    if isinstance(error, RecursionError):
        return _failed("something given is nested too deeply, expected a few levels", 2)
    if isinstance(error, MemoryError):
        return _failed("the memory is full", 1)
    # torch's own, which is not imported for this.
    if type(error).__name__ == "OutOfMemoryError":
        return _failed(f"the device's memory is full ({error}), try a smaller training.batch_size", 1)
    if isinstance(error, OSError) and error.strerror:
        return _failed(f"{error.filename}: {error.strerror}" if error.filename else error.strerror, 1)
    return _usage_error(error)


def _usage_error(error: Exception) -> int:
    """Print an error of the command itself as one line; the kind of exception depends on typer's version."""
    if not hasattr(error, "format_message"):
        raise error
    message, context = error.format_message().rstrip("."), getattr(error, "ctx", None)
    # Without a message the help was shown instead.
    if not message:
        return 2
    return _failed(f"{message}; see {context.command_path if context else 'limbeck'} --help", 2)
