"""The tables that limbeck reads, by name."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limbeck.data.data import Data
from limbeck.data.split import hold_out
from limbeck.data.tables.columns import Table, Values, as_texts, is_numeric, table_of
from limbeck.data.tables.data import TableData, TableSet
from limbeck.data.tables.files import read_tables
from limbeck.data.tables.preparation import Preparation
from limbeck.errors import UserError, shortened

_LABELS = ("label", "target", "class")
# What pandas calls the columns without a name; the first often has the numbers of the rows, which may give labels away.
_UNNAMED = "Unnamed: "
_SHOWN = 3
# Python reads no longer numbers.
_MOST_DIGITS = 4000
Names = str | Sequence[str]


def _table(
    root: Path | None = None,
    *,
    label: str | None = None,
    categorical: Names | None = None,
    ignore: Names = (),
    test_rows: int | None = None,
    shape: Sequence[int] | None = None,
    separator: str | None = None,
    test_share: float = 0.2,
    seed: int = 0,
    preparation: dict[str, Any] | None = None,
) -> Data:
    if root is None:
        raise UserError("data.root: got none, expected a CSV, TSV, Parquet or npz file, or a folder of them")
    _check_names(label=label, separator=separator)
    texts = (label,) if label is not None else tuple(spelled for name in _LABELS for spelled in _spellings(name))
    # As numbers, the codes 01 and 1 would be one category.
    fitted = None if preparation is None else Preparation.from_json(preparation)
    codes = () if categorical is None else tuple(_listed(categorical, "categorical"))
    codes = codes if fitted is None else tuple(fitted.categories)
    tables = read_tables(root, texts=(*texts, *codes), separator=separator)
    column = _label_column(tables["train"], label)
    tables = _with_test(tables, column, test_rows=test_rows, test_share=test_share, seed=seed)
    return _data("table", tables, column, categorical=categorical, ignore=ignore, shape=shape, fitted=fitted)


def _check_names(**given: object) -> None:
    for key, value in given.items():
        if value is not None and (not isinstance(value, str) or not value):
            raise UserError(f"data.options.{key}: got {shortened(value)}, expected a text")


def _spellings(name: str) -> tuple[str, str, str]:
    return name, name.capitalize(), name.upper()


def _bundled(
    name: str,
    *,
    shape: Sequence[int] | None = None,
    test_share: float = 0.2,
    seed: int = 0,
    preparation: dict[str, Any] | None = None,
) -> Data:
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    columns = {str(key): values for key, values in zip(bunch.feature_names, bunch.data.T, strict=True)}
    names = [str(entry) for entry in bunch.target_names]
    table = table_of({**columns, "class": np.array(names, dtype=object)[bunch.target]}, name)
    tables = _with_test({"train": table}, "class", test_rows=None, test_share=test_share, seed=seed)
    fitted = None if preparation is None else Preparation.from_json(preparation)
    return _data(name, tables, "class", shape=shape, classes=tuple(names), fitted=fitted)


def _label_column(table: Table, given: str | None) -> str:
    if given is not None:
        table.require([given], "data.options.label")
        return given
    found = [name for name in table.columns if name.lower() in _LABELS]
    if len(found) != 1:
        there = ", ".join(shortened(name, 30, quoted=False) for name in list(table.columns)[:20])
        got = "several columns of labels" if found else "no column named label, target or class"
        raise UserError(f"data.options.label: {table.name} has {got}, expected the name of one of its columns: {there}")
    return found[0]


def _with_test(
    tables: Mapping[str, Table], label: str, *, test_rows: int | None, test_share: float, seed: int
) -> dict[str, Table]:
    """Cut a test split off the training rows where there is no file for it."""
    whole = tables["train"]
    if "test" in tables:
        if test_rows is not None:
            raise UserError(f"data.options.test_rows: got {test_rows} beside a file of test rows, expected none")
        return dict(tables)
    if test_rows is None:
        names = as_texts(whole, label)
        numbers = torch.from_numpy(np.unique(names.astype(str), return_inverse=True)[1].astype(np.int64))
        stay, cut = (part.numpy() for part in _held_out(numbers, test_share, seed))
    else:
        if isinstance(test_rows, bool) or not isinstance(test_rows, int) or not 1 <= test_rows < len(whole):
            expected = f"expected 1 to {len(whole) - 1} of the rows of {whole.name}"
            raise UserError(f"data.options.test_rows: got {shortened(test_rows)}, {expected}")
        stay, cut = np.split(np.arange(len(whole)), [len(whole) - test_rows])
    return {**tables, "train": whole.select(stay), "test": whole.select(cut)}


def _held_out(numbers: torch.Tensor, share: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    try:
        return hold_out(numbers, share, seed=seed)
    except UserError as error:
        raise UserError(f"data.test_share: {error}") from None


def _data(
    name: str,
    tables: Mapping[str, Table],
    label: str,
    *,
    categorical: Names | None = None,
    ignore: Names = (),
    shape: Sequence[int] | None = None,
    classes: tuple[str, ...] | None = None,
    fitted: Preparation | None = None,
) -> Data:
    train = tables["train"]
    kept = train if fitted is not None else _features(train, label, _listed(ignore, "ignore"))
    preparation = fitted or _fitted(kept, categorical, shape if shape is not None else train.shape)
    classes = classes or _classes(train, label)
    splits = {split: _split(table, label, classes, preparation) for split, table in tables.items()}
    prepared = {"label": label, **preparation.as_json()}
    notes = () if fitted is not None else tuple(_notes(preparation, kept))
    held_out = splits.get("validation")
    return TableData(name, classes, splits["train"], held_out, splits["test"], notes=notes, prepared=prepared)


def _fitted(kept: Table, categorical: Names | None, shape: Sequence[int] | None) -> Preparation:
    texts = _categorical(kept, None if categorical is None else _listed(categorical, "categorical"))
    return Preparation.fitted(kept, texts, shape)


def _listed(names: Names, key: str) -> list[str]:
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list | tuple):
        raise UserError(f"data.options.{key}: got {shortened(names)}, expected names of columns")
    return [str(name) for name in names]


def _features(table: Table, label: str, ignore: Sequence[str]) -> Table:
    table.require(list(ignore), "data.options.ignore")
    columns = {name: values for name, values in table.columns.items() if name != label and name not in ignore}
    unnamed = next((name for name in columns if name.startswith(_UNNAMED)), None)
    if unnamed is not None:
        got = f"{table.name}: column {list(table.columns).index(unnamed) + 1} has no name"
        raise UserError(f"{got}, expected one, or {unnamed!r} in data.options.ignore (numbers of rows are no input)")
    if not columns:
        raise UserError(f"{table.name}: has no column beside {shortened(label)}, expected some to learn from")
    return Table(table.name, columns, table.rows)


def _categorical(table: Table, given: Sequence[str] | None) -> list[str]:
    if given is None:
        return [name for name in table.columns if not is_numeric(table, name)]
    table.require(list(given), "data.options.categorical")
    return [name for name in table.columns if name in given]


def _classes(table: Table, label: str) -> tuple[str, ...]:
    found = sorted(set(as_texts(table, label)), key=_by_number)
    if len(found) < 2:
        raise UserError(f"{table.name}: column {shortened(label)} has one class, {found[0]!r}, expected at least two")
    return tuple(found)


def _by_number(name: str) -> tuple[bool, float, str]:
    is_number = name.isdecimal() and len(name) <= _MOST_DIGITS
    return (False, int(name), name) if is_number else (True, 0.0, name)


def _split(table: Table, label: str, classes: Sequence[str], preparation: Preparation) -> TableSet:
    table.require([label], "data.options.label")
    inputs = torch.from_numpy(preparation.inputs(table))
    return TableSet(inputs, torch.from_numpy(_numbers(table, label, classes)))


def _numbers(table: Table, label: str, classes: Sequence[str]) -> Values:
    places, names = {name: place for place, name in enumerate(classes)}, as_texts(table, label)
    for row, name in enumerate(names):
        if name not in places:
            shown = ", ".join(shortened(entry, 20, quoted=False) for entry in classes[:5])
            expected = f"expected a class of the training rows: {shown}{', ...' if len(classes) > 5 else ''}"
            raise UserError(f"{table.cell(label, row)}: got {shortened(name, 40)}, {expected}")
    return np.array([places[name] for name in names], dtype=np.int64)


def _notes(preparation: Preparation, table: Table) -> list[str]:
    notes = []
    if preparation.categories:
        counts = [f"{shortened(n, 30, quoted=False)} ({len(v)})" for n, v in preparation.categories.items()]
        more = ", ..." if len(counts) > _SHOWN else ""
        numeric = len(preparation.numeric)
        notes.append(f"{numeric} numeric columns, {len(counts)} categorical: {', '.join(counts[:_SHOWN])}{more}")
    constant = [name for name in preparation.numeric if len(np.unique(table.columns[name])) == 1]
    if constant:
        shown = ", ".join(shortened(name, 30, quoted=False) for name in constant[:_SHOWN])
        notes.append(
            f"{len(constant)} columns are constant in the training rows: {shown}"
            f"{', ...' if len(constant) > _SHOWN else ''}"
        )
    return notes


LOADERS: Mapping[str, Callable[..., Any]] = {
    "table": _table,
    **{name: partial(_bundled, name) for name in ("iris", "wine", "breast_cancer", "digits")},
}
"""The loaders by name: tables in files, and the sets that are part of scikit-learn."""
