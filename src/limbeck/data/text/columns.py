"""Texts and class names of a table's rows."""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from limbeck.data.text.table import Table
from limbeck.errors import UserError, shortened

# What the columns are called in widely used data sets, the first that is there being taken.
TEXT_COLUMNS = ("text", "sentence", "sentence1", "question", "question1", "premise", "content")
LABEL_COLUMNS = ("label", "labels", "category", "intent", "class", "target")
# One of the pair of which JSON makes a character beyond the first 65,536.
_HALF = re.compile(r"[\ud800-\udfff]")
# Python reads no longer numbers.
_MOST_DIGITS = 4000


class Columns(NamedTuple):
    """Which columns hold what.

    Attributes:
        text: The texts.
        label: The class names.
        pair: The second texts of sentence pairs, or None.

    Example:
        >>> Columns("text", "category").pair is None
        True
    """

    text: str
    label: str
    pair: str | None = None


def find_columns(table: Table, text: str | None, pair: str | None, label: str | None) -> Columns:
    """Check the columns that were named, and find those that were not by their usual names.

    Args:
        table: The training rows.
        text: The column of the texts, or None.
        pair: The column of the second texts, or None for single texts.
        label: The column of the class names, or None.

    Raises:
        UserError: If there is none of that name, or a name is no text.

    Example:
        >>> find_columns(Table("a.csv", {"text": ["a"], "category": ["b"]}, (2,)), None, None, None)
        Columns(text='text', label='category', pair=None)
    """
    found_text = _column(table, "text", text, TEXT_COLUMNS)
    found_label = _column(table, "label", label, LABEL_COLUMNS)
    return Columns(found_text, found_label, None if pair is None else _column(table, "pair", pair, ()))


def _column(table: Table, option: str, name: str | None, usual: Sequence[str]) -> str:
    if name is not None and not isinstance(name, str):
        raise UserError(f"data.options.{option}: got {shortened(name)}, expected the name of a column")
    found = next((column for column in ([name] if name else usual) if column in table.columns), None)
    if found is not None:
        return found
    there = shortened(", ".join(table.columns), 200, quoted=False)
    got = f"got {shortened(name)}" if name else f"none of {', '.join(usual)} is a column"
    raise UserError(f"data.options.{option}: {got}, expected one of the columns of {table.source}: {there}")


def texts_of(table: Table, column: str) -> list[str]:
    """Return the texts of a column.

    Raises:
        UserError: If the column is missing or a text is empty.

    Example:
        >>> texts_of(Table("a.csv", {"text": ["a b", " "]}, (2, 3)), "text")
        Traceback (most recent call last):
        limbeck.errors.UserError: a.csv line 3: the column 'text' is empty, expected a text
    """
    texts = ["" if value is None else str(value) for value in _values(table, column)]
    empty = next((row for row, text in enumerate(texts) if not text.strip()), None)
    if empty is not None:
        raise UserError(f"{table.place(empty)}: the column {column!r} is empty, expected a text")
    return texts


def class_names(table: Table, column: str) -> tuple[str, ...]:
    """List the classes of the training rows, sorted; whole numbers by their value.

    Raises:
        UserError: If a label is missing, or there is only one class.

    Example:
        >>> class_names(Table("a.csv", {"label": [10, 9, 9]}, (2, 3, 4)), "label")
        ('9', '10')
    """
    names = {*_labels(table, column)}
    if len(names) < 2:
        raise UserError(f"{table.source}: every label is {shortened(names.pop())}, expected at least two classes")
    if all(name.removeprefix("-").isdecimal() and len(name) <= _MOST_DIGITS for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def label_numbers(table: Table, column: str, classes: Sequence[str]) -> Tensor:
    """Return the position of each row's label in ``classes``, int64 (N,).

    Raises:
        UserError: If a label is missing, or not among the classes.

    Example:
        >>> label_numbers(Table("a.csv", {"label": ["no", "yes"]}, (2, 3)), "label", ("no", "yes"))
        tensor([0, 1])
    """
    positions = {name: number for number, name in enumerate(classes)}
    names = _labels(table, column)
    unseen = next((row for row, name in enumerate(names) if name not in positions), None)
    if unseen is not None:
        got = f"{table.place(unseen)}: the label {shortened(names[unseen])} is not in the training texts"
        raise UserError(f"{got}, expected one of their {len(classes)} ({_listed(classes)})")
    return torch.tensor([positions[name] for name in names])


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(shortened(name, 40, quoted=False) for name in names[:5])
    return f"{shown}, ..." if len(names) > 5 else shown


def _labels(table: Table, column: str) -> list[str]:
    values = _values(table, column)
    labels = ["" if _is_missing(value) else str(value).strip() for value in values]
    if "" in labels:
        place = table.place(labels.index(""))
        raise UserError(f"{place}: the column {column!r} is empty, expected the name of a class")
    return labels


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _values(table: Table, column: str) -> Sequence[object]:
    if column not in table.columns:
        there = shortened(", ".join(table.columns), 200, quoted=False)
        raise UserError(f"{table.source}: has no column {column!r} as the training texts have; its columns: {there}")
    values = table.columns[column]
    several = next((row for row, value in enumerate(values) if isinstance(value, list | dict)), None)
    if several is not None:
        got = f"the column {column!r} holds a {type(values[several]).__name__}"
        raise UserError(f"{table.place(several)}: {got}, expected a text or a number")
    half = next((row for row, value in enumerate(values) if isinstance(value, str) and _HALF.search(value)), None)
    if half is not None:
        got = f"the column {column!r} holds half a character, {shortened(values[half], 60)}"
        raise UserError(f"{table.place(half)}: {got}, expected a text that can be written as UTF-8")
    return values
