"""Fill the logit caches of a comparison ahead of its runs, so that no two of them run the teacher on the same input."""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch

from limbeck.build.caching import RunCache, is_cached, logits_folder
from limbeck.build.context import Context
from limbeck.build.reporting import Reporting
from limbeck.build.shared import Shared
from limbeck.build.teachers import BuiltTeacher, build_teacher
from limbeck.cache import LogitStore, Shard, building, missing, require_room, store_logits
from limbeck.errors import RunError
from limbeck.recipes.loading import load_recipe
from limbeck.recipes.schema import Recipe
from limbeck.reporting import Log, no_log
from limbeck.runs.pool import Pool
from limbeck.runs.workers import WorkerDiedError, shared_in_worker
from limbeck.training.memory import memory_explained


class SharedCache(NamedTuple):
    """A cache that several runs read.

    Attributes:
        recipe: One of their recipes.
        seeds: Their seeds, each once.
        readers: How many runs there are.
    """

    recipe: Recipe
    seeds: tuple[int, ...]
    readers: int


def shared_caches(recipes: Sequence[Recipe]) -> list[SharedCache]:
    """List the caches that at least two of the runs read.

    A cache of views is shared by all runs with the same teacher, one of epochs by those of the same seed of views.

    Args:
        recipes: The recipes of the runs, which differ in method and seed.

    Example:
        >>> from limbeck.runs import load_recipe
        >>> dist = load_recipe("quickstart", {"teacher.cache": "views"})
        >>> kd = load_recipe("quickstart", {"teacher.cache": "views", "method": "kd", "seed": 1})
        >>> [(cache.seeds, cache.readers) for cache in shared_caches([dist, kd])]
        [((0, 1), 2)]
    """
    groups = defaultdict(list)
    for recipe in filter(is_cached, recipes):
        groups[recipe.source(), recipe.view_seed if recipe.teacher.cache == "epochs" else None].append(recipe)
    return [
        SharedCache(group[0], tuple(sorted({recipe.seed for recipe in group})), len(group))
        for group in groups.values()
        if len(group) > 1
    ]


def prefill(
    cache: SharedCache, teachers: Mapping[Any, BuiltTeacher], shared: Shared, log: Log, pool: Pool | None
) -> None:
    """Store every row that the runs of a cache will read, and no other.

    The work is shared by as many processes as run at a time, so that on a CPU a row is computed by as many threads as
    it would be in a run: with other numbers of threads its last bits could differ. If another process fills the same
    cache just now, or a worker dies, the runs store by themselves what is still missing then.

    Args:
        cache: The cache and the runs that read it.
        teachers: The comparison's teachers, by source.
        shared: What this process has built for the comparison.
        log: Called with lines about what happens.
        pool: Processes to share the work; None for this one alone.

    Raises:
        UserError: If the cache is too large, or the disk too full.
        RunError: If the disk fills up meanwhile.
    """
    recipe = cache.recipe
    opened = RunCache.open(Context(recipe, shared), teachers[recipe.source()].teacher, log)
    needed = opened.needed(cache.seeds)
    unstored = len(missing(opened.store, needed))
    log(f"logit cache: {opened.store}; {unstored:,} more rows for {cache.readers} runs")
    require_room(logits_folder(recipe), opened.store.spec, unstored, limit_gb=recipe.teacher.cache_limit_gb)
    start = time.perf_counter()
    with _alone(opened.store, log) as alone:
        if alone and unstored:
            _share(cache, opened, pool, log)
            stored = unstored - len(missing(opened.store, needed))
            log(f"logit cache: {stored:,} rows stored in {time.perf_counter() - start:.1f} s")


@contextmanager
def _alone(store: LogitStore, log: Log) -> Iterator[bool]:
    with ExitStack() as stack:
        try:
            stack.enter_context(building(store))
        except RunError as error:
            log(str(error))
            yield False
            return
        yield True


def _share(cache: SharedCache, opened: RunCache, pool: Pool | None, log: Log) -> None:
    if pool is None:
        _fill(opened, cache.seeds, Shard(1, 1))
        return
    values = cache.recipe.model_dump(mode="json", exclude={"compare"})
    tasks = [(values, cache.seeds, Shard(part + 1, pool.count)) for part in range(pool.count)]
    for finished in pool.finished(_fill_in_worker, tasks):
        for result in finished.values():
            if isinstance(result, WorkerDiedError):
                log(f"logit cache: {result}; the runs store what is missing")


def _fill(cache: RunCache, seeds: Sequence[int], shard: Shard) -> None:
    # Parts of what is needed, which is the same for all processes, not of what is missing, which changes meanwhile.
    needed = shard.of(cache.needed(seeds).nonzero()[:, 0])
    flags = torch.zeros(cache.store.spec.slots, dtype=torch.bool)
    flags[needed] = True
    slots = missing(cache.store, flags)
    precision, most = cache.fabric.autocast, cache.context.data.measuring_batch
    with memory_explained(f"logit cache {cache.store.folder}", most, key=""):
        store_logits(cache.store, cache.teacher, cache.replay, slots, precision=precision, batch_size=most)


def _fill_in_worker(values: dict[str, Any], seeds: Sequence[int], shard: Shard) -> None:
    # The process that plans the comparison has checked what its recipe names.
    context = Context(load_recipe(values, trust=True), shared_in_worker())
    _fill(RunCache.open(context, build_teacher(context, Reporting()).teacher, no_log), seeds, shard)
