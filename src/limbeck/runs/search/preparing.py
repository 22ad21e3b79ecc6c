"""The recipes of a search: its trials', with a validation split cut from training, and its final table's."""

import math
from collections.abc import Sequence
from typing import Any

from limbeck.build.caching import check_cache, is_cached
from limbeck.build.checks import check_method, check_student
from limbeck.build.context import Context
from limbeck.build.data import load_data
from limbeck.build.proxies import has_proxies
from limbeck.build.shared import Shared
from limbeck.errors import UserError
from limbeck.recipes.network_settings import NetworkTeacherSettings
from limbeck.recipes.schema import Recipe
from limbeck.reporting import Log
from limbeck.runs.method_recipes import method_recipe
from limbeck.runs.search.space import Space
from limbeck.training.settings import NOTHING_CHOSEN

# What a run may choose by the validation split would make its figure there too good.
_OF_A_TRIAL = {"checkpoint_every": 1, **NOTHING_CHOSEN}


def trial_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe that a search's trials are made of: it has a validation split, by which they are compared.

    Where the data have none, ``search.validation`` is the share of the training samples that is cut off, by
    ``data.split_seed``. With ``data.train_limit`` that many samples are training and validation split together. A
    teacher that the recipe trains has none of the validation samples either.

    Args:
        recipe: The search's recipe.

    Raises:
        UserError: If the data cannot be loaded, or divided so.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> cut = trial_recipe(load_recipe("quickstart", {"teacher.train_limit": 10000}))
        >>> cut.data.validation, cut.data.train_limit, cut.teacher.train_limit
        (0.04, 1600, 9600)
    """
    # A trial is measured where it is compared, which the recipe of a training to the end has once.
    changes = {"evaluate_every": recipe.training.epochs, **_OF_A_TRIAL}
    training = recipe.training.model_copy(update=changes)
    recipe = recipe.model_copy(update={"training": training})
    if recipe.data.validation:
        return recipe
    whole = load_data(recipe.data.model_copy(update={"train_limit": None, "unlabeled": None}))
    if whole.validation is not None:
        return recipe
    share, limit = recipe.search.validation, recipe.data.train_limit
    if limit is None:
        return _cut(recipe, share, None, len(whole.train) - math.ceil(share * len(whole.train)))
    held_out = round(share * limit)
    if not 0 < held_out < limit:
        raise UserError(
            f"search.validation: got {share}, expected one that leaves some of {limit} {whole.unit} on both sides"
        )
    return _cut(recipe, held_out / len(whole.train), limit - held_out, len(whole.train) - held_out)


def _cut(recipe: Recipe, share: float, limit: int | None, left: int) -> Recipe:
    data = recipe.data.model_copy(update={"validation": share, "train_limit": limit})
    teacher = _limited(recipe.teacher, left)
    members = tuple(_limited(member, left) for member in recipe.teacher.members)
    teacher = teacher.model_copy(update={"members": members})
    return recipe.model_copy(update={"data": data, "teacher": teacher})


def _limited(teacher: Any, left: int) -> Any:
    """Return a teacher's settings that need no more training samples than are left."""
    settings: NetworkTeacherSettings = teacher
    if settings.train_limit is None or settings.train_limit <= left:
        return settings
    return settings.model_copy(update={"train_limit": left})


def final_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe of the final table: on all training samples, unless the runs themselves choose by some of them.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> final_recipe(load_recipe("quickstart", {"data.validation": 0.1})).data.validation
        0.0
    """
    if chooses(recipe):
        return recipe
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"validation": 0.0})})


def chooses(recipe: Recipe) -> bool:
    """Return whether a run of the recipe chooses an epoch or a temperature by its validation split.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> chooses(load_recipe("quickstart"))
        False
    """
    training = recipe.training
    return training.chooses or training.temperature_scaling


def checked_space(recipe: Recipe, space: Space, shared: Shared, log: Log) -> Space:
    """Check every method of a space on the trials' data, before anything is trained.

    Args:
        recipe: The trials' recipe.
        space: The space.
        shared: What this process has built for the search.
        log: Called with a line for each of the default methods that the recipe cannot run.

    Returns:
        The space; without the default methods that the recipe cannot run, where it names none itself.

    Raises:
        UserError: If a method that the recipe names cannot run, or none of the default ones can.
    """
    first = Context(recipe, shared)
    student = first.student().module
    check_student(first, student)
    _check_batches(first, space)
    refused: dict[str, UserError] = {}
    for name in space.methods:
        context = Context(method_recipe(recipe, name, recipe.seed), shared)
        try:
            check_method(context, student)
            if space.training:
                _check_shared(context, name)
        except UserError as error:
            if recipe.search.methods is not None or name in recipe.search.settings:
                raise UserError(f"search.methods: {name}: {error}") from error
            refused[name] = error
    if len(refused) == len(space.methods):
        raise UserError(f"search.methods: {next(iter(refused))}: {next(iter(refused.values()))}")
    for name, reason in refused.items():
        log(f"search: without {name}: {reason}")
    return space.without(tuple(refused))


def _check_batches(context: Context, space: Space) -> None:
    searched, data = space.training.get("batch_size"), context.data
    ends = () if searched is None or data.unlabeled is not None else searched.ends
    sizes = [size for size in ends if isinstance(size, int)]
    if sizes and max(sizes) > len(data.train):
        raise UserError(
            f"search.training.batch_size: got {max(sizes)}, expected at most {len(data.train)} {data.unit}, which are"
            " left without the validation split"
        )


def _check_shared(context: Context, name: str) -> None:
    """Refuse a teacher that is trained as the student is, for each value of the searched training anew."""
    if context.source == "self" or has_proxies(context.recipe):
        what = "self-teacher" if context.source == "self" else "teacher's reliability"
        got = f"got settings of the training beside {name}, whose {what} depends on them"
        raise UserError(f"search.training: {got}; expected one of the two, as all trials share one teacher")


def with_shared_logits(recipe: Recipe, methods: Sequence[str], shared: Shared, log: Log) -> Recipe:
    """Return the trials' recipe with a logit cache, where one is possible: all trials read the same logits.

    All have one seed, so that they see the same views: the teacher computes no more than for a single run.

    Args:
        recipe: The trials' recipe.
        methods: The methods that are searched.
        shared: What this process has built for the search.
        log: Called with a line about it.
    """
    if recipe.teacher.cache != "off":
        return recipe
    for mode in ("views", "epochs"):
        cached = recipe.model_copy(update={"teacher": recipe.teacher.model_copy(update={"cache": mode})})
        contexts = [Context(method_recipe(cached, name, recipe.seed), shared) for name in methods]
        if not any(is_cached(context.recipe) for context in contexts):
            return recipe
        try:
            for context in contexts:
                check_cache(context)
        except UserError:
            continue
        log(f"the trials share the teacher's logits (teacher.cache: {mode})")
        return cached
    log("the trials run the teacher live: its logits cannot be stored, see teacher.cache")
    return recipe
