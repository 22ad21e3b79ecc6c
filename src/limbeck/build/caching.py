"""A run's logit cache: whether it has one, what it holds, and a teacher that reads it."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from limbeck.build.class_columns import class_columns
from limbeck.build.context import Context
from limbeck.build.data import Loaders
from limbeck.build.networks import input_adapter, placed
from limbeck.build.reporting import Reporting
from limbeck.build.teacher_settings import in_train_mode, teacher_precisions
from limbeck.build.teacher_store import cache_folder
from limbeck.build.teachers import build_teacher
from limbeck.cache import (
    CachedTeacher,
    CacheSpec,
    LogitStore,
    Replay,
    RowFormat,
    SourceReplay,
    missing,
    require_room,
    teacher_hash,
    wanted,
)
from limbeck.cache.inputs import InputSource
from limbeck.cache.teacher import TOLERANCE
from limbeck.data import Data, FolderSet, ImageSet
from limbeck.errors import UserError
from limbeck.models.calling import output_logits
from limbeck.randomness.seeding import generators_kept
from limbeck.recipes.schema import Recipe
from limbeck.reporting import Log
from limbeck.teachers import Teacher
from limbeck.training import make_fabric, resolve_device, uses_channels_last


def logits_folder(recipe: Recipe) -> Path:
    """Return the folder of all logit caches.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> logits_folder(load_recipe("quickstart", {"output.cache": "here"})).as_posix()
        'here/logits'
    """
    return cache_folder(recipe.output.cache) / "logits"


def why_uncached(recipe: Recipe) -> str | None:
    """Return why a run has no logit cache even if its recipe has ``teacher.cache``; None if it has one.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> why_uncached(load_recipe("quickstart", {"method": "lw_kd"}))
        "a lightweight teacher's logits are a table already"
    """
    source = recipe.source()
    if source == "lightweight":
        return "a lightweight teacher's logits are a table already"
    if source not in ("live", "self"):
        return f"method {recipe.method.name!r} has no network as teacher"
    if any(term.features for term in recipe.method.composed.terms):
        return f"method {recipe.method.name!r} compares features, which are not stored"
    return None


def is_cached(recipe: Recipe) -> bool:
    """Return whether a run has a logit cache.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> is_cached(load_recipe("quickstart", {"teacher.cache": "off"})), is_cached(load_recipe("quickstart"))
        (False, True)
    """
    return recipe.teacher.cache != "off" and why_uncached(recipe) is None


def stored_shape(context: Context) -> Any:
    """Return the shape of the teacher's output for a sample, or shapes by name; None where it is one row of logits.

    Raises:
        UserError: If the teacher cannot be made, or its output cannot be stored.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> stored_shape(Context(load_recipe("quickstart")))
    """
    if not context.task.stores_maps or not is_cached(context.recipe):
        return None
    return context.shared.once(("stored shape", context.teacher_key), lambda: _output_shape(context))


@torch.no_grad()
def _output_shape(context: Context) -> Any:
    key, settings = next(iter(context.teacher_settings.items()))
    network, data = copy.deepcopy(context.teacher_network(key).module).eval(), context.data
    # Views may have another size than the samples.
    augment, first = data.augment(context.recipe.data.augment), data.train.select(torch.arange(1))
    inputs = next(data.batches(first, batch_size=1, augment=augment).epoch(0)).inputs
    adapter = input_adapter(settings, data)
    output = context.task.call(network, inputs if adapter is None else adapter(inputs))
    columns = class_columns(settings, data, key)
    output = output if columns is None else columns(output)
    # An average of several networks has their main logits alone.
    return RowFormat.of(output_logits(output) if context.recipe.teacher.members else output).shape


def expected_spec(recipe: Recipe, data: Data, teacher: Teacher | None, shape: Any = None) -> CacheSpec:
    """Describe what a run's cache holds.

    Args:
        recipe: The run's recipe; it has a cache.
        data: Its data.
        teacher: Its live teacher; None for a description whose key stands for no teacher.
        shape: That of a sample's stored output, see :func:`stored_shape`; None for (C,).

    Raises:
        UserError: If such a cache is not possible.
    """
    mode, training = recipe.teacher.cache, recipe.training
    assert mode != "off"
    device = resolve_device(training.device)
    rows = RowFormat(shape or len(data.classes), recipe.teacher.cache_dtype, recipe.teacher.cache_top_k)
    source = {
        "teacher": teacher_hash(teacher) if teacher else "",
        "data": data.joined_fingerprint,
        # Spelled as in caches of earlier versions, which are found by it.
        "normalisation": [list(data.mean), list(data.std)],
        "precision": [device, teacher_precisions(recipe), uses_channels_last(training, device)],
    }
    augment, epochs = data.augment(recipe.data.augment), training.epochs if mode == "epochs" else 0
    network = recipe.student if recipe.source() == "self" else recipe.teacher
    label = f"{network.name or 'several teachers'} on {data.name}"
    labels = {"label": label, "unit": data.unit}
    return CacheSpec(
        mode, len(data.joined), rows, augment, seed=recipe.view_seed, epochs=epochs, source=source, **labels
    )


def check_cache(context: Context) -> None:
    """Check that a run's cache is possible and fits its limit and the disk; nothing is made.

    Raises:
        UserError: If it is not, or does not.
    """
    recipe = context.recipe
    if not is_cached(recipe):
        return
    if context.task.by_parts:
        why = f"but in task {context.task.name!r} the teacher is run on what the student finds"
        raise UserError(f"teacher.cache: got {recipe.teacher.cache!r}, {why}, expected off")
    if in_train_mode(recipe):
        key = "the train_mode of teacher.members" if recipe.teacher.members else "teacher.train_mode"
        got = f"teacher.cache: got {recipe.teacher.cache!r} with {key}"
        raise UserError(f"{got}, whose logits change with the batch; expected 'off'")
    spec = expected_spec(recipe, context.data, None, stored_shape(context))
    require_room(logits_folder(recipe), spec, 0, limit_gb=recipe.teacher.cache_limit_gb)


@dataclass(frozen=True, eq=False)
class RunCache:
    """The cache of a run, and what is needed to fill it.

    Attributes:
        context: The run.
        fabric: Its device and precision.
        teacher: The live teacher, on the device.
        store: The cache.
        log: Called with a line about each thing that happens.
    """

    context: Context
    fabric: Fabric
    teacher: Teacher
    store: LogitStore
    log: Log

    @classmethod
    def open(cls, context: Context, teacher: Teacher | None, log: Log) -> "RunCache":
        """Open the cache of a run, which has a teacher; the cache is made if it is not there yet.

        Raises:
            UserError: If it is too large, or cannot be opened.
        """
        assert teacher is not None
        recipe = context.recipe
        fabric = make_fabric(recipe.training)
        spec = expected_spec(recipe, context.data, teacher, stored_shape(context))
        store = LogitStore.open(logits_folder(recipe), spec, log=log)
        return cls(context, fabric, placed(teacher, recipe.training, fabric.device), store, log)

    @property
    def precision(self) -> str:
        """The precision in which the teacher computes its logits; of several the one that rounds most."""
        return max(teacher_precisions(self.context.recipe), key=TOLERANCE.__getitem__)

    @property
    def tolerance(self) -> float:
        """How far a stored row may be from the teacher's, as a share of the largest logit."""
        return TOLERANCE[self.precision]

    @property
    def replay(self) -> InputSource:
        """The inputs of any row, made again."""
        recipe, data, device = self.context.recipe, self.context.data, self.fabric.device
        layout = uses_channels_last(recipe.training, device.type)
        options: dict[str, Any] = {"device": device, "channels_last": layout, "workers": recipe.data.workers}
        split = data.joined
        if isinstance(split, ImageSet | FolderSet):
            return Replay(split, self.store.spec, data.mean, data.std, **options)
        return SourceReplay(data.source(split, self.store.spec.augment, **options), self.store.spec)

    def needed(self, seeds: Sequence[int]) -> torch.Tensor:
        """Return which rows the trainings of these seeds read, bool (slots,)."""
        recipe, spec = self.context.recipe, self.store.spec
        of_views = {seed: seed if recipe.data.view_seed is None else recipe.view_seed for seed in seeds}
        if self.context.data.unlabeled is None:
            return wanted(spec, set(of_views.values()), recipe.training.epochs)
        flags = torch.zeros(spec.slots, dtype=torch.bool)
        for seed, of_view in of_views.items():
            flags |= wanted(spec, [of_view], recipe.training.epochs, partial(self._read, seed))
        return flags

    def _read(self, seed: int, epoch: int) -> torch.Tensor:
        """Return the positions of an epoch, which has a part of the samples without labels."""
        recipe = self.context.recipe
        loaders = Loaders(self.context.data, recipe.data, recipe.training, self.fabric, seed)
        return loaders.partly_labeled().plan(epoch).order

    def cached(self) -> CachedTeacher:
        """Return a teacher that reads the cache, and holds no live one where all is stored."""
        # Not this object, which holds the live teacher.
        context, fabric, first = self.context, self.fabric, [self.teacher]

        def live() -> Teacher:
            return first.pop() if first else _rebuilt(context, fabric)

        return CachedTeacher(live, self.store, seed=context.recipe.view_seed, precision=self.precision, log=self.log)


def _rebuilt(context: Context, fabric: Fabric) -> Teacher:
    # In the middle of a training, whose draws must stay as they are.
    with generators_kept():
        teacher = build_teacher(context, Reporting()).teacher
    assert teacher is not None
    return placed(teacher, context.recipe.training, fabric.device)


def with_cache(context: Context, teacher: Teacher | None, log: Log) -> Teacher | None:
    """Put the recipe's logit cache in front of a run's teacher, if it has one.

    Args:
        context: The run.
        teacher: Its teacher, None for methods without one.
        log: Called with a line about the cache.

    Returns:
        The teacher to train with.

    Raises:
        UserError: If the cache is too large, or cannot be opened.
    """
    recipe = context.recipe
    if recipe.teacher.cache == "off" or teacher is None:
        return teacher
    if not is_cached(recipe):
        log(f"teacher.cache: is not used, as {why_uncached(recipe)}")
        return teacher
    cache = RunCache.open(context, teacher, log)
    needed = cache.needed([recipe.seed])
    unstored = len(missing(cache.store, needed))
    require_room(logits_folder(recipe), cache.store.spec, unstored, limit_gb=recipe.teacher.cache_limit_gb)
    share = 1 - unstored / int(needed.sum())
    log(f"logit cache: {cache.store}; {share:.1%} of what this run reads")
    return cache.cached()
