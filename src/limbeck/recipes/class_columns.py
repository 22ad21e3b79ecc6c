"""The columns of a teacher's logits that are the data's classes, as a recipe gives them: values, or a file of them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from limbeck.errors import UserError, shortened
from limbeck.files import expanded

_EXPECTED = "expected columns by class name, a list of columns in the order of the classes, or a JSON file of either"


def read_columns(value: Any) -> Any:
    """Return columns by class name, or a tuple of columns; those of a file are read, so that a run's recipe has them.

    Args:
        value: A mapping or a list, whose entries are a column or a list of columns, or the path of a JSON file.

    Raises:
        UserError: If it is none of these, or the file cannot be read.

    Example:
        >>> read_columns({"tench": 0, "dog": [151, 152]})
        {'tench': 0, 'dog': (151, 152)}
    """
    if isinstance(value, str | Path):
        value = _content(expanded(Path(value)))
    if isinstance(value, Mapping):
        return {str(name): _columns(entry, f"class {shortened(str(name))}") for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_columns(entry, f"entry {place}") for place, entry in enumerate(value))
    if value is None:
        return None
    raise UserError(f"got {shortened(value)}, {_EXPECTED}")


def _content(path: Path) -> Any:
    if path.exists() and not path.is_file():
        raise UserError(f"{shortened(str(path))}: is no regular file, {_EXPECTED}")
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{shortened(str(path))}: cannot be read ({error.strerror}), {_EXPECTED}") from None
    except (ValueError, RecursionError):
        raise UserError(f"{shortened(str(path))}: is no JSON, {_EXPECTED}") from None
    if not isinstance(content, dict | list):
        raise UserError(f"{shortened(str(path))}: holds {shortened(content)}, {_EXPECTED}")
    return content


def _columns(entry: Any, name: str) -> int | tuple[int, ...]:
    columns = entry if isinstance(entry, list | tuple) and entry else [entry]
    for column in columns:
        if isinstance(column, bool) or not isinstance(column, int) or column < 0:
            raise UserError(f"{name}: got {shortened(column)}, expected a column, from 0, or a list of columns")
    return tuple(columns) if isinstance(entry, list | tuple) else columns[0]


Columns = int | tuple[int, ...]
ColumnsByClass = Annotated[dict[str, Columns] | tuple[Columns, ...] | None, BeforeValidator(read_columns)]
"""The columns of each class, by name or in order; None where the teacher has the data's classes."""
