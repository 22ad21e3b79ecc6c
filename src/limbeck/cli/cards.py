"""Methods for the terminal: the overview, and one method's card."""

from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from limbeck import methods
from limbeck.methods import Card, Entry
from limbeck.methods.markdown import shown


def overview() -> Table:
    """List every method and component with its summary.

    Example:
        >>> overview().row_count >= 10
        True
    """
    table = Table("name", "what it does", "defaults", box=None, header_style="bold", pad_edge=False)
    for name in methods.names():
        _add(table, methods.entry(name))
    table.add_section()
    table.add_row("", Text("components, for compositions such as revise+select+dist", style="bold"))
    for name in methods.components():
        _add(table, methods.entry(name))
    return table


def _add(table: Table, entry: Entry) -> None:
    defaults = ", ".join(f"{key} {shown(field.default)}" for key, field in entry.settings.model_fields.items())
    table.add_row(entry.name, entry.card.summary, Text(defaults, style="dim"))


def card(name: str) -> Group:
    """Render one method's card: citation, equation, settings, published numbers, differences, what is ours.

    Raises:
        UserError: If there is no such method.

    Example:
        >>> len(card("dist").renderables) > 3
        True
    """
    entry = methods.entry(name)
    parts: list[Any] = [Text(f"{entry.name}: {entry.card.summary}", style="bold"), Text()]
    parts += [Text(f"source    {entry.card.citation}"), Text(f"minimises {entry.card.equation}"), Text()]
    if entry.settings.model_fields:
        parts += [_settings(entry), Text()]
    return Group(*parts, *_lists(entry.card))


def _settings(entry: Entry) -> Table:
    table = Table("setting", "default", "meaning", box=None, header_style="bold", pad_edge=False)
    for key, field in entry.settings.model_fields.items():
        table.add_row(key, shown(field.default), field.description or "")
    return table


def _lists(card: Card) -> list[Text]:
    titled = (
        ("published", card.published),
        ("paper, code and defaults", card.differences),
        ("ours", card.ours),
        ("watch out", card.cautions),
    )
    lines = []
    for title, entries in titled:
        if entries:
            lines.append(Text(title, style="bold"))
            lines += [Text(f"- {line}") for line in entries]
    return lines
