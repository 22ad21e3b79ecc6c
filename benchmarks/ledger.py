"""Finished runs of a table, a line of JSON each, which outlast the folders and the machine that made them."""

import csv
import hashlib
import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from limbeck.runs import Recipe, RunFolder
from limbeck.training.settings import WITHOUT_EFFECT
from record import commit

# Where something lies decides no number, nor do the settings of a training that only report.
PLACES = frozenset({"root", "output", "compare", "trust"})


def _deciding(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {key: _deciding(part) for key, part in value.items() if key not in PLACES | WITHOUT_EFFECT}


def key_of(recipe: Recipe) -> str:
    """Return a digest of what decides a run's numbers."""
    values = _deciding(recipe.model_dump(mode="json"))
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def result_of(folder: RunFolder) -> dict[str, Any]:
    """Read what a finished run came to: last and best epoch on the test images, in percent, and its seconds."""
    with (folder.path / "metrics.csv").open() as file:
        epochs = list(csv.DictReader(file))
    measured = [100 * float(row["test.accuracy"]) for row in epochs if row.get("test.accuracy")]
    summary = folder.read_summary()
    return {
        "last": 100 * summary["test.accuracy"],
        "best": max(measured),
        "measured epochs": len(measured),
        "ece": 100 * summary["test.ece"],
        "seconds": round(sum(float(row["seconds"]) for row in epochs), 1),
        "samples/s": round(statistics.median(float(row["samples_per_second"]) for row in epochs)),
    }


class Ledger:
    """The finished runs of one table.

    Args:
        path: The file, which need not be there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.is_file() else []
        self._results = {line["key"]: line for line in map(json.loads, lines)}

    def get(self, recipe: Recipe) -> dict[str, Any] | None:
        """Return what a recipe's run came to; None if it has not finished."""
        return self._results.get(key_of(recipe))

    def add(self, recipe: Recipe, result: Mapping[str, Any], **names: Any) -> None:
        """Append a run, under names for whoever reads the file."""
        line = {"key": key_of(recipe), **names, **result, "commit": commit()}
        self._results[line["key"]] = line
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
