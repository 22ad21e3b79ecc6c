"""Fill the logit caches of a comparison ahead of its runs, so that no two of them ask the teacher the same."""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch

from limbeck.build.caching import RunCache, is_cached, logits_folder
from limbeck.build.networks import load_data
from limbeck.build.teachers import BuiltTeacher, Reporting, build_teacher
from limbeck.cache import LogitStore, building, missing, require_room, store_logits
from limbeck.data import Data
from limbeck.errors import RunError
from limbeck.recipes.loading import load_recipe
from limbeck.recipes.schema import Recipe
from limbeck.reporting import Log, no_log
from limbeck.runs.workers import WorkerDiedError, Workers


class Shared(NamedTuple):
    """A cache that several runs read.

    Attributes:
        recipe: One of their recipes.
        seeds: Their seeds, each once.
        readers: How many runs there are.
    """

    recipe: Recipe
    seeds: tuple[int, ...]
    readers: int


def shared_caches(recipes: Sequence[Recipe]) -> list[Shared]:
    """List the caches that at least two of the runs read.

    A cache of views is shared by all runs with the same teacher, one of epochs by those of the same seed.

    Args:
        recipes: The recipes of the runs, which differ in method and seed.

    Example:
        >>> from limbeck.runs import load_recipe
        >>> one = load_recipe("quickstart", {"teacher.cache": "views"})
        >>> other = load_recipe("quickstart", {"teacher.cache": "views", "method": "kd", "seed": 1})
        >>> [(shared.seeds, shared.readers) for shared in shared_caches([one, other])]
        [((0, 1), 2)]
    """
    groups = defaultdict(list)
    for recipe in filter(is_cached, recipes):
        groups[recipe.source(), recipe.seed if recipe.teacher.cache == "epochs" else None].append(recipe)
    return [
        Shared(group[0], tuple(sorted({recipe.seed for recipe in group})), len(group))
        for group in groups.values()
        if len(group) > 1
    ]


def prefill(shared: Shared, made: Mapping[Any, BuiltTeacher], data: Data, log: Log, workers: Workers | None) -> None:
    """Store every row that the runs of a cache will read, and no other.

    The work is shared by as many processes as run at a time, so that on a CPU a row is computed by as many threads as
    it would be in a run: with other numbers of threads its last bits could differ. If another process fills the same
    cache just now, or a worker dies, the runs store by themselves what is still missing then.

    Args:
        shared: The cache and who reads it.
        made: The teachers, by source.
        data: The data.
        log: Told what happens, in lines.
        workers: Processes to share the work; None for this one alone.

    Raises:
        UserError: If the cache is too large, or the disk too full.
        RunError: If the disk fills up meanwhile.
    """
    recipe = shared.recipe
    teacher = made[recipe.source()].teacher
    assert teacher is not None
    cache = RunCache.open(recipe, data, teacher, log)
    needed = cache.needed(shared.seeds)
    todo = len(missing(cache.store, needed))
    log(f"logit cache: {cache.store}; {todo:,} more rows for {shared.readers} runs")
    require_room(logits_folder(recipe), cache.store.spec, todo, limit_gb=recipe.teacher.cache_limit_gb)
    start = time.perf_counter()
    with _alone(cache.store, log) as alone:
        if alone and todo:
            _share(shared, cache, workers, log)
            stored = todo - len(missing(cache.store, needed))
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


def _share(shared: Shared, cache: RunCache, workers: Workers | None, log: Log) -> None:
    if workers is None:
        _fill(cache, shared.seeds, 0, 1)
        return
    values = shared.recipe.model_dump(mode="json")
    tasks = [(values, shared.seeds, part, workers.count) for part in range(workers.count)]
    for finished in workers.finished(_fill_elsewhere, tasks):
        for result in finished.values():
            if isinstance(result, WorkerDiedError):
                log(f"logit cache: {result}; the runs store what is missing")


def _fill(cache: RunCache, seeds: Sequence[int], part: int, parts: int) -> None:
    # Parts of what is needed, which all processes agree on, not of what is missing, which changes under their hands.
    needed = cache.needed(seeds).nonzero()[:, 0].tensor_split(parts)[part]
    flags = torch.zeros(cache.store.spec.slots, dtype=torch.bool)
    flags[needed] = True
    slots = missing(cache.store, flags)
    store_logits(cache.store, cache.teacher, cache.replay, slots, precision=cache.fabric.autocast)


def _fill_elsewhere(values: dict[str, Any], seeds: Sequence[int], part: int, parts: int) -> None:
    # The process that plans the comparison has checked what its recipe names.
    recipe = load_recipe(values, trust=True)
    data = load_data(recipe.data)
    teacher = build_teacher(recipe, data, Reporting()).teacher
    assert teacher is not None
    _fill(RunCache.open(recipe, data, teacher, no_log), seeds, part, parts)
