"""``limbeck cache``: the logits of a teacher, stored for all the runs that use it."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limbeck.cli.options import Pairs, Quiet, Recipe, Trust, Verbose, known_recipe, make_console

if TYPE_CHECKING:
    from limbeck.cache import Shard

app = typer.Typer(
    help="Store a teacher's logits once for all runs: build, check, info, clear, push, pull.",
    epilog="Examples:  limbeck cache build quickstart teacher.cache=views  |  limbeck cache info",
    no_args_is_help=True,
)
Seeds = Annotated[int, typer.Option(help="For how many seeds from the recipe's on; views serve all of them.")]
OptionalRecipe = Annotated[
    str | None,
    typer.Argument(help="A recipe, as for build; without one all caches.", show_default=False, callback=known_recipe),
]


@app.command(
    epilog="Examples:  limbeck cache build quickstart teacher.cache=views  |"
    "  limbeck cache build recipe.yaml teacher.cache=epochs teacher.cache_dtype=float32 --seeds 3  |"
    "  limbeck cache build recipe.yaml --shard 3/8  |  limbeck cache build recipe.yaml --on ray:8  |"
    "  torchrun --nproc-per-node 2 -m limbeck cache build recipe.yaml --shard auto"
)
def build(
    recipe: Recipe,
    overrides: Pairs = None,
    seeds: Seeds = 1,
    shard: Annotated[
        str | None,
        typer.Option(
            help="Fill the i-th of n parts (i/n, i from 1), beside other processes that fill the others; auto takes"
            " both from a SLURM array, torchrun or srun.",
            show_default=False,
            metavar="I/N",
        ),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            help="A Ray cluster whose tasks fill the cache: ray:8 in eight shards; ray, ray:HOST:PORT or"
            " ray://HOST:PORT in as many as it has room for.",
            show_default=False,
            metavar="ray[:SHARDS]",
        ),
    ] = None,
    trust: Trust = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Compute and store the logits of a recipe's teacher for every view that is not stored yet."""
    from limbeck.cli.console import showing
    from limbeck.errors import UserError
    from limbeck.runs import parse_overrides
    from limbeck.runs.cache_commands import build_cache
    from limbeck.runs.cache_tasks import build_cache_on

    if on is not None and shard is not None:
        raise UserError("cache build: got --shard and --on, expected one of them")
    how = "the same command continues"
    with showing(quiet=quiet, verbose=verbose, what="logit cache", unit="rows", how=how) as shown:
        values, part = parse_overrides(overrides or []), _shard(shard)
        options: dict[str, Any] = {"overrides": values, "seeds": seeds, "trust": trust}
        options |= {"reporting": shown.reporting, "tick": shown.tick}
        stored = build_cache(recipe, shard=part, **options) if on is None else build_cache_on(on, recipe, **options)
    if quiet:
        _print(f"logit cache: {f'{part} is ' if part else ''}complete, {stored:,} rows stored")


@app.command(epilog="Examples:  limbeck cache check quickstart teacher.cache=views")
def check(recipe: Recipe, overrides: Pairs = None, seeds: Seeds = 1, trust: Trust = False) -> None:
    """Compare stored rows with their checksums, and some with the teacher's present logits."""
    from limbeck.runs import parse_overrides
    from limbeck.runs.cache_commands import check_cache_files

    values = parse_overrides(overrides or [])
    check_cache_files(recipe, overrides=values, seeds=seeds, log=_print, trust=trust)


@app.command(epilog="Examples:  limbeck cache info  |  limbeck cache info quickstart teacher.cache=views")
def info(recipe: OptionalRecipe = None, overrides: Pairs = None, seeds: Seeds = 1) -> None:
    """Print how large caches are or would be, and how full."""
    from limbeck.runs import parse_overrides
    from limbeck.runs.cache_commands import describe_caches

    describe_caches(recipe, overrides=parse_overrides(overrides or []), seeds=seeds, log=_print)


@app.command(epilog="Examples:  limbeck cache clear quickstart teacher.cache=views  |  limbeck cache clear --all")
def clear(
    recipe: OptionalRecipe = None,
    overrides: Pairs = None,
    seeds: Seeds = 1,
    everything: Annotated[bool, typer.Option("--all", help="Delete the caches of all recipes.")] = False,
) -> None:
    """Delete a recipe's caches, or all."""
    from limbeck.errors import UserError
    from limbeck.runs import parse_overrides
    from limbeck.runs.cache_commands import clear_caches

    if (recipe is None) != everything:
        raise UserError("cache clear: got neither or both, expected a recipe or --all")
    clear_caches(recipe, overrides=parse_overrides(overrides or []), seeds=seeds, log=_print)


Url = Annotated[
    str, typer.Argument(help="s3://bucket/folder, gs://bucket/folder, a folder, or what else fsspec reaches.")
]


@app.command(
    epilog="Examples:  limbeck cache push recipe.yaml s3://bucket/limbeck  |"
    "  limbeck cache push quickstart /mnt/shared/caches"
)
def push(
    recipe: Recipe,
    url: Url,
    overrides: Pairs = None,
    seeds: Seeds = 1,
    trust: Trust = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Copy a recipe's caches and trained teachers to a URL, in parts with checksums; what is there is kept."""
    from limbeck.runs.remote_caches import push_cache

    sent = _moved(push_cache, recipe, url, overrides, seeds, trust=trust, quiet=quiet, verbose=verbose)
    if quiet:
        _print(f"cache push: complete, {sent:,} parts sent")


@app.command(
    epilog="Examples:  limbeck cache pull recipe.yaml s3://bucket/limbeck  |"
    "  limbeck cache pull quickstart /mnt/shared/caches"
)
def pull(
    recipe: Recipe,
    url: Url,
    overrides: Pairs = None,
    seeds: Seeds = 1,
    trust: Trust = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Fetch a recipe's caches and trained teachers from a URL; nothing is trained, and what is here is not fetched."""
    from limbeck.runs.remote_caches import pull_cache

    stored = _moved(pull_cache, recipe, url, overrides, seeds, trust=trust, quiet=quiet, verbose=verbose)
    if quiet:
        _print(f"cache pull: complete, {stored:,} rows stored")


def _moved(
    move: Callable[..., int],
    recipe: str,
    url: str,
    overrides: list[str] | None,
    seeds: int,
    *,
    trust: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    from limbeck.cli.console import showing
    from limbeck.runs import parse_overrides

    how = "the same command continues"
    with showing(quiet=quiet, verbose=verbose, what="logit cache", unit="parts", how=how) as shown:
        values, log = parse_overrides(overrides or []), shown.reporting.log
        return move(recipe, url, overrides=values, seeds=seeds, log=log, tick=shown.tick, trust=trust)


def _shard(text: str | None) -> "Shard | None":
    from limbeck.cache import Shard

    if text is None:
        return None
    return Shard.of_environment(os.environ) if text == "auto" else Shard.parse(text)


def _print(line: str) -> None:
    make_console().print(line, highlight=False, markup=False, soft_wrap=True)
