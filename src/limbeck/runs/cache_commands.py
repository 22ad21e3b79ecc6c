"""The commands ``limbeck cache``: fill, check, describe and delete the logit caches of a recipe."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from limbeck.build.caching import RunCache, check_cache, logits_folder
from limbeck.build.reporting import Reporting
from limbeck.build.teacher_store import cache_folder
from limbeck.cache import LogitStore, Shard, compare, fill, holding, missing, require_room
from limbeck.cache.about import read_about
from limbeck.cache.progress import unfilled
from limbeck.cache.spec import size
from limbeck.errors import RunError
from limbeck.recipes.schema import Recipe
from limbeck.reporting import Log
from limbeck.runs.recipe_caches import Overrides, Source, cached_recipe, contexts_of, existing_caches, opened_cache
from limbeck.training.memory import memory_explained

Tick = Callable[[int, int], None]


def build_cache(
    recipe: Source,
    *,
    overrides: Overrides = None,
    seeds: int = 1,
    shard: Shard | None = None,
    reporting: Reporting | None = None,
    tick: Tick = lambda *_: None,
    trust: bool = False,
) -> int:
    """Fill the cache of a recipe's teacher, or what is missing of it; this is what ``limbeck cache build`` calls.

    With ``teacher.cache: views`` that is every view of every training image, for any seed; with ``epochs`` every epoch
    of the recipe's seed and of those after it. Each of several processes, on one machine or on machines with a shared
    folder, may fill a shard at the same time; a teacher that has to be trained is trained by one of them, for which the
    others wait.

    Args:
        recipe: A YAML file, the name of a packaged recipe, a mapping, or a recipe.
        overrides: Values by dotted key, such as ``{"teacher.cache": "views"}``.
        seeds: For how many seeds, with ``epochs``.
        shard: The part of each cache to fill; None for all of it.
        reporting: Where lines and progress go; nowhere by default.
        tick: Called with how many rows of how many are stored.
        trust: Whether the recipe may name any ``python:`` function, see :func:`limbeck.recipes.trust.check_trust`.

    Returns:
        How many rows were stored now.

    Raises:
        UserError: If anything given cannot be used, or the cache would be too large.
        RunError: If another process is filling it, or this shard of it, or the disk is full.

    Example:
        >>> import tempfile
        >>> recipe = {"data": {"name": "fashion_mnist_sample", "train_limit": 100}, "student": "resnet8",
        ...           "teacher": {"name": "resnet8", "training": {"epochs": 1, "precision": "fp32"}, "cache": "views"},
        ...           "training": {"precision": "fp32"}, "output": {"cache": tempfile.mkdtemp()}}
        >>> build_cache(recipe), build_cache(recipe)
        (100, 0)
    """
    reporting, stored = reporting or Reporting(), 0
    for cache in _caches(cached_recipe(recipe, overrides, trust=trust), seeds, reporting):
        stored += _filled(cache, shard, reporting.log, tick)
    return stored


def opened_stores(recipe: Recipe, seeds: int, reporting: Reporting) -> list[LogitStore]:
    """Open the caches of a recipe's teacher, which is made if it is not there yet, for others to fill.

    Args:
        recipe: The recipe.
        seeds: As for :func:`build_cache`.
        reporting: Where lines and progress go.

    Raises:
        UserError: As for :func:`build_cache`.
        RunError: If the teacher's training fails.
    """
    caches = _caches(cached_recipe(recipe, None, trust=True), seeds, reporting)
    return [cache.store for cache in caches]


def _caches(recipe: Recipe, seeds: int, reporting: Reporting) -> Iterator[RunCache]:
    contexts = contexts_of(recipe, seeds)
    check_cache(contexts[0])
    return (opened_cache(context, reporting) for context in contexts)


def _filled(cache: RunCache, shard: Shard | None, log: Log, tick: Tick) -> int:
    store, recipe, start = cache.store, cache.context.recipe, time.perf_counter()
    part = "" if shard is None else f"{shard.rows(store.spec.slots)}; "
    log(f"logit cache: {store}; {part}{len(missing(store, shard=shard)):,} rows to store")
    # Room for the other shards too, which fill the same disk.
    unstored, limit = store.spec.slots - len(store), recipe.teacher.cache_limit_gb
    require_room(logits_folder(recipe), store.spec, unstored, limit_gb=limit)
    precision, most = cache.fabric.autocast, cache.context.data.measuring_batch
    with memory_explained(f"logit cache {store.folder}", most, key=""):
        stored = fill(store, cache.teacher, cache.replay, shard=shard, precision=precision, tick=tick, batch_size=most)
    seconds = time.perf_counter() - start
    if shard is None:
        log(f"logit cache: complete, {stored:,} rows stored in {seconds:.1f} s")
    else:
        left = store.spec.slots - len(store)
        rest = f"{left:,} rows of other shards are missing" if left else "so is the cache"
        log(f"logit cache: {shard} is complete, {stored:,} rows stored in {seconds:.1f} s; {rest}")
    return stored


def check_cache_files(
    recipe: Source, *, overrides: Overrides = None, seeds: int = 1, log: Log = print, trust: bool = False
) -> None:
    """Compare every stored row with its checksum, and some with the teacher's present logits.

    Rows that do not match their checksums are marked as not stored, so that they are made again.

    Args:
        recipe: As for :func:`build_cache`.
        overrides: As for :func:`build_cache`.
        seeds: As for :func:`build_cache`.
        log: Called with a line for each cache.
        trust: As for :func:`build_cache`.

    Raises:
        UserError: If anything given cannot be used.
        RunError: If rows were damaged, or differ from the teacher.
    """
    for context, folder in existing_caches(cached_recipe(recipe, overrides, trust=trust), seeds, log):
        cache = opened_cache(context, Reporting(log))
        damaged = cache.store.verify()
        with cache.fabric.autocast():
            most, tolerance = context.data.measuring_batch, cache.tolerance
            comparison = compare(cache.store, cache.teacher, cache.replay, tolerance=tolerance, batch_size=most)
        compared = f"{comparison.rows} rows computed again, largest difference {comparison.difference:.3g}"
        log(f"logit cache: {cache.store}, {damaged} damaged; {compared}, up to {comparison.allowed:.3g} passes")
        if damaged:
            raise RunError(f"logit cache {folder}: {damaged} stored rows were damaged and will be made again")
        if not comparison.same:
            raise RunError(f"logit cache {folder}: differs from its teacher; delete it with `limbeck cache clear`")


def describe_caches(recipe: Source | None, *, overrides: Overrides = None, seeds: int = 1, log: Log = print) -> None:
    """Describe the caches of a recipe, or all there are: their size, what is missing, and who is filling which shard.

    Args:
        recipe: As for :func:`build_cache`; None for all caches in the default folder.
        overrides: As for :func:`build_cache`.
        seeds: As for :func:`build_cache`.
        log: Called with a line for each, and with further ones for one that is not full.

    Raises:
        UserError: If anything given cannot be used.
        RunError: If a cache that is being filled cannot be locked.
    """
    for folder in _folders(recipe, overrides, seeds, log):
        log(_line(folder))
        for line in unfilled(folder):
            log(f"  {line}")


def clear_caches(recipe: Source | None, *, overrides: Overrides = None, seeds: int = 1, log: Log = print) -> None:
    """Delete the caches of a recipe, or all there are.

    Args:
        recipe: As for :func:`build_cache`; None for all caches in the default folder.
        overrides: As for :func:`build_cache`.
        seeds: As for :func:`build_cache`.
        log: Called with a line for each.

    Raises:
        UserError: If anything given cannot be used.
        RunError: If another process is filling a cache just now.
    """
    for folder in _folders(recipe, overrides, seeds, log):
        line = _line(folder)
        with holding(folder):
            shutil.rmtree(folder)
        log(f"deleted: {line}")


def _folders(recipe: Source | None, overrides: Overrides, seeds: int, log: Log) -> Iterator[Path]:
    """Yield the caches of a recipe, or all there are, and log where there are none."""
    if recipe is not None:
        recipe = cached_recipe(recipe, overrides, only_reads=True)
        yield from (folder for _, folder in existing_caches(recipe, seeds, log))
        return
    parent = cache_folder() / "logits"
    folders = sorted(path for path in parent.iterdir() if path.is_dir()) if parent.is_dir() else []
    yield from folders
    if not folders:
        log(f"no logit caches in {parent}")


def _line(folder: Path) -> str:
    files = [path for path in folder.iterdir() if path.is_file()]
    taken = size(sum(getattr(path.stat(), "st_blocks", 0) * 512 for path in files))
    about, checks = read_about(folder), folder / "checks.bin"
    if about is None or not checks.is_file():
        return f"{folder}: damaged, takes {taken}"
    stored = np.count_nonzero(np.fromfile(checks, np.uint32)) / max(1, int(about.get("slots", 0)))
    return f"{about.get('label')}: {about.get('estimate')}, {stored:.1%} stored, takes {taken} ({folder})"
