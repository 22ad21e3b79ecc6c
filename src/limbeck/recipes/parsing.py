"""Read YAML of any origin: bounded in size and depth, no key twice, every problem in one line."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from limbeck.errors import UserError, shortened

_MAX_CHARACTERS = 1_000_000
_MAX_DEPTH = 40
_MAX_VALUES = 50_000
_MAX_DIGITS = 40
# The one in C, where there is one, is ten times as fast; it has neither marks of double keys nor 5e-4.
_QUICK: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(yaml.SafeLoader):
    """YAML as people write it: 5e-4 is a number, which YAML 1.1 reads as text without a dot; no key stands twice."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        first: dict[tuple[str, str], yaml.Mark] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if (key.tag, key.value) in first:
                before = first[key.tag, key.value].line + 1
                problem = f"the key {shortened(key.value)} is given twice, first in line {before}"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            first[key.tag, key.value] = key.start_mark
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            # What PyYAML's readers of numbers, dates and the like raise for a text that a tag such as !!int stands for.
            problem = f"{shortened(node.value)} is no {node.tag.rpartition(':')[2]}"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from None


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+"), list("-+.0123456789")
)


def parse_yaml(text: str, where: str) -> Any:
    r"""Read one YAML document; this runs no code of it.

    Args:
        text: The document.
        where: What it is, to begin error lines with.

    Returns:
        Its value.

    Raises:
        UserError: If it is no valid YAML, has a key twice, is nested too deep, is too large (also by aliases that
            repeat each other), or holds a number or a text that no setting can be.

    Example:
        >>> parse_yaml("lr: 5e-4", "mine.yaml")
        {'lr': 0.0005}
        >>> parse_yaml("lr: 1\nlr: 2", "mine.yaml")
        Traceback (most recent call last):
        limbeck.errors.UserError: mine.yaml, line 2: no valid YAML (the key 'lr' is given twice, first in line 1)
    """
    where = shortened(where, quoted=False)
    if len(text) > _MAX_CHARACTERS:
        raise UserError(f"{where}: has {len(text):,} characters, expected a recipe of at most {_MAX_CHARACTERS:,}")
    try:
        _check_size(text, where)
        value = yaml.load(text, Loader=_Loader)
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{where}: no valid YAML ({shortened(str(error), quoted=False)})") from None
    except yaml.YAMLError as error:
        raise _invalid(error, where) from None
    check_values(value, where)
    return value


def read_stored(path: Path) -> dict[str, Any]:
    """Read a mapping that limbeck wrote as YAML, such as the recipe in a run's folder; this runs no code of it.

    Args:
        path: The file.

    Returns:
        Its keys and values; empty if it is not there, holds something else, or more than any recipe.

    Example:
        >>> read_stored(Path("nowhere.yaml"))
        {}
    """
    try:
        if not path.is_file() or path.stat().st_size > _MAX_CHARACTERS:
            return {}
        text = path.read_text(encoding="utf-8")
        _check_size(text, str(path), _QUICK)
        values = yaml.load(text, Loader=_QUICK)
    except (OSError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError, yaml.YAMLError):
        return {}
    return values if isinstance(values, dict) else {}


def _invalid(error: yaml.YAMLError, where: str) -> UserError:
    mark = getattr(error, "problem_mark", None)
    place = f", line {mark.line + 1}" if mark else ""
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return UserError(f"{where}{place}: no valid YAML ({shortened(problem, 120, quoted=False)})")


def _check_size(text: str, where: str, loader: Any = yaml.SafeLoader) -> None:
    """Count the values that the document stands for, each alias as often as what it repeats, before any is built."""
    sizes: dict[str | None, int] = {}
    opened: list[tuple[str | None, int]] = []
    total = 0
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.AliasEvent):
            total += sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = opened.pop()
            sizes[anchor] = total - before
        elif isinstance(event, yaml.CollectionStartEvent):
            # Until it is closed, an alias to it would make it contain itself.
            sizes[event.anchor] = _MAX_VALUES
            opened.append((event.anchor, total))
            total += 1
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            sizes[event.anchor] = 1
        if len(opened) > _MAX_DEPTH:
            place = f", line {event.start_mark.line + 1}" if event.start_mark else ""
            raise UserError(f"{where}{place}: nested more than {_MAX_DEPTH} deep, expected a recipe's few levels")
        if total > _MAX_VALUES:
            raise UserError(f"{where}: stands for more than {_MAX_VALUES:,} values, expected a recipe's few")


def check_values(value: Any, where: str) -> None:
    r"""Refuse texts that no file's name or content can be, and numbers beyond any setting.

    Args:
        value: Mappings, lists and plain values.
        where: What they belong to; it begins the line of an error.

    Raises:
        UserError: If a text holds a NUL character or cannot be written as UTF-8, a value is bytes, or a whole number
            has too many digits.

    Example:
        >>> check_values({"data": {"root": "a\0b"}}, "mine.yaml")
        Traceback (most recent call last):
        limbeck.errors.UserError: mine.yaml: data.root: got 'a\x00b', expected text without NUL characters
    """
    for key, leaf in leaves(value):
        if expected := _expectation(leaf):
            place = f"{shortened(key, quoted=False)}: " if key else ""
            raise UserError(f"{where}: {place}got {shortened(leaf)}, expected {expected}")


def leaves(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield plain values with their dotted keys, and each key of a mapping as a value of the group that it stands in.

    Example:
        >>> list(leaves({"data": {"root": "a"}}))
        [('', 'data'), ('data', 'root'), ('data.root', 'a')]
    """
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        key, entry = waiting.pop()
        if isinstance(entry, Mapping):
            groups = [((key, name), (f"{key}.{name}" if key else str(name), inner)) for name, inner in entry.items()]
            waiting += [pair for group in reversed(groups) for pair in reversed(group)]
        elif isinstance(entry, list | tuple | set | frozenset):
            waiting += [(f"{key}.{number}", inner) for number, inner in reversed(list(enumerate(entry)))]
        else:
            yield key, entry


def _expectation(value: Any) -> str | None:
    value = str(value) if isinstance(value, Path) else value
    if isinstance(value, str):
        if "\0" in value:
            return "text without NUL characters"
        if not _is_utf8(value):
            return "text that can be written as UTF-8"
    elif isinstance(value, bytes):
        return "text, a number, a list or a group of settings"
    elif isinstance(value, int) and abs(value) >= 10**_MAX_DIGITS:
        return f"a number of at most {_MAX_DIGITS} digits"
    return None


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
