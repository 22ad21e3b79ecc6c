"""Method cards as Markdown, for the documentation."""

from typing import Any

from limbeck.methods.card import Card, Entry
from limbeck.methods.registry import components, entry, names


def shown(value: Any) -> str:
    """Write a setting's default as a recipe would.

    Example:
        >>> shown(None), shown(True), shown(0.5)
        ('off', 'true', '0.5')
    """
    return "off" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _settings(one: Entry) -> list[str]:
    if not one.settings.model_fields:
        return []
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    for key, field in one.settings.model_fields.items():
        lines.append(f"| `{key}` | {shown(field.default)} | {field.description or ''} |")
    return [*lines, ""]


def _notes(card: Card) -> list[str]:
    titled = (
        ("Published", card.published),
        ("Paper, code and defaults", card.differences),
        ("Ours", card.ours),
        ("Watch out", card.cautions),
    )
    lines: list[str] = []
    for title, notes in titled:
        if notes:
            lines += [f"{title}:", "", *(f"- {note}" for note in notes), ""]
    return lines


def card_markdown(one: Entry) -> str:
    """Write one card as a section.

    Example:
        >>> print(card_markdown(entry("none")).splitlines()[0])
        ## `none`
    """
    head = [f"## `{one.name}`", "", one.card.summary, "", f"Source: {one.card.citation}.", ""]
    return "\n".join([*head, "```", one.card.equation, "```", "", *_settings(one), *_notes(one.card)])


def all_cards() -> str:
    """Write the documentation's page of methods.

    Example:
        >>> all_cards().startswith("# Methods")
        True
    """
    opening = (
        "# Methods\n\nThis page is made by `limbeck methods --markdown` from the cards in `src/limbeck/methods/`. A"
        " recipe names a method, or several joined by `+`: targets, modifiers, selection and extra losses add up; a"
        " loss that a name brings only as its default gives way to one named on purpose.\n"
    )
    sections = [card_markdown(entry(name)) for name in names()]
    blocks = [card_markdown(entry(name)) for name in components()]
    return "\n".join([opening, *sections, "# Components for compositions\n", *blocks]).rstrip() + "\n"
