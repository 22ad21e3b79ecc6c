"""A method's card: where it comes from, what it computes, what was published, and what is ours."""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any

from limbeck.methods.method import Parts
from limbeck.validation import Settings


@dataclass(frozen=True)
class Card:
    """The source of a method, and the limits of its numbers.

    Attributes:
        summary: One line.
        citation: The paper, or a line that there is none.
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
        softens: True if its setting ``temperature`` may be ``"auto"``, its default beside a measured weight.
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
    component: bool = False
    softens: bool = False
    tempers: bool = False


def builtin(name: str, settings: type[Settings], build: Callable[[Any], Parts], **flags: bool) -> Entry:
    """Make the entry of a method of this package, whose card is the file ``cards/NAME.toml``.

    Args:
        name: What users write.
        settings: The model of its settings.
        build: Makes its parts from the settings.
        **flags: ``component``, ``softens`` and ``tempers`` of the :class:`Entry`.

    Returns:
        The entry.

    Example:
        >>> from limbeck.methods.fields import NoSettings
        >>> builtin("kd", NoSettings, lambda _: Parts()).card.summary
        "Match the teacher's softened distribution."
    """
    text = (resources.files("limbeck") / "methods" / "cards" / f"{name}.toml").read_text(encoding="utf-8")
    values: dict[str, Any] = tomllib.loads(text)
    lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
    return Entry(name, settings, build, Card(**values | lists), **flags)
