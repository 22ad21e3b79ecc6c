"""The names that recipes, the command line and ``Distiller`` accept: packaged, from plug-ins, or registered."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from limbeck.methods import baselines, features, logits, lr_ds, lw_kd, modified, self_kd, semantic, tf_kd_reg
from limbeck.methods.card import Entry
from limbeck.methods.outside import adopted, loss_entry
from limbeck.registry import Registry


def packaged() -> dict[str, Entry]:
    """Return the methods and components of this package by name.

    Example:
        >>> list(packaged())[:3]
        ['none', 'label_smoothing', 'kd']
    """
    modules = (baselines, logits, modified, self_kd, lr_ds, lw_kd, tf_kd_reg, semantic, features)
    return {entry.name: entry for module in modules for entry in module.ENTRIES}


REGISTRY: Registry[Entry] = Registry("method", "limbeck.methods", packaged, adopted)
"""The methods by name; :func:`register` adds to them for this process, installed plug-ins for every process."""


def names() -> tuple[str, ...]:
    """List the registered methods.

    Example:
        >>> "dist" in names()
        True
    """
    return tuple(name for name, entry in REGISTRY.items().items() if not entry.component)


def components() -> tuple[str, ...]:
    """List the building blocks that a composition may name beside methods.

    Example:
        >>> components()
        ('rectify', 'revise', 'select', 'weigh', 'adversarial', 'semantic', 'top_k', 'tame')
    """
    return tuple(name for name, entry in REGISTRY.items().items() if entry.component)


def entry(name: str) -> Entry:
    """Look one method or component up.

    Args:
        name: Its name, or ``python:MODULE:NAME`` of an :class:`Entry`, a loss or a target; see
            :func:`limbeck.methods.outside.adopted`.

    Raises:
        UserError: If there is none of that name, with the nearest ones, or what it names is none of these.

    Example:
        >>> entry("dr_kd").card.citation
        'Amik et al., Dynamic Rectification Knowledge Distillation, arXiv 2201.11319, 2022'
    """
    return REGISTRY.get(name)


def register(new: Entry, *, replace: bool = False) -> None:
    """Add a method or component for this process.

    Worker processes of ``compare`` do not see it: an installed package's entry point of the group ``limbeck.methods``,
    or ``python:MODULE:NAME``, works in every process.

    Args:
        new: The entry; its name consists of letters, digits, ``_`` and ``-``.
        replace: Whether it may take the place of another one.

    Raises:
        UserError: If the name is malformed or taken.

    Example:
        >>> from dataclasses import replace
        >>> register(replace(entry("kd"), name="my_kd"))
        >>> "my_kd" in names()
        True
        >>> REGISTRY.unregister("my_kd")
    """
    REGISTRY.register(new.name, new, replace=replace)


def register_loss(
    name: str,
    loss: Callable[..., Tensor] | type[nn.Module],
    *,
    alpha: float = 0.9,
    settings: Mapping[str, Any] | None = None,
    replace: bool = False,
    **about: Any,
) -> None:
    """Add a loss as a method for this process: L = (1 - alpha) CE + alpha loss.

    Args:
        name: What users write.
        loss: As for :func:`limbeck.methods.loss_entry`.
        alpha: As for :func:`limbeck.methods.loss_entry`.
        settings: As for :func:`limbeck.methods.loss_entry`.
        replace: Whether it may take the place of another method.
        **about: Further arguments of :func:`limbeck.methods.loss_entry`, such as ``summary`` and ``citation``.

    Raises:
        UserError: If the name is malformed or taken, or the loss has no such settings.

    Example:
        >>> def gap(student_logits, teacher_logits, *, power=2.0):
        ...     return (student_logits - teacher_logits).abs().pow(power).mean()
        >>> register_loss("gap", gap, alpha=0.5, summary="Match the logits.")
        >>> entry("gap").settings()
        gapSettings(alpha=0.5, power=2.0)
        >>> REGISTRY.unregister("gap")
    """
    register(loss_entry(name, loss, alpha=alpha, settings=settings, **about), replace=replace)
