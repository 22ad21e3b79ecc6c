"""Methods for the terminal: the overview, and one method's card."""

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from limbeck.errors import unknown_name

# What limbeck.methods.index says, kept as a file: importing the methods takes seconds.
INDEX = "cards.json"


def read_index() -> dict[str, dict[str, Any]]:
    """Read the cards of all methods and components, by name.

    Example:
        >>> read_index()["kd"]["card"]["summary"]
        "Match the teacher's softened distribution."
    """
    entries = json.loads((resources.files("limbeck.cli") / INDEX).read_text(encoding="utf-8"))
    return {entry["name"]: entry for entry in entries}


def overview() -> Table:
    """List every method and component with its summary.

    Example:
        >>> overview().row_count >= 10
        True
    """
    table = Table("name", "what it does", "defaults", box=None, header_style="bold", pad_edge=False)
    entries = read_index().values()
    for entry in entries:
        if not entry["component"]:
            _add(table, entry)
    table.add_section()
    table.add_row("", Text("components, for compositions such as revise+select+dist", style="bold"))
    for entry in entries:
        if entry["component"]:
            _add(table, entry)
    return table


def _add(table: Table, entry: Mapping[str, Any]) -> None:
    defaults = ", ".join(f"{setting['key']} {setting['default']}" for setting in entry["settings"])
    table.add_row(entry["name"], entry["card"]["summary"], Text(defaults, style="dim"))


def card(name: str) -> Group:
    """Render one method's card: citation, equation, settings, published numbers, differences, what is ours.

    Raises:
        UserError: If there is no such method.

    Example:
        >>> len(card("dist").renderables) > 3
        True
    """
    entries = read_index()
    if name not in entries:
        raise unknown_name("method", name, entries)
    text, settings = entries[name]["card"], entries[name]["settings"]
    parts: list[Any] = [Text(f"{name}: {text['summary']}", style="bold"), Text()]
    parts += [Text(f"source    {text['citation']}"), Text(f"minimizes {text['equation']}"), Text()]
    if settings:
        parts += [_settings(settings), Text()]
    return Group(*parts, *_lists(text))


def _settings(settings: list[Mapping[str, str]]) -> Table:
    table = Table("setting", "default", "meaning", box=None, header_style="bold", pad_edge=False)
    for setting in settings:
        table.add_row(setting["key"], setting["default"], setting["meaning"])
    return table


def _lists(card: Mapping[str, Any]) -> list[Text]:
    titled = (
        ("published", "published"),
        ("paper, code and defaults", "differences"),
        ("ours", "ours"),
        ("watch out", "cautions"),
    )
    lines = []
    for title, key in titled:
        if card[key]:
            lines.append(Text(title, style="bold"))
            lines += [Text(f"- {line}") for line in card[key]]
    return lines
