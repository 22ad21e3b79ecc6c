"""Predictions as text: CSV, or an object of JSON a line."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from limbeck.errors import UserError

Format = Literal["csv", "jsonl"]
_DIGITS = 6


def as_text(rows: Sequence[Mapping[str, Any]], form: Format) -> str:
    """Write the rows of predictions.

    In CSV the further classes of ``top_k`` are the columns ``class_2``, ``probability_2`` and so on, and several
    classes of a sample stand in one cell, separated by ``;``.

    Args:
        rows: The rows.
        form: ``"csv"`` or ``"jsonl"``.

    Raises:
        UserError: If boxes are to be CSV.

    Example:
        >>> top = [{"class": "cat", "probability": 0.75}, {"class": "dog", "probability": 0.25}]
        >>> print(as_text([{"path": "a.png", **top[0], "top": top}], "csv"), end="")
        path,class,probability,class_2,probability_2
        a.png,cat,0.750000,dog,0.250000
    """
    if form == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    flat = [_flat(row) for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(flat[0]) if flat else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    if "boxes" in row:
        raise UserError("format: got 'csv', but an image has any number of boxes, expected jsonl")
    flat = {key: _cell(value) for key, value in row.items() if key != "top"}
    for number, entry in enumerate(row.get("top", [])[1:], 2):
        flat |= {f"{key}_{number}": _cell(value) for key, value in entry.items()}
    return flat


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.{_DIGITS}f}"
    if isinstance(value, list):
        return ";".join(value)
    if isinstance(value, dict):
        return ";".join(f"{name}={_cell(share)}" for name, share in value.items())
    return value
