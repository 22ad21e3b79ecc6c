"""Rows of a folder that the library ``datasets`` wrote by ``save_to_disk``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from limbeck.data.text.table import Table
from limbeck.errors import UserError, one_line, shortened
from limbeck.imports import optional_package

FILES = ("dataset_dict.json", "dataset_info.json")


def read_saved(root: Path) -> Mapping[str, Table]:
    """Read every split of a folder; a data set without splits is one named ``train``.

    Numbers of a ``ClassLabel`` become the names of the classes.

    Args:
        root: The folder, with ``dataset_dict.json`` or ``dataset_info.json``.

    Returns:
        The rows by the name of the split; a row's line is its number, from 1.

    Raises:
        UserError: If ``datasets`` is not installed or cannot read the folder.
    """
    library = optional_package("datasets", "text", "a folder of datasets")
    name = shortened(str(root), 200, quoted=False)
    try:
        saved = library.load_from_disk(str(root))
    except Exception as error:  # damaged files raise errors of several libraries
        raise UserError(f"data.root: {name} cannot be read by datasets ({one_line(error)})") from None
    splits = saved if isinstance(saved, dict) else {"train": saved}
    return {split: _table(f"{name} {split}", rows) for split, rows in splits.items()}


def _table(source: str, rows: Any) -> Table:
    if not len(rows):
        raise UserError(f"{source}: has no rows, expected texts and labels")
    columns = {column: _values(rows, column) for column in rows.column_names}
    return Table(source, columns, range(1, len(rows) + 1))


def _values(rows: Any, column: str) -> list[object]:
    values, names = [*rows[column]], getattr(rows.features[column], "names", None)
    if not isinstance(names, list):
        return values
    # Labels that are unknown are -1 there.
    return [names[value] if value is not None and value >= 0 else None for value in values]
