"""Method cards as plain data, so that a command can show them without importing what the methods are built from."""

import json
from dataclasses import asdict
from typing import Any

from limbeck.methods.card import Entry
from limbeck.methods.markdown import shown
from limbeck.methods.registry import components, entry, names


def card_index() -> list[dict[str, Any]]:
    """List every method and component: name, whether it is a component, card, and settings with their defaults.

    Example:
        >>> card_index()[0]["name"]
        'none'
    """
    return [_plain(entry(name)) for name in (*names(), *components())]


def index_text() -> str:
    """Write the index as JSON; ``limbeck/cli/cards.json`` holds this text.

    Example:
        >>> index_text().startswith("[")
        True
    """
    return json.dumps(card_index(), indent=1, ensure_ascii=False) + "\n"


def _plain(one: Entry) -> dict[str, Any]:
    settings = [
        {"key": key, "default": shown(field.default), "meaning": field.description or ""}
        for key, field in one.settings.model_fields.items()
    ]
    return {"name": one.name, "component": one.component, "card": asdict(one.card), "settings": settings}
