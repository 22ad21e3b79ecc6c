"""Method cards for the terminal and as Markdown, from plain data."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from limbeck.cli.cards import Card

_NOTES = (
    ("Published", "published"),
    ("Paper, code and defaults", "differences"),
    ("Ours", "ours"),
    ("Watch out", "cautions"),
)
_OPENING = """# Methods

This page is made by `limbeck methods --markdown` from the cards in `src/limbeck/methods/cards/`. A recipe names a \
method, or several joined by `+`: targets, modifiers, selection and extra losses add up; a loss that a name brings \
only as its default gives way to one named on purpose.
"""


def overview(cards: Mapping[str, Card]) -> Table:
    """List methods and components with their summaries.

    Example:
        >>> from limbeck.cli.cards import packaged_cards
        >>> overview(packaged_cards()).row_count >= 10
        True
    """
    table = Table("name", "what it does", "defaults", box=None, header_style="bold", pad_edge=False)
    methods, components = _apart(cards.values())
    _add(table, methods)
    table.add_section()
    table.add_row("", Text("components, for compositions such as revise+select+dist", style="bold"))
    _add(table, components)
    return table


def _apart(cards: Iterable[Card]) -> tuple[list[Card], list[Card]]:
    cards = list(cards)
    return [card for card in cards if not card["component"]], [card for card in cards if card["component"]]


def _add(table: Table, cards: Iterable[Card]) -> None:
    for card in cards:
        defaults = ", ".join(f"{setting['key']} {setting['default']}" for setting in card["settings"])
        table.add_row(card["name"], card["card"]["summary"], Text(defaults, style="dim"))


def card(shown: Card) -> Group:
    """Render one method: citation, equation, settings, published numbers, differences, what is ours.

    Example:
        >>> from limbeck.cli.cards import packaged_cards
        >>> len(card(packaged_cards()["dist"]).renderables) > 3
        True
    """
    text = shown["card"]
    parts: list[Any] = [Text(f"{shown['name']}: {text['summary']}", style="bold"), Text()]
    parts += [Text(f"source    {text['citation']}"), Text(f"minimizes {text['equation']}"), Text()]
    if shown["settings"]:
        table = Table("setting", "default", "meaning", box=None, header_style="bold", pad_edge=False)
        for setting in shown["settings"]:
            table.add_row(setting["key"], setting["default"], setting["meaning"])
        parts += [table, Text()]
    for title, key in _NOTES:
        if text[key]:
            parts += [Text(title.lower(), style="bold"), *(Text(f"- {line}") for line in text[key])]
    return Group(*parts)


def card_markdown(shown: Card) -> str:
    """Write one card as a section.

    Example:
        >>> from limbeck.cli.cards import packaged_cards
        >>> print(card_markdown(packaged_cards()["none"]).splitlines()[0])
        ## `none`
    """
    text = shown["card"]
    lines = [f"## `{shown['name']}`", "", text["summary"], "", f"Source: {text['citation']}.", ""]
    lines += ["```", text["equation"], "```", ""]
    if shown["settings"]:
        rows = (f"| `{s['key']}` | {s['default']} | {s['meaning']} |" for s in shown["settings"])
        lines += ["| setting | default | meaning |", "|---|---|---|", *rows, ""]
    for title, key in _NOTES:
        if text[key]:
            lines += [f"{title}:", "", *(f"- {note}" for note in text[key]), ""]
    return "\n".join(lines)


def as_markdown(cards: Mapping[str, Card]) -> str:
    """Write the documentation's page of methods.

    Example:
        >>> as_markdown({}).startswith("# Methods")
        True
    """
    methods, components = (map(card_markdown, group) for group in _apart(cards.values()))
    return "\n".join([_OPENING, *methods, "# Components for compositions\n", *components]).rstrip() + "\n"
