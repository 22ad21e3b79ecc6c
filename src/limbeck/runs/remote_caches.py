"""The commands ``limbeck cache push`` and ``pull``: a recipe's logit caches, and their teachers, elsewhere."""

from collections.abc import Callable, Iterator
from pathlib import Path

from limbeck.build.caching import RunCache, check_cache, expected_spec, logits_folder, stored_shape
from limbeck.build.context import Context
from limbeck.build.reporting import Reporting
from limbeck.build.teacher_store import made_once
from limbeck.build.teacher_training import trained_folder
from limbeck.build.teachers import build_teacher
from limbeck.cache import require_room
from limbeck.cache.manifest import Manifest, read_manifest
from limbeck.cache.remote import RemoteFolder
from limbeck.cache.remote_files import fetch_files, is_same, send_files
from limbeck.cache.remote_rows import fetch_rows, send_rows
from limbeck.errors import RunError, UserError
from limbeck.reporting import Log
from limbeck.runs.recipe_caches import Overrides, Source, cached_recipe, contexts_of, existing_caches, opened_cache

Tick = Callable[[int, int], None]
# Notes on a training, such as how long it took: two trainings to the same weights differ in them.
_NOTES = {"summary.json", "metrics.csv"}
_LISTED = 3


def push_cache(
    recipe: Source,
    url: str,
    *,
    overrides: Overrides = None,
    seeds: int = 1,
    log: Log = print,
    tick: Tick = lambda *_: None,
    trust: bool = False,
) -> int:
    """Put the logit caches of a recipe elsewhere, and the teachers that limbeck trained for it.

    The files lie under ``URL/logits/KEY`` and ``URL/teachers/KEY`` in parts with checksums. What is there already is
    not sent again, so that a push that was stopped continues. One push of a cache at a time.

    Args:
        recipe: As for :func:`limbeck.runs.cache_commands.build_cache`.
        url: Where to, as fsspec takes it: ``s3://bucket/folder``, ``gs://bucket/folder``, a folder.
        overrides: Values by dotted key.
        seeds: For how many seeds, with ``epochs``.
        log: Called with lines about what happens.
        tick: Called with how many parts of how many of a cache are there.
        trust: Whether the recipe may name any ``python:`` function.

    Returns:
        How many parts were sent.

    Raises:
        UserError: If anything given cannot be used, nothing is stored yet, or other things are there.
        RunError: If the URL cannot be reached or written.

    Example:
        >>> push_cache("quickstart", "clowd://bucket")
        Traceback (most recent call last):
        limbeck.errors.UserError: URL 'clowd://bucket': Protocol not known: clowd; expected such as s3://..., ...
    """
    remote = RemoteFolder.open(url)
    recipe = cached_recipe(recipe, overrides, trust=trust)
    existing = list(existing_caches(recipe, seeds, log))
    if not existing:
        raise UserError("cache push: nothing is stored for this recipe; expected `limbeck cache build` before")
    sent = sum(_push_teacher(folder, remote, log) for folder in _teacher_folders(existing[0][0]))
    for context, _ in existing:
        store, there = opened_cache(context, Reporting()).store, remote.child("logits")
        done = send_rows(store, there.child(store.spec.key), tick=tick)
        sent += done.sent
        rows = f"{done.rows:,} of {store.spec.slots:,} rows in {done.parts} parts"
        log(f"logit cache: {store.spec.label}, {rows}, {done.sent} sent now ({there.url}/{store.spec.key})")
    return sent


def pull_cache(
    recipe: Source,
    url: str,
    *,
    overrides: Overrides = None,
    seeds: int = 1,
    log: Log = print,
    tick: Tick = lambda *_: None,
    trust: bool = False,
) -> int:
    """Fetch the logit caches of a recipe, and its trained teachers, from where they were pushed to.

    Nothing is trained: a cache belongs to the very weights that made it. A pull that was stopped continues.

    Args:
        recipe: As for :func:`limbeck.runs.cache_commands.build_cache`.
        url: Where from, as given to :func:`push_cache`.
        overrides: Values by dotted key.
        seeds: For how many seeds, with ``epochs``.
        log: Called with lines about what happens.
        tick: Called with how many parts of how many of a cache are here.
        trust: Whether the recipe may name any ``python:`` function.

    Returns:
        How many rows were stored now.

    Raises:
        UserError: If anything given cannot be used, the URL has no such teacher or cache, or has another one.
        RunError: If the URL cannot be reached, or something in it is damaged.

    Example:
        >>> pull_cache("quickstart", "clowd://bucket")
        Traceback (most recent call last):
        limbeck.errors.UserError: URL 'clowd://bucket': Protocol not known: clowd; expected such as s3://..., ...
    """
    remote, stored = RemoteFolder.open(url), 0
    recipe = cached_recipe(recipe, overrides, trust=trust)
    contexts = contexts_of(recipe, seeds)
    check_cache(contexts[0])
    for folder in _teacher_folders(contexts[0]):
        _pull_teacher(folder, remote, log)
    for context in contexts:
        stored += _pull_rows(context, remote, log, tick)
    return stored


def _teacher_folders(context: Context) -> Iterator[Path]:
    """Yield where the networks of a teacher that limbeck trains are kept."""
    for key, settings in context.teacher_settings.items():
        if settings.training is not None:
            network = context.teacher_network(key).module
            yield trained_folder(context.recipe, settings, network, context.data)


def _teacher(remote: RemoteFolder, folder: Path) -> tuple[RemoteFolder, Manifest | None]:
    there = remote.child("teachers").child(folder.name)
    return there, read_manifest(there, "teacher", folder.name)


def _require_same(manifest: Manifest, folder: Path, there: RemoteFolder) -> None:
    names = {*manifest.files, *(path.name for path in folder.iterdir() if path.is_file())} - _NOTES
    if not is_same(manifest, folder, [name for name in names if not name.startswith(".")]):
        remedy = "delete one of the two, with the logit caches that it made"
        raise UserError(f"{there.url}: holds other weights than {folder}, from another training; {remedy}")


def _push_teacher(folder: Path, remote: RemoteFolder, log: Log) -> int:
    there, manifest = _teacher(remote, folder)
    if manifest is not None:
        _require_same(manifest, folder, there)
    sent = send_files(folder, there, folder.name)
    log(f"teacher: {sent} parts sent ({there.url})")
    return sent


def _pull_teacher(folder: Path, remote: RemoteFolder, log: Log) -> None:
    there, manifest = _teacher(remote, folder)
    if manifest is None and not folder.is_dir():
        raise _absent("teacher", remote.child("teachers"), folder.name)
    if manifest is None:
        return
    if folder.is_dir():
        _require_same(manifest, folder, there)
        return
    made_once(folder, lambda partial: fetch_files(manifest, there, partial), log)
    log(f"teacher: fetched from {there.url} (kept in {folder})")


def _pull_rows(context: Context, remote: RemoteFolder, log: Log, tick: Tick) -> int:
    # The weights are there: nothing is trained now.
    teacher, recipe, parent = build_teacher(context, Reporting()).teacher, context.recipe, remote.child("logits")
    key = expected_spec(recipe, context.data, teacher, stored_shape(context)).key
    there = parent.child(key)
    # Before the cache is made here.
    if read_manifest(there, "logits", key) is None:
        raise _absent("logit cache", parent, key)
    store = RunCache.open(context, teacher, log).store
    missing = store.spec.slots - len(store)
    require_room(logits_folder(recipe), store.spec, missing, limit_gb=recipe.teacher.cache_limit_gb)
    stored = fetch_rows(store, there, tick=tick)
    if stored is None:
        raise RunError(f"{there.url}: its manifest was deleted meanwhile; push again")
    log(f"logit cache: {store}; {stored:,} rows fetched from {there.url}")
    return stored


def _absent(what: str, parent: RemoteFolder, key: str) -> UserError:
    """Build the error for what is not elsewhere, with what is."""
    names = parent.names()
    if key in names:
        return UserError(f"{parent.url}/{key}: {what} is not complete; expected `limbeck cache push` to end before")
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    found = f"has {', '.join(names[:_LISTED])}{more}" if names else "is empty"
    expected = "expected `limbeck cache push` with the same recipe before"
    return UserError(f"{parent.url}/{key}: no such {what}; {parent.url} {found}; {expected}")
