"""What the runs of a recipe take: seconds by run, and what is done once for all of them."""

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from limbeck.build.caching import expected_spec, is_cached, stored_shape
from limbeck.build.context import Context
from limbeck.build.data import Loaders
from limbeck.build.proxies import has_proxies
from limbeck.build.teachers import is_network_trained, is_trained, live_teacher, teacher_data
from limbeck.build.trial import Trial, forward_seconds, tried
from limbeck.cache.spec import CacheSpec
from limbeck.models.estimators.network import EstimatorNetwork
from limbeck.recipes.network_settings import NetworkTeacherSettings
from limbeck.recipes.schema import Recipe
from limbeck.training import make_fabric

SELF, PROXIES = "self-teacher's training", "training of two students on half of the data each, to measure the teacher"


@dataclass(frozen=True)
class SharedCost:
    """What is done once for several runs.

    Attributes:
        seconds: How long it takes.
        methods: The methods whose runs need it.
        each_seed: Whether the runs of another seed need another one.
    """

    seconds: float
    methods: frozenset[str]
    each_seed: bool = False


@dataclass(frozen=True)
class Costs:
    """Seconds, estimated from a few steps.

    Attributes:
        trial: The student's steps.
        teacher: The teacher's forward pass for a batch, by its source; None where it was not timed.
        run: A run, by method.
        once: What all runs share, by what it is.
    """

    trial: Trial
    teacher: Mapping[str, float | None]
    run: Mapping[str, float]
    once: Mapping[str, SharedCost]

    def comparison(self, methods: Sequence[str], seeds: int) -> float:
        """Return the seconds of a comparison's runs, one after another."""
        needed = [once for once in self.once.values() if once.methods.intersection(methods)]
        shared = sum(once.seconds * (seeds if once.each_seed else 1) for once in needed)
        return shared + seeds * sum(self.run[name] for name in methods)


def estimated(contexts: Mapping[str, Context], downloaded: Collection[str] = (), seeds: int = 1) -> Costs:
    """Time a few steps of the student and of each teacher, and estimate what the runs take.

    Args:
        contexts: A run for each method, by its name in the comparison; all passed their checks.
        downloaded: The recipe's keys of networks whose weights are not there yet; no run trains them.
        seeds: How many runs of each method there are.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> recipe = {"data": {"name": "fashion_mnist_sample", "train_limit": 100}, "student": "resnet8"}
        >>> costs = estimated({"none": Context(load_recipe({**recipe, "method": "none"}))})
        >>> costs.run["none"] == costs.comparison(["none"], seeds=1), costs.once
        (True, {})
    """
    first = next(iter(contexts.values()))
    trial = tried(first, first.student().module, first.recipe.training)
    by_source = {str(context.source): context for context in contexts.values() if context.source in ("live", "self")}
    teacher = {source: _teacher_forward(context) for source, context in by_source.items()}
    # A batch takes as long with unlabeled samples as without, but an epoch has more of them.
    trials = {name: replace(trial, steps=_steps(context)) for name, context in contexts.items()}
    run = {name: _run(context, trials[name], teacher.get(str(context.source))) for name, context in contexts.items()}
    labeled = replace(trial, steps=_steps(first, labeled=True))
    once: dict[str, SharedCost] = {}
    for source, context in by_source.items():
        users = frozenset(name for name, user in contexts.items() if str(user.source) == source)
        once |= {what: SharedCost(s, users) for what, s in _trainings(context, labeled, downloaded).items()}
        once |= _filling(context, teacher[source], users, seeds)
    if measured := frozenset(name for name, context in contexts.items() if has_proxies(context.recipe)):
        once[PROXIES] = SharedCost(_proxies(first, labeled), measured)
    return Costs(trial, teacher, run, once)


def _steps(context: Context, *, labeled: bool = False) -> int:
    recipe = context.recipe
    loaders = Loaders(context.data, recipe.data, recipe.training, make_fabric(recipe.training), recipe.seed)
    return len(loaders.train() if labeled else loaders.for_student())


def _run(context: Context, trial: Trial, teacher: float | None) -> float:
    live = 0.0 if teacher is None or is_cached(context.recipe) else teacher
    settings, workers, selection = context.recipe.training, context.recipe.data.workers, context.method.selection
    seconds = trial.training(settings, workers=workers, teacher=live)
    if selection is not None and selection.needs_student:
        # The proxy that is scored is trained in each run, and measured on nothing.
        proxy = settings.model_copy(update={"epochs": selection.proxy_epochs})
        labeled = replace(trial, steps=_steps(context, labeled=True), measuring=0.0)
        seconds += labeled.training(proxy, workers=workers)
    return seconds


def _teacher_forward(context: Context) -> float | None:
    """Return the seconds of a batch; None for what cannot be run before it is fitted, or only on a student's output."""
    if context.task.by_parts or any(_is_estimator(context, key) for key in context.teacher_settings):
        return None
    device, seconds = make_fabric(context.recipe.training).device, 0.0
    for key, settings in context.teacher_settings.items():
        teacher = live_teacher(context, key, settings, copy.deepcopy(context.teacher_network(key).module)).to(device)
        seconds += forward_seconds(context, teacher.answer, context.recipe.training)
    return seconds


def _trainings(context: Context, trial: Trial, downloaded: Collection[str]) -> dict[str, float]:
    if is_trained(context):
        return {}
    if context.source == "self":
        return {SELF: trial.training(context.recipe.training, workers=context.recipe.data.workers)}
    return {
        f"training of {key} {settings.name}": _teacher_training(context, key, settings)
        for key, settings in context.teacher_settings.items()
        if settings.training is not None
        and key not in downloaded
        and not _is_estimator(context, key)
        and not is_network_trained(context, key)
    }


def _is_estimator(context: Context, key: str) -> bool:
    return isinstance(context.teacher_network(key).module, EstimatorNetwork)


def _teacher_training(context: Context, key: str, settings: NetworkTeacherSettings) -> float:
    assert settings.training is not None
    taken = tried(context, context.teacher_network(key).module, settings.training, teacher_data(context, key))
    return taken.training(settings.training, workers=context.recipe.data.workers)


def _proxies(context: Context, trial: Trial) -> float:
    """Return the seconds of two trainings of half of the steps each, both measured as often as a run."""
    settings = context.recipe.training
    evaluations = -(-settings.epochs // settings.evaluate_every)
    return trial.training(settings, workers=context.recipe.data.workers) + evaluations * trial.measuring


def _filling(context: Context, teacher: float | None, users: frozenset[str], seeds: int) -> dict[str, SharedCost]:
    recipe = context.recipe
    if teacher is None or not is_cached(recipe):
        return {}
    spec = expected_spec(recipe, context.data, None, stored_shape(context))
    each_seed = has_cache_by_seed(recipe)
    streams = 1 if each_seed or recipe.data.view_seed is not None else seeds
    share = min(1.0, _steps(context) * recipe.training.batch_size / spec.samples)
    batches = _read_rows(spec, recipe.training.epochs * streams * share) / recipe.training.batch_size
    what = f"logits of the {context.source} teacher for the cache, as far as they are not stored"
    return {what: SharedCost(batches * teacher, users, each_seed)}


def has_cache_by_seed(recipe: Recipe) -> bool:
    """Return whether the runs of each seed have a logit cache of their own.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> [has_cache_by_seed(load_recipe("quickstart", {"teacher.cache": mode})) for mode in ("views", "epochs")]
        [False, True]
    """
    return recipe.teacher.cache == "epochs" and recipe.data.view_seed is None


def _read_rows(spec: CacheSpec, drawn: float) -> float:
    """Return how many rows are read, each of which is computed once, where a sample is drawn so often."""
    if spec.mode == "epochs":
        return spec.samples * drawn
    return float(spec.slots * (1 - (1 - 1 / spec.per_sample) ** drawn))
