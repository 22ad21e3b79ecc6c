"""How rows of a table become inputs: fitted on training rows, kept as JSON, rebuilt from it exactly."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from limbeck.data.tables.columns import Table, Values, as_numbers, as_texts, table_of
from limbeck.data.tables.files import read_table
from limbeck.errors import UserError, shortened
from limbeck.files import expanded

MOST_CATEGORIES = 1000


@dataclass(frozen=True)
class Preparation:
    """Which columns are inputs, and the numbers by which they are standardized and encoded.

    Numeric columns come first: each minus its mean, divided by its deviation. Each categorical column follows as a 1
    among zeros, in the order of its categories.

    Attributes:
        numeric: Names of the numeric columns.
        mean: The mean of each.
        scale: The deviation of each, 1 for a constant one.
        categories: The categories of each categorical column.
        shape: The shape of an input.

    Example:
        >>> preparation = Preparation.fitted(table_of({"size": [0.0, 4.0], "color": ["red", "blue"]}), ["color"])
        >>> preparation.inputs(table_of({"size": [3.0], "color": ["red"]}))
        array([[0.5, 0. , 1. ]], dtype=float32)
    """

    numeric: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    categories: Mapping[str, tuple[str, ...]]
    shape: tuple[int, ...]

    @classmethod
    def fitted(cls, table: Table, categorical: Sequence[str], shape: Sequence[int] | None = None) -> Self:
        """Fit scikit-learn's ``ColumnTransformer`` of ``StandardScaler`` and ``OneHotEncoder`` on rows.

        Args:
            table: The rows, with the columns of the inputs alone.
            categorical: Which of them are categorical.
            shape: (channels, length) for series, whose numbers are standardized by channel; None for rows.

        Raises:
            UserError: If a cell cannot be used, or the shape does not fit.
        """
        numeric = tuple(name for name in table.columns if name not in categorical)
        rows = _raw(table, numeric, categorical)
        # Of numbers beyond any scale, which are refused where inputs are made of them.
        with np.errstate(over="ignore", invalid="ignore"):
            transformer = _transformer(len(numeric), len(categorical)).fit(rows)
        named = transformer.named_transformers_
        encoded = named["categorical"].categories_ if categorical else []
        categories = {n: tuple(map(str, values)) for n, values in zip(categorical, encoded, strict=True)}
        for name, values in categories.items():
            _check_count(table.name, name, values)
        scaler, width = named.get("numeric"), len(numeric) + sum(map(len, categories.values()))
        mean, scale = (scaler.mean_, scaler.scale_) if numeric else ((), ())
        if shape is not None:
            mean, scale = _by_channel(rows, _checked(shape, width, bool(categorical)))
        return cls(numeric, tuple(map(float, mean)), tuple(map(float, scale)), categories, tuple(shape or (width,)))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the preparation that :meth:`as_json` was called on.

        Raises:
            UserError: If something is missing.

        Example:
            >>> preparation = Preparation.fitted(table_of({"size": [0.1, 0.7]}), [])
            >>> Preparation.from_json(preparation.as_json()) == preparation
            True
        """
        try:
            numeric, mean, scale, shape = (tuple(values[key]) for key in ("numeric", "mean", "scale", "input_shape"))
            categories = {str(name): tuple(entries) for name, entries in values["categories"].items()}
            _check_stored(numeric, mean, scale, categories, shape)
            return cls(numeric, mean, scale, categories, shape)
        except (KeyError, TypeError, ValueError, AttributeError):
            got = ", ".join(map(str, values)) if isinstance(values, Mapping) else type(values).__name__
            raise UserError(f"preparation: got {shortened(got)}, expected that of a table") from None

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "numeric": list(self.numeric),
            "mean": list(self.mean),
            "scale": list(self.scale),
            "categories": {name: list(entries) for name, entries in self.categories.items()},
            "input_shape": list(self.shape),
        }

    def pipeline(self) -> Any:
        """Return scikit-learn's ``ColumnTransformer`` with these numbers, which takes the columns in this order."""
        transformer = _transformer(len(self.numeric), len(self.categories), list(self.categories.values()))
        # A row of zeros and first categories: fitting on it makes all that is no number of ours.
        blank = [[0.0] * len(self.numeric) + [entries[0] for entries in self.categories.values()]]
        transformer.fit(np.array(blank, dtype=object if self.categories else np.float64))
        if self.numeric:
            scaler = transformer.named_transformers_["numeric"]
            scaler.mean_, scaler.scale_ = np.array(self.mean), np.array(self.scale)
            scaler.var_ = scaler.scale_**2
        return transformer

    def inputs(self, table: Table) -> Values:
        """Return the inputs of rows, float32 (N, *shape).

        Raises:
            UserError: If a column is missing, or a cell is missing, no number, too large, or of an unseen category.
        """
        table.require([*self.numeric, *self.categories], "data")
        rows = _raw(table, self.numeric, tuple(self.categories))
        for place, (name, entries) in enumerate(self.categories.items(), len(self.numeric)):
            _check_seen(table, name, rows[:, place], entries)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            made = np.asarray(self.pipeline().transform(rows), dtype=np.float64)
        _check_range(table, self.numeric, made)
        return made.astype(np.float32).reshape(len(table), *self.shape)


def _check_stored(
    numeric: tuple[Any, ...],
    mean: tuple[Any, ...],
    scale: tuple[Any, ...],
    categories: Mapping[str, tuple[Any, ...]],
    shape: tuple[Any, ...],
) -> None:
    """Raise ``ValueError`` unless the parts of a preparation fit each other."""
    names = all(isinstance(name, str) for name in numeric)
    numbers = all(math.isfinite(float(value)) for value in (*mean, *scale)) and all(float(s) > 0 for s in scale)
    texts = all(entries and all(isinstance(entry, str) for entry in entries) for entries in categories.values())
    inputs = len(numeric) + sum(map(len, categories.values()))
    sides = all(type(side) is int and side > 0 for side in shape)
    if not (names and numbers and texts and sides and len(numeric) == len(mean) == len(scale)):
        raise ValueError("a part is of another kind")
    if inputs != math.prod(shape) or not inputs:
        raise ValueError(f"{inputs} inputs of shape {shape}")


def prepare(table: Any, preparation: Mapping[str, Any]) -> Tensor:
    """Make inputs of raw rows, as a student of a table was trained on.

    Args:
        table: A file, a data frame of pandas, or a mapping of columns.
        preparation: What is stored with the student: ``preparation`` in the metadata of ``student.safetensors``.

    Returns:
        float32 (N, *shape).

    Raises:
        UserError: If the rows do not fit.

    Example:
        >>> from limbeck.data import load
        >>> preparation = load("iris").preparation
        >>> rows = {name: [value] for name, value in zip(preparation["numeric"], preparation["mean"])}
        >>> prepare(rows, preparation)
        tensor([[0., 0., 0., 0.]])
    """
    rebuilt = Preparation.from_json(preparation)
    made = (
        read_table(expanded(table), texts=tuple(rebuilt.categories))
        if isinstance(table, str | Path)
        else table_of(table)
    )
    return torch.from_numpy(rebuilt.inputs(made))


def _check_range(table: Table, numeric: Sequence[str], made: Values) -> None:
    places = np.argwhere(~(np.abs(made) <= np.finfo(np.float32).max))
    if len(places):
        row, column = map(int, places[0])
        got = f"{table.cell(numeric[column], row)}: got {table.columns[numeric[column]][row]}"
        raise UserError(f"{got}, {made[row, column]:.3g} when standardized, expected a number that float32 can be")


def _transformer(numeric: int, categorical: int, categories: Any = "auto") -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    encoder = OneHotEncoder(categories=categories, sparse_output=False)
    parts = [("numeric", StandardScaler(), list(range(numeric)))] if numeric else []
    parts += [("categorical", encoder, list(range(numeric, numeric + categorical)))] if categorical else []
    return ColumnTransformer(parts, sparse_threshold=0)


def _raw(table: Table, numeric: Sequence[str], categorical: Sequence[str]) -> Values:
    """Return the columns side by side: float64, or objects where some are categorical."""
    columns = [*(as_numbers(table, name) for name in numeric), *(as_texts(table, name) for name in categorical)]
    rows = np.empty((len(table), len(columns)), dtype=object if categorical else np.float64)
    for place, values in enumerate(columns):
        rows[:, place] = values
    return rows


def _checked(shape: Sequence[int], width: int, is_categorical: bool) -> tuple[int, int]:
    if (
        not isinstance(shape, list | tuple)
        or len(shape) != 2
        or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in shape)
    ):
        raise UserError(f"data.options.shape: got {shortened(shape)}, expected [channels, length]")
    if is_categorical or shape[0] * shape[1] != width:
        got = f"data.options.shape: got {shortened(list(shape))}, {shape[0] * shape[1]} numbers"
        kind = "categorical columns" if is_categorical else f"{width} numeric columns"
        raise UserError(f"{got}, but a row has {kind}")
    return shape[0], shape[1]


def _by_channel(rows: Values, shape: tuple[int, int]) -> tuple[Values, Values]:
    from sklearn.preprocessing import StandardScaler

    channels, length = shape
    steps = rows.reshape(len(rows), channels, length).transpose(0, 2, 1).reshape(-1, channels)
    scaler = StandardScaler().fit(steps)
    return np.repeat(scaler.mean_, length), np.repeat(scaler.scale_, length)


def _check_count(table: str, name: str, categories: Sequence[str]) -> None:
    if len(categories) > MOST_CATEGORIES:
        got = f"{table}: column {shortened(name)} has {len(categories):,} categories, such as {categories[0]!r}"
        raise UserError(f"{got}, expected at most {MOST_CATEGORIES:,}, or the column in data.options.ignore")


def _check_seen(table: Table, name: str, values: Values, entries: Sequence[str]) -> None:
    known = set(entries)
    place = next((place for place, value in enumerate(values) if value not in known), None)
    if place is not None:
        shown = ", ".join(shortened(entry, 20, quoted=False) for entry in entries[:5])
        expected = f"expected a category of the training rows: {shown}{', ...' if len(entries) > 5 else ''}"
        raise UserError(f"{table.cell(name, place)}: got {shortened(values[place], 40)}, {expected}")
