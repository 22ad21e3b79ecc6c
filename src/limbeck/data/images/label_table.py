"""A table of the classes that images have, several an image: a CSV file beside a folder of images."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from limbeck.errors import UserError, shortened

_VALUES = {"1": 1, "1.0": 1, "true": 1, "0": 0, "0.0": 0, "false": 0, "": -1, "-1": -1, "-1.0": -1, "nan": -1, "?": -1}
_SPLITS = {"train": "train", "test": "test", "val": "validation", "valid": "validation", "validation": "validation"}
_SPLIT_COLUMN, _BETWEEN = "split", "|"


@dataclass(frozen=True)
class LabelTable:
    """The content of a table.

    Attributes:
        classes: The class names.
        files: A file's name for each image, relative to the folder of images.
        labels: For each image one number a class: 1 present, 0 absent, -1 not known.
        splits: For each image its split, ``"train"``, ``"validation"`` or ``"test"``; None without such a column.
    """

    classes: tuple[str, ...]
    files: tuple[str, ...]
    labels: tuple[tuple[int, ...], ...]
    splits: tuple[str, ...] | None = None


def read_label_table(path: Path) -> LabelTable:
    r"""Read a CSV file whose first column names the image files, with a header.

    Either a column for each class follows, with 1 (present), 0 (absent), and -1, nan, ? or nothing (not known); or one
    column with the names of an image's classes between ``|``. A column ``split`` beside them has train, val and test.

    Args:
        path: The file, in UTF-8.

    Raises:
        UserError: If it is missing or no such table, a value or a split is another one, or a file stands twice.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "labels.csv"
        >>> _ = path.write_text("file,tags\n1.jpg,cat|dog\n2.jpg,\n")
        >>> read_label_table(path)
        LabelTable(classes=('cat', 'dog'), files=('1.jpg', '2.jpg'), labels=((1, 1), (0, 0)), splits=None)
    """
    header, rows = _cells(path)
    place = header.index(_SPLIT_COLUMN) if _SPLIT_COLUMN in header[1:] else None
    splits = None if place is None else tuple(_split(path, number, row[place]) for number, row in rows)
    names = [name for column, name in enumerate(header) if column not in (0, place)]
    values = [(n, [cell for column, cell in enumerate(row) if column not in (0, place)]) for n, row in rows]
    is_list = len(names) == 1 and any(cells[0].lower() not in _VALUES for _, cells in values)
    classes, labels = _of_names(path, values) if is_list else _of_columns(path, names, values)
    if not classes:
        raise UserError(f"data.options.labels: {path} names no classes, expected a column for each, or one of names")
    return LabelTable(classes, _files(path, rows), labels, splits)


def _cells(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header, and each other row with its line's number; cells are stripped."""
    if path.exists() and not path.is_file():
        raise UserError(f"data.options.labels: {path}: is no regular file, expected a CSV file")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else f"is no CSV file in UTF-8 ({error})"
        raise UserError(f"data.options.labels: {path}: {reason}") from None
    if len(lines) < 2 or len(lines[0][1]) < 2:
        got = f"{len(lines)} rows of {len(lines[0][1]) if lines else 0} columns"
        raise UserError(f"data.options.labels: {path} has {got}, expected a header and a row for each image")
    (_, header), *rows = lines
    if twice := {name for name in header if header.count(name) > 1}:
        raise UserError(f"data.options.labels: {path} has the column {min(twice)!r} twice, expected each once")
    for number, row in rows:
        if len(row) != len(header):
            raise UserError(f"data.options.labels: {path}, line {number}: {len(row)} cells, expected {len(header)}")
    return header, rows


def _split(path: Path, number: int, cell: str) -> str:
    if cell.lower() not in _SPLITS:
        expected = f"expected {', '.join(_SPLITS)}"
        raise UserError(f"data.options.labels: {path}, line {number}: got the split {shortened(cell)}, {expected}")
    return _SPLITS[cell.lower()]


def _files(path: Path, rows: Sequence[tuple[int, list[str]]]) -> tuple[str, ...]:
    lines: dict[Path, int] = {}
    for number, (name, *_) in rows:
        if Path(name) in lines:
            got = f"the file {shortened(name)} stands in line {lines[Path(name)]} too"
            raise UserError(f"data.options.labels: {path}, line {number}: {got}, expected each once")
        lines[Path(name)] = number
    return tuple(map(str, lines))


Labels = tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]


def _of_names(path: Path, values: Sequence[tuple[int, list[str]]]) -> Labels:
    named = []
    for number, (cell,) in values:
        names = [name.strip() for name in cell.split(_BETWEEN)] if cell else []
        if "" in names or len(set(names)) < len(names):
            got = f"got {shortened(cell)}, expected the names of classes between '|', each once"
            raise UserError(f"data.options.labels: {path}, line {number}: {got}")
        named.append(names)
    classes = tuple(sorted({name for names in named for name in names}))
    return classes, tuple(tuple(int(name in names) for name in classes) for names in named)


def _of_columns(path: Path, names: Sequence[str], values: Sequence[tuple[int, list[str]]]) -> Labels:
    labels = []
    for number, cells in values:
        for name, cell in zip(names, cells, strict=True):
            if cell.lower() not in _VALUES:
                got = f"column {shortened(name)}: got {shortened(cell)}"
                expected = "expected 1, 0, or nothing where it is not known"
                raise UserError(f"data.options.labels: {path}, line {number}, {got}, {expected}")
        labels.append(tuple(_VALUES[cell.lower()] for cell in cells))
    return tuple(names), tuple(labels)
