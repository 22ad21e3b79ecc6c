"""Rows of a file of texts, read as columns of values."""

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from limbeck.errors import UserError, shortened

Cells = tuple[int, list[object]]
_LABEL_LINE = re.compile(r"(\S+)\s+(\S.*)")


@dataclass(frozen=True)
class Table:
    """The columns of a file, and the line of each row for messages.

    Attributes:
        source: The file, or the split of a folder.
        columns: The values of each column by its name, as many as there are rows; None where a row has none.
        lines: The line of each row in the file, from 1; of a row that spans several lines the last one.

    Example:
        >>> Table("a.csv", {"text": ["hello"], "label": ["greeting"]}, (2,)).place(0)
        'a.csv line 2'
    """

    source: str
    columns: Mapping[str, Sequence[object]]
    lines: Sequence[int]

    def __len__(self) -> int:
        return len(self.lines)

    def select(self, rows: Sequence[int]) -> Self:
        """Return the rows at these positions, in that order."""
        columns = {name: [values[row] for row in rows] for name, values in self.columns.items()}
        return replace(self, columns=columns, lines=[self.lines[row] for row in rows])

    def place(self, row: int) -> str:
        """Return the file and line of a row, for messages."""
        return f"{self.source} line {self.lines[row]}"


def read_table(path: Path) -> Table:
    r"""Read a file: CSV, TSV, JSON or JSONL by its suffix, else lines of a label, white space and a sentence.

    The first line of CSV and TSV has the names of the columns. A TSV has no quoting, but for cells that are quoted as a
    whole. JSON is a list of objects or an object a line.

    Args:
        path: The file, in UTF-8.

    Raises:
        UserError: If it cannot be read, has no rows, or a row does not fit.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "train.csv"
        >>> _ = path.write_text('text,label\n"hello, you",greeting\n')
        >>> read_table(path).columns
        {'text': ['hello, you'], 'label': ['greeting']}
    """
    name = shortened(str(path), 200, quoted=False)
    if path.exists() and not path.is_file():
        raise UserError(f"{name}: is no regular file, expected texts and labels")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = _READERS.get(path.suffix.lower(), _label_lines)(name, file)
    except OSError as error:
        raise UserError(f"{name}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError:
        expected = "expected CSV, TSV, JSON, JSONL, or lines of a label and a text"
        raise UserError(f"{name}: is no text in UTF-8, {expected}") from None
    except csv.Error as error:
        raise UserError(f"{name}: cannot be read as CSV ({error})") from None
    if not len(table):
        raise UserError(f"{name}: has no rows, expected texts and labels")
    return table


def _csv(name: str, file: Iterator[str]) -> Table:
    # Strict: otherwise a quotation mark that is never closed makes one cell of all the lines behind it.
    reader = csv.reader(file, strict=True)
    header = next(reader, [])
    return _with_header(name, header, ((reader.line_num, [*cells]) for cells in reader if cells))


def _tsv(name: str, file: Iterator[str]) -> Table:
    rows = ([_unquoted(cell) for cell in line.rstrip("\r\n").split("\t")] for line in file)
    header = next(rows, [])
    numbered = enumerate(rows, start=2)
    return _with_header(name, header, ((line, [*cells]) for line, cells in numbered if cells != [""]))


def _unquoted(cell: str) -> str:
    inner = cell[1:-1]
    quoted = len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if quoted else cell


def _with_header(name: str, header: Sequence[str], rows: Iterator[Cells]) -> Table:
    names = [column.strip() for column in header]
    if len(set(names)) < len(names) or not all(names):
        got = shortened(", ".join(names), 200, quoted=False)
        raise UserError(f"{name}: its first line is {got!r}, expected a name for each column, none of them twice")
    columns: dict[str, list[object]] = {column: [] for column in names}
    lines: list[int] = []
    for line, cells in rows:
        if len(cells) != len(names):
            expected = f"expected {len(names)} ({shortened(', '.join(names), 200, quoted=False)})"
            raise UserError(f"{name} line {line}: has {len(cells)} cells, {expected}")
        lines.append(line)
        for column, cell in zip(names, cells, strict=True):
            columns[column].append(cell)
    return Table(name, columns, lines)


def _json(name: str, file: Iterator[str]) -> Table:
    text = "".join(file)
    if not text.lstrip().startswith("["):
        return _json_lines(name, iter(text.split("\n")))
    return _of_objects(name, enumerate(_parsed(name, text), start=1))


def _json_lines(name: str, file: Iterator[str]) -> Table:
    numbered = enumerate(file, start=1)
    return _of_objects(name, ((line, _parsed(f"{name} line {line}", text)) for line, text in numbered if text.strip()))


def _parsed(place: str, text: str) -> list[object]:
    try:
        parsed: list[object] = json.loads(text)
    except ValueError as error:
        raise UserError(f"{place}: is no JSON ({error})") from None
    except RecursionError:
        raise UserError(f"{place}: is nested too deep for a row of texts") from None
    return parsed


def _of_objects(name: str, rows: Iterator[tuple[int, object]]) -> Table:
    columns: dict[str, list[object]] = {}
    lines: list[int] = []
    for line, row in rows:
        if not isinstance(row, dict):
            raise UserError(f"{name} line {line}: is {shortened(row)}, expected an object with a text and a label")
        for key in row.keys() - columns.keys():
            columns[key] = [None] * len(lines)
        lines.append(line)
        for column, values in columns.items():
            values.append(row.get(column))
    # Sets have an order of their own in every process.
    return Table(name, dict(sorted(columns.items())), lines)


def _label_lines(name: str, file: Iterator[str]) -> Table:
    labels: list[object] = []
    texts: list[object] = []
    lines: list[int] = []
    for line, text in enumerate(file, start=1):
        if not text.strip():
            continue
        match = _LABEL_LINE.match(text.strip())
        if match is None:
            got = f"{name} line {line}: is {shortened(text.strip())}"
            raise UserError(f"{got}, expected a label, a space and a text (or a file named .csv, .tsv or .jsonl)")
        lines.append(line)
        labels.append(match[1])
        texts.append(match[2])
    return Table(name, {"label": labels, "text": texts}, lines)


_READERS: Mapping[str, Callable[[str, Iterator[str]], Table]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
}
