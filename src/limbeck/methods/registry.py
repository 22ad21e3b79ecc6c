"""The names that recipes, the command line and ``Distiller`` accept."""

from collections.abc import Mapping
from types import MappingProxyType

from limbeck.errors import unknown_name
from limbeck.methods import (
    baselines,
    cmkd,
    ctkd,
    dist,
    divergences,
    dkd,
    dts,
    features,
    kd,
    lr_ds,
    lskd,
    lw_kd,
    nkd,
    rld,
    self_kd,
    semantic,
    tf_kd_reg,
    ttm,
)
from limbeck.methods.card import Entry

_ENTRIES: Mapping[str, Entry] = MappingProxyType(
    {
        entry.name: entry
        for module in (
            baselines,
            kd,
            dist,
            dkd,
            nkd,
            ttm,
            cmkd,
            rld,
            divergences,
            lskd,
            dts,
            ctkd,
            self_kd,
            lr_ds,
            lw_kd,
            tf_kd_reg,
            semantic,
            features,
        )
        for entry in module.ENTRIES
    }
)


def names() -> tuple[str, ...]:
    """List the registered methods.

    Example:
        >>> "dist" in names()
        True
    """
    return tuple(name for name, entry in _ENTRIES.items() if not entry.component)


def components() -> tuple[str, ...]:
    """List the building blocks that a composition may name beside methods.

    Example:
        >>> components()
        ('rectify', 'revise', 'select', 'adversarial', 'semantic', 'top_k')
    """
    return tuple(name for name, entry in _ENTRIES.items() if entry.component)


def entry(name: str) -> Entry:
    """Look one method or component up.

    Raises:
        UserError: If there is none of that name; the line lists the nearest.

    Example:
        >>> entry("dr_kd").card.citation
        'Amik et al., Dynamic Rectification Knowledge Distillation, arXiv 2201.11319, 2022'
    """
    if name not in _ENTRIES:
        raise unknown_name("method", name, _ENTRIES)
    return _ENTRIES[name]
