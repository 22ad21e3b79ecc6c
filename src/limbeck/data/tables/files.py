"""Tables in files: CSV, TSV, Parquet and npz."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from limbeck.data.tables.columns import Table, table_of
from limbeck.errors import UserError, one_line, shortened
from limbeck.imports import optional_package

_SPLITS = MappingProxyType(
    {"train": ("train", "training"), "validation": ("validation", "valid", "val"), "test": ("test", "testing")}
)


def read_tables(root: Path, *, texts: tuple[str, ...] = (), separator: str | None = None) -> dict[str, Table]:
    """Read a file, or a folder of files for the splits.

    Args:
        root: A file, or a folder with ``train.csv``, ``test.csv`` and the like.
        texts: Columns that are read as texts, such as that of the labels.
        separator: What separates the columns of a CSV file; by default a comma, for TSV a tab.

    Returns:
        The tables by split: ``"train"``, and ``"validation"`` and ``"test"`` where there are files for them.

    Raises:
        UserError: If there is no such file, or one cannot be read.
    """
    if root.is_dir():
        files = _files(root)
    elif root.is_file():
        files = {"train": root}
    else:
        raise UserError(f"data.root: {shortened(str(root))}: no such file or folder, expected a table")
    return {split: read_table(path, texts=texts, separator=separator) for split, path in files.items()}


def _files(root: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(root.iterdir()):
        stem, kind = path.name.partition(".")[0].lower(), _kind(path)
        split = next((split for split, stems in _SPLITS.items() if stem in stems), None)
        if kind is None or split is None:
            continue
        if split in found:
            raise UserError(f"data.root: {root} has {found[split].name} and {path.name}, expected one of them")
        found[split] = path
    if "train" not in found:
        raise UserError(f"data.root: {shortened(str(root))} has no train.csv, .tsv, .parquet or .npz")
    return found


def read_table(path: Path, *, texts: tuple[str, ...] = (), separator: str | None = None) -> Table:
    """Read a table; the arguments are those of :func:`read_tables`.

    An npz file holds an array a column, (N,), or arrays of several dimensions, (N, ...), each number of which is a
    column.

    Raises:
        UserError: If the file cannot be read as the kind of file that its name stands for.
    """
    kind = _kind(path)
    if kind is None:
        expected = f"expected one of {', '.join(_READERS)}, texts also as .gz"
        raise UserError(f"data.root: {shortened(str(path))}: unknown kind of file, {expected}")
    try:
        table = _READERS[kind](path, texts, separator)
    except UserError:
        raise
    except Exception as error:  # the libraries raise no common type
        raise UserError(f"data.root: {shortened(str(path))}: cannot be read ({one_line(error)})") from error
    if not len(table):
        raise UserError(f"data.root: {shortened(str(path))}: has no rows, expected some")
    return table


def _kind(path: Path) -> str | None:
    kind, known = path.suffix.lower(), tuple(_READERS)
    if kind == ".gz":
        kind, known = path.with_suffix("").suffix.lower(), (".csv", ".tsv", ".tab")
    return kind if kind in known else None


def _read_csv(path: Path, texts: tuple[str, ...], separator: str | None) -> Table:
    pandas = optional_package("pandas", "tables", f"reading {path.name}")
    default = "\t" if _kind(path) in (".tsv", ".tab") else ","
    # An empty cell is missing; "NA" or "None" may be a category.
    options = {"sep": separator or default, "keep_default_na": False, "na_values": [""], "low_memory": False}
    # Two lines, because the names of a header alone would make the cells that rows have beyond it names of the rows.
    start = pandas.read_csv(path, header=None, nrows=2, dtype=str, **options)
    _check_names(start.iloc[0].tolist(), path.name)
    return table_of(pandas.read_csv(path, dtype=dict.fromkeys(texts, str), **options), path.name)


def _check_names(header: list[Any], name: str) -> None:
    # pandas would call the second column of a name NAME.1: a second column of labels would be an input.
    repeated = next((entry for place, entry in enumerate(header) if entry in header[:place]), None)
    if isinstance(repeated, str):
        raise UserError(f"{name}: two columns are named {shortened(repeated)}, expected a name of its own for each")


def _read_parquet(path: Path, texts: tuple[str, ...], separator: str | None) -> Table:  # noqa: ARG001
    pandas = optional_package("pandas", "tables", f"reading {path.name}")
    optional_package("pyarrow", "tables", f"reading {path.name}")
    return table_of(pandas.read_parquet(path, engine="pyarrow"), path.name)


def _read_npz(path: Path, texts: tuple[str, ...], separator: str | None) -> Table:  # noqa: ARG001
    with np.load(path, allow_pickle=False) as arrays:
        held = {name: arrays[name] for name in arrays.files}
    return _table_of_arrays(held, path.name)


def _table_of_arrays(held: Mapping[str, Any], name: str) -> Table:
    columns: dict[str, Any] = {}
    blocks = [array for array in held.values() if array.ndim > 1]
    for key, array in held.items():
        if array.ndim == 0:
            raise UserError(f"{name}: {key!r} is a single value, expected an array with a row a sample")
        flat = array.reshape(len(array), -1)
        columns |= {key: array} if array.ndim == 1 else {f"{key}.{k}": flat[:, k] for k in range(flat.shape[1])}
    table = table_of(columns, name)
    shape = blocks[0].shape[1:] if len(blocks) == 1 and blocks[0].ndim == 3 else None
    return Table(name, table.columns, table.rows, shape)


_READERS: Mapping[str, Callable[[Path, tuple[str, ...], str | None], Table]] = MappingProxyType(
    {".csv": _read_csv, ".tsv": _read_csv, ".tab": _read_csv, ".parquet": _read_parquet, ".npz": _read_npz}
)
