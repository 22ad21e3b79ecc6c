"""The parts of a method that is one loss beside the cross-entropy, from nothing but its settings."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from limbeck.methods.fields import AUTO
from limbeck.methods.method import Layers, Matching, Parts, Term
from limbeck.validation import Settings


def one_loss(
    settings: Settings,
    *,
    name: str,
    loss: Callable[..., nn.Module],
    weight: str | None = None,
    replaceable: bool = False,
    **term: Any,
) -> Parts:
    """Make the parts of a method that is one loss of logits.

    Of the settings, ``ce_weight`` is the weight of the cross-entropy and ``warmup`` that of the :class:`Term`. The loss
    is weighted by the setting that ``weight`` names; without it by 1 beside a ``ce_weight``, else by ``alpha``, which
    leaves 1 - alpha for the cross-entropy. All other settings are arguments of the loss; a ``temperature`` of
    ``"auto"`` is measured on the teacher.

    Args:
        settings: The method's settings.
        name: The name of the term.
        loss: Makes the loss module from the remaining settings.
        weight: The setting that weighs the loss.
        replaceable: Whether a loss named on purpose replaces it in a composition.
        **term: Further fields of the :class:`Term`.

    Returns:
        The parts.

    Example:
        >>> from limbeck.losses import KDLoss
        >>> class Mine(Settings):
        ...     temperature: float = 4.0
        ...     alpha: float = 0.75
        >>> matching = one_loss(Mine(), name="kd", loss=KDLoss).matching
        >>> matching.ce_weight, matching.terms[0].weight, matching.terms[0].build(10)
        (0.25, 0.75, KDLoss(temperature=4.0, reduction='batchmean'))
    """
    arguments = settings.model_dump()
    if arguments.get("temperature") == AUTO:
        arguments["temperature"], term = 1.0, {"measured_temperature": True, **term}
    ce_weight, warmup = arguments.pop("ce_weight", None), arguments.pop("warmup", 0)
    weight = weight or ("alpha" if ce_weight is None else None)
    factor = arguments.pop(weight) if weight else 1.0
    if ce_weight is None:
        term = {"full_weight": 1.0, **term}
    terms = (Term(name, factor, partial(loss, **arguments), warmup=warmup, **term),)
    matching = Matching(1 - factor if ce_weight is None else ce_weight, terms, replaceable=replaceable)
    return Parts(matching=matching, teacher="any")


def one_feature_loss(settings: Settings, *, name: str, loss: Callable[..., nn.Module], layers: Layers = "all") -> Parts:
    """Make the parts of a method that is one loss of features, which stays beside any loss of logits.

    It is weighted by the setting ``NAME_weight``, or by 1 without it; ``warmup`` is that of the :class:`Term`, and all
    other settings are arguments of the loss.

    Args:
        settings: The method's settings.
        name: The name of the method and of the term.
        loss: Makes the loss module from the features' shapes and the remaining settings.
        layers: Which layers are compared unless the user names some.

    Returns:
        The parts.

    Example:
        >>> from limbeck.losses.features import SPLoss
        >>> class Mine(Settings):
        ...     sp_weight: float = 3000.0
        >>> one_feature_loss(Mine(), name="sp", loss=SPLoss, layers="last").extras[0].weight
        3000.0
    """
    arguments = settings.model_dump()
    weight, warmup = arguments.pop(f"{name}_weight", 1.0), arguments.pop("warmup", 0)
    loss = partial(loss, **arguments)
    return Parts(extras=(Term(name, weight, loss, features=True, layers=layers, warmup=warmup),), teacher="any")
