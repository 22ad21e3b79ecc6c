"""Losses and targets from outside as methods, made from their signatures and docstrings."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, get_type_hints

from pydantic import PydanticSchemaGenerationError, TypeAdapter, create_model
from torch import Tensor, nn

from limbeck.errors import UserError, shortened, unknown_name
from limbeck.methods.card import Card, Entry
from limbeck.methods.fields import Alpha, LabelWeight, Temperature
from limbeck.methods.method import RESERVED, Parts, free_name
from limbeck.methods.one_loss import one_loss
from limbeck.rows import full
from limbeck.validation import Settings

Loss = Callable[..., Tensor] | type[nn.Module]
# What limbeck passes itself; every other parameter is a setting.
_PASSED = ("student_logits", "teacher_logits", "labels", "weight")


class FunctionLoss(nn.Module):
    """A function of both sides' logits as a loss module.

    The function gets the logits in fp32, the teacher's without a gradient, and of ``labels`` and ``weight`` what it has
    a parameter for.

    Args:
        function: Called as ``function(student_logits, teacher_logits, [labels=, weight=,] **settings)``.
        **settings: Its further arguments.

    Example:
        >>> import torch
        >>> FunctionLoss(lambda student_logits, teacher_logits: (student_logits - teacher_logits).square().mean())(
        ...     torch.ones(4, 3), torch.zeros(4, 3)
        ... )
        tensor(1.)
    """

    def __init__(self, function: Callable[..., Tensor], **settings: Any) -> None:
        super().__init__()
        self.function, self.settings = function, settings
        self._taken = {"labels", "weight"} & inspect.signature(function).parameters.keys()
        self.needs_labels = "labels" in self._taken

    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        labels: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> Tensor:
        """Compute the loss of (N, C) logits.

        Raises:
            UserError: If rows are weighted, as by a selection, and the function has no parameter for it.
        """
        if weight is not None and "weight" not in self._taken:
            name = getattr(self.function, "__name__", "the loss")
            raise UserError(f"loss {name!r}: has no parameter 'weight', expected one beside a selection of rows")
        passed = {key: value for key, value in (("labels", labels), ("weight", weight)) if key in self._taken}
        return self.function(full(student_logits), full(teacher_logits.detach()), **passed, **self.settings)

    def extra_repr(self) -> str:
        """Describe the function and its settings."""
        name = getattr(self.function, "__name__", "function")
        return ", ".join([name, *(f"{key}={value!r}" for key, value in self.settings.items())])


def loss_entry(
    name: str,
    loss: Loss,
    *,
    alpha: float = 0.9,
    settings: Mapping[str, Any] | None = None,
    scales_with_temperature: bool = True,
    summary: str | None = None,
    citation: str | None = None,
    equation: str | None = None,
) -> Entry:
    """Make a method of one loss beside the cross-entropy: L = (1 - alpha) CE + alpha loss.

    A loss that has a parameter ``alpha`` itself is added to the cross-entropy instead, whose weight is the setting
    ``ce_weight``: L = CE + loss.

    Args:
        name: What users write.
        loss: A function ``loss(student_logits, teacher_logits, ...)`` that returns a scalar, with (N, C) logits in
            fp32; of ``labels`` (N,) and ``weight`` (N,) it gets what it has a parameter for. Or a class of
            ``nn.Module``, called as ``module(student_logits, teacher_logits, labels, weight)``.
        alpha: The default of the setting ``alpha``, the weight of the loss.
        settings: The loss's parameters that are settings, with their defaults; by default all that have a default.
        scales_with_temperature: As for :class:`limbeck.methods.Term`: what a temperature in front of the loss means.
        summary: The card's line; by default the first one of the loss's docstring.
        citation: The card's source.
        equation: What is minimized.

    Returns:
        The entry, for :func:`limbeck.methods.register` or an entry point.

    Raises:
        UserError: If a setting is no parameter of the loss, or a parameter has no default.

    Example:
        >>> from limbeck.losses import jsd_loss
        >>> entry = loss_entry("half_jsd", jsd_loss, settings={"temperature": 2.0})
        >>> entry.settings(), entry.card.summary
        (half_jsdSettings(alpha=0.9, temperature=2.0), 'Match the teacher by the generalized ... divergence.')
    """
    label = name.rpartition(":")[2]
    defaults = _defaults(f"loss {label!r}", loss, settings)
    leading: dict[str, Any] = {"ce_weight": (LabelWeight, 1.0)} if "alpha" in defaults else {"alpha": (Alpha, alpha)}
    weights = "CE" if "alpha" in defaults else "(1 - a) CE + a"
    module: Callable[..., Any] = loss if inspect.isclass(loss) else partial(FunctionLoss, loss)
    term = free_name(label, RESERVED)
    build = partial(one_loss, name=term, loss=module, scales_with_temperature=scales_with_temperature)
    equation = equation or f"L = {weights} {'+ ' if 'alpha' in defaults else ''}{label}(z^s, z^t)"
    card = Card(summary or _first_line(loss) or f"The loss {label}.", citation or _place(loss, label), equation)
    return Entry(name, _model(label, loss, defaults, leading), build, card)


def target_entry(
    name: str,
    target: Callable[..., Tensor],
    *,
    settings: Mapping[str, Any] | None = None,
    summary: str | None = None,
    citation: str | None = None,
    equation: str | None = None,
) -> Entry:
    """Make a component of a target, for compositions such as ``NAME+dist``.

    Args:
        name: What users write.
        target: A function ``target(teacher_logits, labels, **settings)`` that returns corrected (N, C) logits.
        settings: Its parameters that are settings, with their defaults; by default all that have a default.
        summary: The card's line; by default the first one of the target's docstring.
        citation: The card's source.
        equation: What is computed.

    Returns:
        The entry, for :func:`limbeck.methods.register` or an entry point.

    Raises:
        UserError: If a setting is no parameter of the target, or a parameter has no default.

    Example:
        >>> from limbeck.targets import revise_logits
        >>> target_entry("my_revision", revise_logits).settings()
        my_revisionSettings(eta=0.8)
    """
    label = name.rpartition(":")[2]
    defaults = _defaults(f"target {label!r}", target, settings)
    summary = summary or _first_line(target) or f"The target {label}."
    card = Card(summary, citation or _place(target, label), equation or f"z' = {label}(z^t, y)")
    return Entry(name, _model(label, target, defaults, {}), partial(_target, target), card, component=True)


def _target(target: Callable[..., Tensor], settings: Settings) -> Parts:
    return Parts(targets=(partial(target, **settings.model_dump()),), teacher="any")


def adopted(name: str, found: object) -> Entry:
    """Make the entry of what an entry point or ``python:MODULE:NAME`` names.

    The rule: an :class:`Entry` is used as it is; a class of ``nn.Module``, or a function whose first parameter is
    called ``student_logits``, is a loss (:func:`loss_entry`); a function whose first parameter is called
    ``teacher_logits`` is a target (:func:`target_entry`).

    Args:
        name: The name that the entry gets.
        found: What was found there.

    Returns:
        The entry.

    Raises:
        UserError: If it is none of these.

    Example:
        >>> from limbeck.losses import kd_loss
        >>> adopted("python:limbeck.losses.kd:kd_loss", kd_loss).component
        False
    """
    if isinstance(found, Entry):
        return replace(found, name=name)
    if inspect.isclass(found) and issubclass(found, nn.Module):
        return loss_entry(name, found)
    first = None if inspect.isclass(found) or not callable(found) else next(iter(_parameters(found)), None)
    if callable(found) and first == "student_logits":
        return loss_entry(name, found)
    if callable(found) and first == "teacher_logits":
        return target_entry(name, found)
    got = f"a {type(found).__name__}" if first is None else f"a function of {first!r}"
    expected = "expected an Entry, a loss (a function of student_logits first, or a class of torch.nn.Module)"
    raise UserError(f"method {shortened(name)}: got {got}, {expected}, or a target (of teacher_logits first)")


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        # Some functions written in C have none.
        return {}


def _defaults(label: str, function: Callable[..., Any], settings: Mapping[str, Any] | None) -> dict[str, Any]:
    free = {key: parameter for key, parameter in _parameters(function).items() if key not in _PASSED}
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in free.values())
    named = {key: p for key, p in free.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    for key in settings or {}:
        if key not in named and not takes_any:
            raise unknown_name(f"setting of {label}:", key, named)
    defaults = {key: parameter.default for key, parameter in named.items() if parameter.default is not parameter.empty}
    for key in named:
        if key not in defaults and key not in (settings or {}):
            raise UserError(f"{label}: the parameter {key!r} has no default, expected one, or one in settings=")
    return dict(defaults if settings is None else settings)


def _model(
    label: str, function: Callable[..., Any], defaults: Mapping[str, Any], leading: Mapping[str, Any]
) -> type[Settings]:
    hints = _hints(function)
    fields = {key: (_annotation(key, value, hints.get(key)), value) for key, value in defaults.items()}
    options: dict[str, Any] = {**leading, **fields}
    return create_model(f"{label}Settings", __base__=Settings, __module__=__name__, **options)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function.__init__ if inspect.isclass(function) else function, include_extras=True)
    except (AttributeError, NameError, TypeError):
        # Annotations need not be importable, and a partial has none.
        return {}


def _annotation(key: str, default: object, hint: Any) -> Any:
    if key == "temperature" and hint in (None, float):
        return Temperature
    if hint is None:
        is_number = isinstance(default, int | float) and not isinstance(default, bool)
        return int | float if is_number else Any if default is None else type(default)
    try:
        TypeAdapter(hint)
    except PydanticSchemaGenerationError:
        return Any
    return hint


def _place(function: Callable[..., Any], label: str) -> str:
    return f"no paper given, {function.__module__}:{getattr(function, '__qualname__', label)}"


def _first_line(function: Callable[..., Any]) -> str:
    return inspect.cleandoc(function.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
