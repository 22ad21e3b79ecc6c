"""The commands that train: ``limbeck run``, ``limbeck compare`` and ``limbeck search``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limbeck.cli.options import OptionalRecipe, Pairs, Quiet, Recipe, Trust, Verbose, needed_recipe
from limbeck.errors import RunError, UserError, shortened

if TYPE_CHECKING:
    from rich.console import Console

    from limbeck.runs.compare import Comparison

Out = Annotated[Path | None, typer.Option("--out", help="The folder for the results; a new one.", show_default=False)]
Resume = Annotated[bool, typer.Option("--resume", help="Continue what was stopped in that folder.")]
On = Annotated[
    str,
    typer.Option(
        "--on",
        help="Where runs train: local (processes of this machine), ray (a Ray cluster that is there, else one started"
        " here), ray:TASKS (so many at a time), ray:HOST:PORT, or ray://HOST:PORT (Ray's client port).",
        metavar="local|ray|ray://HOST:PORT",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is in that folder.")]


def run(
    recipe: OptionalRecipe = None,
    overrides: Pairs = None,
    replay: Annotated[
        Path | None,
        typer.Option(
            "--replay",
            help="The folder of a run whose recipe is run once more, to see whether its numbers come back;"
            " --out keeps the replay.",
            show_default=False,
            metavar="RUN",
        ),
    ] = None,
    out: Out = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    trust: Trust = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Distill one student by a recipe, or a run's recipe once more."""
    if replay is not None:
        words = [word for word in (recipe, *(overrides or [])) if word is not None]
        _replay(replay, words, out, resume=resume, overwrite=overwrite, trust=trust, quiet=quiet, verbose=verbose)
        return
    recipe = needed_recipe(recipe)
    from limbeck.cli.console import showing
    from limbeck.ranks import is_first
    from limbeck.runs import parse_overrides
    from limbeck.runs import run as run_recipe

    values = parse_overrides(overrides or [])
    _run_in_processes(recipe, values, trust=trust)
    with showing(quiet=quiet or not is_first(), verbose=verbose) as shown:
        done = run_recipe(
            recipe,
            overrides=values,
            out=out,
            resume=resume,
            overwrite=overwrite,
            reporting=shown.reporting,
            trust=trust,
        )
    if quiet and is_first():
        shown.console.print(done.line, highlight=False, markup=False, soft_wrap=True)


def _run_in_processes(recipe: str, overrides: dict[str, object], *, trust: bool) -> None:
    """Start the processes of a run that has several, and end this one with them."""
    from limbeck.ranks import under_torchrun
    from limbeck.recipes.loading import load_recipe
    from limbeck.training.processes import local_processes

    if under_torchrun():
        return
    training = load_recipe(recipe, overrides, trust=trust).training
    if training.nodes == 1 and (processes := local_processes(training)) > 1:
        from limbeck.runs.together import run_in_processes

        sys.exit(run_in_processes(sys.argv[1:], processes))


def _replay(
    folder: Path,
    words: list[str],
    out: Path | None,
    *,
    resume: bool,
    overwrite: bool,
    trust: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    from limbeck.cli.console import BEGIN_AGAIN, showing
    from limbeck.cli.options import CONTINUE
    from limbeck.runs import parse_overrides, replay

    for word in words:
        if "=" not in word:
            got = f"RECIPE: got {shortened(word)} beside --replay"
            raise UserError(f"{got}, expected none: the recipe is that of the run")
    with showing(quiet=quiet, verbose=verbose, how=CONTINUE if out else BEGIN_AGAIN) as shown:
        done = replay(
            folder,
            overrides=parse_overrides(words),
            out=out,
            resume=resume,
            overwrite=overwrite,
            reporting=shown.reporting,
            trust=trust,
        )
    for note in done.notes:
        shown.console.print(f"  {note}", highlight=False, markup=False, soft_wrap=True)
    if not done.equal:
        raise RunError(done.line)
    shown.console.print(done.line, highlight=False, markup=False, soft_wrap=True)


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
    on: On = "local",
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
            on=on,
            reporting=shown.reporting,
            tick=shown.tick,
            trust=trust,
        )
    _print_comparison(shown.console, comparison)
    _raise_failures(comparison)


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
    on: On = "local",
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
            on=on,
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


def _print_comparison(console: "Console", comparison: "Comparison") -> None:
    from limbeck.report.table import to_rich

    console.print(to_rich(comparison.rows, comparison.title))
    for note in (*comparison.notes, *comparison.failures):
        console.print(f"  {note}", highlight=False, markup=False, soft_wrap=True)
    found = any(result.seeds for result in comparison.results)
    kinds, files = ("table, plot and page", ", plot.png, plot.svg, report.html") if found else ("table", "")
    line = f"{kinds}: {comparison.folder}/table.md, table.csv{files}"
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def _raise_failures(comparison: "Comparison") -> None:
    if comparison.failures:
        count = len(comparison.failures)
        raise RunError(f"{count} of the runs failed; the same command with --resume tries them again")
