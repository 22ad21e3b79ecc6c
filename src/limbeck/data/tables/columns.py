"""A table as named columns, and what a cell must be."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from limbeck.errors import UserError, shortened

Values = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class Table:
    """Named columns of equal length.

    Attributes:
        name: What to call it in messages, such as its file's name.
        columns: By name float64 (N,) with NaN, or objects (N,): texts, and None where a cell is empty.
        rows: The number of each row in its file, from 1 and without the header, int64 (N,).
        shape: The shape of a sample where one array holds all the numbers; None otherwise.

    Example:
        >>> table = table_of({"size": [1.0, 2.0], "color": ["red", None]})
        >>> table.select(np.array([1])).rows, table.columns["color"]
        (array([2]), array(['red', None], dtype=object))
    """

    name: str
    columns: Mapping[str, Values]
    rows: Values
    shape: tuple[int, ...] | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def select(self, indices: Values) -> Self:
        """Return the rows at ``indices``, in that order."""
        columns = {name: values[indices] for name, values in self.columns.items()}
        return replace(self, columns=columns, rows=self.rows[indices])

    def require(self, names: tuple[str, ...] | list[str], key: str) -> None:
        """Raise ``UserError`` unless it has columns of these names.

        Args:
            names: The names.
            key: The setting that needs them, for the message.
        """
        for name in names:
            if name not in self.columns:
                there = ", ".join(shortened(column, 30, quoted=False) for column in list(self.columns)[:20])
                more = ", ..." if len(self.columns) > 20 else ""
                got = f"{key}: {self.name} has no column {shortened(name)}"
                raise UserError(f"{got}, expected one of: {there or 'none'}{more}")

    def cell(self, column: str, place: int) -> str:
        """Return where a cell is, to begin an error with."""
        return f"{self.name}: column {shortened(column)}, row {int(self.rows[place])}"


def table_of(columns: Mapping[str, Any], name: str = "table") -> Table:
    """Make a table of columns that are at hand: lists, arrays, or a data frame of pandas.

    Raises:
        UserError: If a column has another length or kind of values.

    Example:
        >>> table_of({"size": [1, 2], "big": [False, True]}).columns["big"]
        array([0., 1.])
    """
    made = {str(key): column_values(columns[key], f"{name}: column {shortened(str(key))}") for key in columns}
    lengths = {key: len(values) for key, values in made.items()}
    if len(set(lengths.values())) > 1:
        first, other = sorted(lengths.items(), key=lambda entry: entry[1])[:: len(lengths) - 1]
        raise UserError(f"{name}: column {first[0]!r} has {first[1]} rows and {other[0]!r} has {other[1]}")
    return Table(name, made, np.arange(1, next(iter(lengths.values()), 0) + 1))


def column_values(values: Any, where: str) -> Values:
    """Return a column's values as float64, or as objects: texts, and None for what is missing.

    Args:
        values: A list, an array or a series of pandas.
        where: What begins the line of an error.

    Raises:
        UserError: If its cells are no numbers and no texts.

    Example:
        >>> column_values([1, None], "a"), column_values(["x", None], "a")
        (array([ 1., nan]), array(['x', None], dtype=object))
    """
    array = values.to_numpy() if hasattr(values, "to_numpy") else np.asarray(values)
    if array.ndim != 1:
        raise UserError(f"{where}: has the shape {array.shape}, expected one value a row")
    if array.dtype.kind in "fiub":
        return array.astype(np.float64)
    if array.dtype.kind in "mMcV":
        raise UserError(f"{where}: holds {array.dtype} values, expected numbers or texts")
    cells = [None if _is_missing(value) else value for value in array.tolist()]
    if all(cell is None or isinstance(cell, int | float) for cell in cells) and any(cell is not None for cell in cells):
        return np.array([np.nan if cell is None else float(cell) for cell in cells])
    for row, cell in enumerate(cells, 1):
        if isinstance(cell, list | dict | tuple | np.ndarray | bytes):
            raise UserError(f"{where}, row {row}: got a {type(cell).__name__}, expected a number or a text")
    texts = np.empty(len(cells), dtype=object)
    texts[:] = [None if cell is None else str(cell) for cell in cells]
    return texts


def _is_missing(value: Any) -> bool:
    # By the names of pandas' types, because pandas need not be there.
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and math.isnan(value)


def as_numbers(table: Table, column: str) -> Values:
    """Return a column's numbers, float64 (N,).

    Raises:
        UserError: If a cell is missing, infinite, or no number.

    Example:
        >>> as_numbers(table_of({"size": ["1", "x"]}, "a.csv"), "size")
        Traceback (most recent call last):
        limbeck.errors.UserError: a.csv: column 'size', row 2: got 'x', expected a number ...
    """
    values = table.columns[column]
    numbers = values if values.dtype != object else np.array([_number(table, column, k) for k in range(len(values))])
    bad = np.flatnonzero(~np.isfinite(numbers))
    if len(bad):
        got = "is missing" if np.isnan(numbers[bad[0]]) else f"got {numbers[bad[0]]}"
        raise UserError(f"{table.cell(column, int(bad[0]))}: {got}, expected a finite number")
    return numbers


def _number(table: Table, column: str, place: int) -> float:
    value = table.columns[column][place]
    try:
        return np.nan if value is None else float(value)
    except ValueError:
        expected = "expected a number (or the column among data.options.categorical)"
        raise UserError(f"{table.cell(column, place)}: got {shortened(value, 40)}, {expected}") from None


def as_texts(table: Table, column: str) -> Values:
    """Return a column's cells as texts, objects (N,); a whole number is written without a point.

    Raises:
        UserError: If a cell is missing.

    Example:
        >>> as_texts(table_of({"digit": [7.0, 0.5]}), "digit")
        array(['7', '0.5'], dtype=object)
    """
    values = table.columns[column]
    missing = np.flatnonzero([value is None for value in values] if values.dtype == object else np.isnan(values))
    if len(missing):
        raise UserError(f"{table.cell(column, int(missing[0]))}: is missing, expected a value")
    if values.dtype == object:
        return values
    texts = np.empty(len(values), dtype=object)
    texts[:] = [str(int(value)) if value.is_integer() else str(value) for value in values.tolist()]
    return texts


def is_numeric(table: Table, column: str) -> bool:
    """Return whether a column holds numbers: as such, or as texts of which at least half can be read as numbers.

    Example:
        >>> is_numeric(table_of({"a": ["1", "2", "?"]}), "a"), is_numeric(table_of({"a": ["x", "y"]}), "a")
        (True, False)
    """
    values = table.columns[column]
    if values.dtype != object:
        return True
    given = [value for value in values if value is not None]
    return bool(given) and 2 * sum(_can_be_read(value) for value in given) >= len(given)


def _can_be_read(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True
