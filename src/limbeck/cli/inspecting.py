"""The commands that look before and after: ``limbeck check``, ``limbeck advise`` and ``limbeck report``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from limbeck.cli.options import Pairs, Quiet, Recipe, Trust, Verbose, make_console
from limbeck.errors import UserError


def check(
    recipe: Recipe, overrides: Pairs = None, trust: Trust = False, quiet: Quiet = False, verbose: Verbose = False
) -> None:
    """Print what a recipe's runs would do and cost, without training or downloading anything."""
    from limbeck.cli.console import BEGIN_AGAIN, showing
    from limbeck.runs import check as check_recipe
    from limbeck.runs import parse_overrides

    with showing(quiet=quiet, verbose=verbose, how=BEGIN_AGAIN) as shown:
        checked = check_recipe(
            recipe, overrides=parse_overrides(overrides or []), reporting=shown.reporting, trust=trust
        )
    lines = [line for title, parts in checked.sections.items() for line in (f"{title}:", *(f"  {p}" for p in parts))]
    for line in (*lines, *(f"warning: {text}" for text in checked.warnings)):
        shown.console.print(line, highlight=False, markup=False, soft_wrap=True)
    if checked.problems:
        raise UserError("; ".join(checked.problems))


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
    from limbeck.cli.console import stoppable
    from limbeck.report.page import write_page

    with stoppable():
        page = write_page(folders, out, trust=trust)
    make_console().print(f"page: {page}", highlight=False, markup=False, soft_wrap=True)
