"""A method's card: where it comes from, what it computes, what was published, and what is ours."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from limbeck.methods.method import Parts
from limbeck.validation import Settings

TEMPERED = (
    "Losses beside it run at temperature 1, since both sides come divided by T, and are multiplied by T^2, except those"
    " without that factor (adversarial, dist with scale: paper, cmkd, which no temperature in front changes); nkd, ttm"
    " and wttm take T as their own temperature."
)
"""A line for the cards of methods that bring a temperature: what it means for the losses beside them."""


@dataclass(frozen=True)
class Card:
    """What a reader should know before trusting a number.

    Attributes:
        summary: One line.
        citation: The paper, or a line that says there is none.
        equation: What is minimized, in plain text.
        published: Lines of published numbers.
        differences: Where the paper and the released code differ, and which one the default follows.
        ours: What the sources leave open and we decided.
        cautions: When it does harm, or nothing, and what to do then.

    Example:
        >>> Card(summary="Cross-entropy only.", citation="", equation="L = CE").ours
        ()
    """

    summary: str
    citation: str
    equation: str
    published: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    ours: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """One name of the registry.

    Attributes:
        name: What users write.
        settings: The model of its settings, with defaults.
        build: Makes its parts from the settings.
        card: Its card.
        component: True for a building block that is no published method of its own.
        tempers: True if it brings the temperature itself; that of the losses beside it is then 1 unless it is set.

    Example:
        >>> from limbeck.methods.registry import entry
        >>> entry("kd").settings()
        KDSettings(temperature=4.0, alpha=0.9)
    """

    name: str
    settings: type[Settings]
    build: Callable[[Any], Parts]
    card: Card
    component: bool = field(default=False)
    tempers: bool = field(default=False)
