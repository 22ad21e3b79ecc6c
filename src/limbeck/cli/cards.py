"""Methods as the terminal shows them: the packaged ones from their files, which imports nothing heavy, and plug-ins."""

import json
import tomllib
from collections.abc import Mapping
from importlib import resources
from importlib.metadata import entry_points
from typing import Any

from limbeck.errors import unknown_name
from limbeck.reporting import Log

Card = Mapping[str, Any]
_LISTS = ("published", "differences", "ours", "cautions")


def packaged_cards() -> dict[str, Card]:
    """Read the packaged methods and components by name: name, component, settings and card.

    Example:
        >>> packaged_cards()["kd"]["card"]["summary"]
        "Match the teacher's softened distribution."
    """
    folder = resources.files("limbeck") / "methods" / "cards"
    entries = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    texts = {entry["name"]: (folder / f"{entry['name']}.toml").read_text(encoding="utf-8") for entry in entries}
    empty: dict[str, Any] = {key: [] for key in _LISTS}
    return {entry["name"]: {**entry, "card": empty | tomllib.loads(texts[entry["name"]])} for entry in entries}


def read_cards(warn: Log) -> dict[str, Card]:
    """Read the packaged methods and components, and those of installed plug-ins, which are imported for this.

    Args:
        warn: Called with a line for each plug-in that is left out.

    Example:
        >>> "kd" in read_cards(print)
        True
    """
    cards = packaged_cards()
    if not entry_points(group="limbeck.methods"):
        return cards
    from limbeck.methods.index import plain
    from limbeck.methods.registry import REGISTRY

    added = {name: plain(entry) for name, entry in REGISTRY.items().items() if name not in cards}
    for line in REGISTRY.warnings():
        warn(line)
    return cards | added


def find(name: str, warn: Log) -> Card:
    """Read one method or component; plug-ins are imported only if none of the packaged ones has the name.

    Raises:
        UserError: If there is no such method.

    Example:
        >>> find("dist", print)["component"]
        False
    """
    cards = packaged_cards()
    if name not in cards:
        cards = read_cards(warn)
    if name not in cards:
        raise unknown_name("method", name, cards)
    return cards[name]


def as_text(cards: Mapping[str, Card]) -> str:
    r"""Write cards as JSON.

    Example:
        >>> as_text({})
        '[]\n'
    """
    return json.dumps(list(cards.values()), indent=1, ensure_ascii=False) + "\n"
