"""Methods as plain data, so that a command can show them without importing what the methods are built from.

``python -m limbeck.methods.index > src/limbeck/methods/cards/settings.json`` writes the settings anew.
"""

import json
from dataclasses import asdict
from typing import Any

from limbeck.methods.card import Entry
from limbeck.methods.registry import packaged


def plain(entry: Entry) -> dict[str, Any]:
    """Write an entry as plain data: name, whether it is a component, settings with their defaults, and card.

    Example:
        >>> from limbeck.methods import entry
        >>> plain(entry("kd"))["settings"][1]["key"], plain(entry("kd"))["component"]
        ('alpha', False)
    """
    settings = [
        {"key": key, "default": _shown(field.default), "meaning": field.description or ""}
        for key, field in entry.settings.model_fields.items()
    ]
    return {"name": entry.name, "component": entry.component, "settings": settings, "card": asdict(entry.card)}


def _shown(value: Any) -> str:
    """Write a setting's default as a recipe would."""
    return "off" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def settings_text() -> str:
    """Write the packaged methods without their cards as JSON; ``cards/settings.json`` holds this text.

    Example:
        >>> settings_text().startswith("[")
        True
    """
    entries = ({key: value for key, value in plain(entry).items() if key != "card"} for entry in packaged().values())
    # The methods before the components, each in the registry's order.
    return json.dumps(sorted(entries, key=lambda entry: entry["component"]), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(settings_text(), end="")
