"""``limbeck cache build --on ray:N``: the shards of a recipe's logit caches, each filled by a task of a Ray cluster."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from limbeck.build.reporting import Reporting
from limbeck.cache import LogitStore, Shard, missing
from limbeck.errors import RunError, UserError
from limbeck.recipes.loading import load_recipe
from limbeck.recipes.schema import Recipe
from limbeck.reporting import Log
from limbeck.runs.cache_commands import Tick, build_cache, opened_stores
from limbeck.runs.executors import executor_of
from limbeck.runs.placement import Placement
from limbeck.runs.pool import Pool
from limbeck.runs.recipe_caches import Overrides, Source


def build_cache_on(
    on: str,
    recipe: Source,
    *,
    overrides: Overrides = None,
    seeds: int = 1,
    reporting: Reporting | None = None,
    tick: Tick = lambda *_: None,
    trust: bool = False,
) -> int:
    """Fill the caches of a recipe's teacher in shards, each by a task of a Ray cluster.

    The teacher is made by this process, once; each task fills a range of the rows, under a lock of its own. A task
    whose worker dies is begun again by another one, which skips what is stored.

    Args:
        on: The cluster, see :meth:`limbeck.runs.placement.Placement.parse`; ``ray:8`` are eight shards, otherwise there
            are as many as the cluster has room for.
        recipe: As for :func:`limbeck.runs.cache_commands.build_cache`; its ``ray`` is what a task takes.
        overrides: As for :func:`limbeck.runs.cache_commands.build_cache`.
        seeds: As for :func:`limbeck.runs.cache_commands.build_cache`.
        reporting: Where lines and progress go; nowhere by default.
        tick: Called with how many rows of how many are stored, about twice a second.
        trust: As for :func:`limbeck.runs.cache_commands.build_cache`.

    Returns:
        How many rows were stored now.

    Raises:
        UserError: If anything given cannot be used, or the cache would be too large.
        RunError: If a shard could not be filled.

    Example:
        >>> build_cache_on("local", "quickstart")
        Traceback (most recent call last):
        limbeck.errors.UserError: on: got 'local', expected ray, ray:SHARDS or an address, or none for this process
    """
    reporting, shards = reporting or Reporting(), Placement.parse(on).tasks
    if Placement.parse(on).engine == "local":
        raise UserError("on: got 'local', expected ray, ray:SHARDS or an address, or none for this process")
    recipe, log = load_recipe(recipe, overrides, trust=trust), reporting.log
    with executor_of(on, None, recipe, 1, log) as executor:
        stores, start = opened_stores(recipe, seeds, reporting), time.perf_counter()
        before = _missing(stores)
        log(f"logit cache: {', '.join(map(str, stores))}; {before:,} rows to store")
        with executor.pool(shards or max(1, before), stores[0].folder) as pool:
            assert pool is not None
            _fill(pool, recipe, seeds, shards or pool.count, lambda: tick(before - _missing(stores), before), log)
    if left := _missing(stores):
        raise RunError(f"logit cache: {left:,} rows are missing still; the same command continues")
    log(f"logit cache: complete, {before:,} rows stored in {time.perf_counter() - start:.1f} s")
    return before


def _missing(stores: Sequence[LogitStore]) -> int:
    return sum(len(missing(store)) for store in stores)


def _fill(pool: Pool, recipe: Recipe, seeds: int, count: int, moved: Callable[[], None], log: Log) -> None:
    values = recipe.model_dump(mode="json", exclude={"compare", "search"})
    tasks = [(values, seeds, Shard(number + 1, count)) for number in range(count)]
    for finished in pool.finished(_fill_in_task, tasks):
        moved()
        for number, result in finished.items():
            if isinstance(result, Exception):
                log(f"logit cache: {tasks[number][2]}: {result}")


def _fill_in_task(values: Mapping[str, Any], seeds: int, shard: Shard) -> int:
    # The process that gave the task has checked what the recipe names.
    return build_cache(values, seeds=seeds, shard=shard, trust=True)
