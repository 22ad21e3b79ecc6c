"""The proxies of ``weigh`` and ``tame``: two students trained with labels alone, on half of the training set each."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from limbeck.build.context import Context
from limbeck.build.label_students import label_student_settings, train_on_labels
from limbeck.build.networks import create_network
from limbeck.build.reporting import Reporting
from limbeck.build.teacher_training import trained_folder
from limbeck.data import Data
from limbeck.data.split import strata
from limbeck.errors import UserError
from limbeck.randomness.hashing import derived_seed
from limbeck.recipes.network_settings import NetworkTeacherSettings
from limbeck.recipes.schema import Recipe
from limbeck.selection import halves
from limbeck.training import check_schedule

_STREAM = 5


def has_proxies(recipe: Recipe) -> bool:
    """Return whether a run's method measures its teacher beside proxies.

    One whose logits depend on the labels is weighed without.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> [has_proxies(load_recipe("quickstart", {"method": name})) for name in ("weigh+kd", "weigh+lw_kd", "kd")]
        [True, False, False]
    """
    taming, weighing = recipe.method.composed.taming, recipe.method.composed.weighing
    weighs = weighing is not None and weighing.needs_measuring and recipe.source() in ("live", "self")
    return weighs or (taming is not None and taming.needs_proxies)


def check_proxies(recipe: Recipe, data: Data) -> None:
    """Raise ``UserError`` if a run has proxies, and half of the training set is too little for their training.

    Args:
        recipe: The run's recipe.
        data: Its data.
    """
    if not has_proxies(recipe):
        return
    first, training = first_half(recipe, data), recipe.training
    smallest = min(int(first.sum()), int((~first).sum()))
    if training.batch_size > smallest:
        got = f"training.batch_size: got {training.batch_size} with weigh or tame"
        raise UserError(f"{got}, expected at most {smallest} {data.unit}, half of the training set")
    # A last batch that is smaller counts, unless it is dropped.
    steps = (smallest if training.drop_last else smallest + training.batch_size - 1) // training.batch_size
    try:
        check_schedule(training.schedule, epochs=training.epochs, steps=steps)
    except UserError as error:
        raise UserError(f"proxies of weigh or tame, half of the training set: {error}") from error


def first_half(recipe: Recipe, data: Data) -> Tensor:
    """Return which samples the first proxy is trained on, (samples,) bool; it follows from ``teacher.seed``."""
    labels = strata(data.train.labels.cpu())
    return halves(labels, torch.arange(len(labels)), seed=recipe.teacher.seed)


def trained_proxies(context: Context, reporting: Reporting) -> tuple[nn.Module, nn.Module]:
    """Train the two proxies of a run, unless that has been done before, and return them on the CPU.

    They are the student's network, trained as the student is, for as long, with the labels alone. They are kept beside
    trained teachers, by their settings, code and data, so that methods and seeds share them; one whose training was
    stopped is resumed.

    Args:
        context: The run.
        reporting: Where lines and progress go.

    Raises:
        UserError: If the settings do not fit the data, or a kept proxy is damaged.
        RunError: If a training fails.
    """
    first = first_half(context.recipe, context.data)
    return _proxy(context, first, "proxy 1", reporting), _proxy(context, ~first, "proxy 2", reporting)


def has_kept_proxies(context: Context) -> bool:
    """Return whether the two proxies of a run were trained before.

    Args:
        context: The run.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> settings = {"method": "weigh+kd", "data.train_limit": 100, "output.cache": "runs/none"}
        >>> has_kept_proxies(Context(load_recipe("quickstart", settings)))
        False
    """
    first = first_half(context.recipe, context.data)
    return all(_folder(context, half, f"proxy {n}").is_dir() for n, half in ((1, first), (2, ~first)))


def _untrained(context: Context, half: Tensor, role: str) -> tuple[NetworkTeacherSettings, nn.Module, Data]:
    """Return the settings of a proxy, its network before the training, and its half of the data."""
    data, settings = context.data, _settings(context.recipe, role)
    network = create_network(settings, data, role=role, seed=settings.seed).module
    return settings, network, replace(data, train=data.train.select(half.nonzero()[:, 0]))


def _folder(context: Context, half: Tensor, role: str) -> Path:
    return trained_folder(context.recipe, *_untrained(context, half, role))


def _proxy(context: Context, half: Tensor, role: str, reporting: Reporting) -> nn.Module:
    settings, network, own_half = _untrained(context, half, role)
    done = train_on_labels(context.recipe, settings, network, own_half, reporting, role)
    reporting.log(f"{role} {settings.name}: {done.about}")
    return network


def _settings(recipe: Recipe, role: str) -> NetworkTeacherSettings:
    training = recipe.training.model_copy(update={"temperature_scaling": False})
    seed = derived_seed(recipe.teacher.seed, _STREAM, int(role[-1])) % 2**32
    return label_student_settings(recipe, training, seed)
