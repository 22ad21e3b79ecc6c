"""Whether a run's method can use the labels that its samples have: none for some of them, mixed ones."""

from typing import Any

import torch

from limbeck.build.caching import is_cached
from limbeck.build.context import Context
from limbeck.build.task import row_classes
from limbeck.data import Data
from limbeck.errors import UserError
from limbeck.methods import Term
from limbeck.training.mixing import Mixer
from limbeck.training.settings import MixSettings


def check_labels(context: Context) -> None:
    """Check a run's data, task and method against ``data.unlabeled`` and ``training.mix``.

    Args:
        context: The run.

    Raises:
        UserError: If the method cannot use labels as they are.
    """
    context.task.check_targets(_first_targets(context.data), context.data.name)
    _check_rows_of_two(context)
    _check_mixing(context)
    if context.data.unlabeled is not None and (why := why_needs_labels(context)) is not None:
        got = f"method {context.recipe.method.name!r}: {why}, but data.unlabeled has images without labels"
        raise UserError(f"{got}; expected a teacher alone to supervise them, such as with kd or dist")


def _first_targets(data: Data) -> Any:
    first = data.train.select(torch.arange(min(2, len(data.train))))
    return next(data.batches(first, batch_size=2).epoch(0)).targets


def _check_rows_of_two(context: Context) -> None:
    top_k, classes = context.recipe.teacher.cache_top_k, len(context.data.classes)
    if is_cached(context.recipe) and top_k is not None and row_classes(context.task, context.data) != classes:
        got = f"teacher.cache_top_k: got {top_k} with task {context.task.name!r}"
        raise UserError(f"{got}, whose classes have probabilities of their own; expected none")
    average = context.recipe.teacher.average
    if context.source == "live" and average != "logits" and row_classes(context.task, context.data) != classes:
        got = f"teacher.average: got {average!r} with task {context.task.name!r}"
        raise UserError(f"{got}, whose classes have probabilities of their own; expected 'logits'")


def _check_mixing(context: Context) -> None:
    recipe, data, task = context.recipe, context.data, context.task
    trainings = {f"{key}.training": settings.training for key, settings in context.teacher_settings.items()}
    for key, training in {**trainings, "training": recipe.training}.items():
        if training is not None and training.mix.mixes:
            try:
                Mixer(training.mix, task).check(data.example(2))
            except UserError as error:
                raise UserError(f"{key}{str(error).removeprefix('training')}") from None
    if recipe.training.mix.mixes and (conflict := _conflict(context)) is not None:
        raise UserError(f"training.mix: got {_mixing(recipe.training.mix)} with {conflict}")


def _mixing(mix: MixSettings) -> str:
    return " and ".join(f"{name} {value:g}" for name, value in (("mixup", mix.mixup), ("cutmix", mix.cutmix)) if value)


def _conflict(context: Context) -> str | None:
    recipe = context.recipe
    if context.data.unlabeled is not None:
        return "data.unlabeled, whose images have no labels to mix; expected one of the two"
    if is_cached(recipe):
        unmixed = "but its logits are those of samples that are not mixed"
        return f"teacher.cache {recipe.teacher.cache!r}, {unmixed}; expected 'off'"
    if any(contrasts_samples(term) for term in context.method.terms):
        return "crd, which keeps the features of each training sample; expected another method"
    return None


def why_needs_labels(context: Context) -> str | None:
    """Return why a run's method needs the labels of all samples; None where a teacher alone can supervise a sample.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> why_needs_labels(Context(load_recipe("quickstart", {"method": "dkd"})))
        'its loss dkd needs labels'
        >>> why_needs_labels(Context(load_recipe("quickstart", {"method": "kd"})))
    """
    return _teacher_needs_labels(context) or _method_needs_labels(context)


def _teacher_needs_labels(context: Context) -> str | None:
    settings = context.recipe.teacher
    if context.source is None:
        return "has no teacher"
    if context.source not in ("live", "self"):
        return f"the logits of its {context.source} teacher are made from labels"
    if context.source == "live" and settings.members and settings.average == "confidence":
        return "teacher.average 'confidence' weighs teachers by the labels"
    return None


def _method_needs_labels(context: Context) -> str | None:
    method = context.method
    if method.weighing is not None and method.weighing.by_row:
        return "weigh.by_row weighs samples by their labels"
    needing = [term for term in method.terms if needs_labels(term, row_classes(context.task, context.data))]
    if any(contrasts_samples(term) for term in needing):
        return "crd contrasts samples of different classes"
    if len(needing) < len(method.terms):
        return None
    names = [term.name for term in needing]
    return f"its loss{'es' if len(names) > 1 else ''} {' and '.join(names)} need{'s' if len(names) == 1 else ''} labels"


def needs_labels(term: Term, num_classes: int) -> bool:
    """Return whether a term leaves out the samples that have no label.

    Example:
        >>> from limbeck.losses import DKDLoss, KDLoss
        >>> needs_labels(Term("dkd", 1.0, DKDLoss), 10), needs_labels(Term("kd", 1.0, KDLoss), 10)
        (True, False)
    """
    if term.features:
        return contrasts_samples(term)
    return bool(getattr(term.build(num_classes), "needs_labels", False))


def contrasts_samples(term: Term) -> bool:
    """Return whether a term keeps features of each training sample beside its class, as CRD does.

    Example:
        >>> from limbeck.losses import KDLoss
        >>> contrasts_samples(Term("kd", 1.0, KDLoss))
        False
    """
    return term.features and term.name.partition("_")[0] == "crd"
