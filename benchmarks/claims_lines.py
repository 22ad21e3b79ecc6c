"""The lines that the claims' runs leave in a file, each written once."""

import json
import statistics
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from claims_plan import Row
from limbeck.methods import Method

# What a line keeps of a summary.
KEPT = {
    "accuracy": "test.accuracy",
    "ece": "test.ece",
    "nll": "test.loss",
    "validation": "validation.accuracy",
    "train": "train.accuracy",
    "seconds": "seconds",
    "teacher_right": "teacher.train.accuracy",
    "teacher_validation": "teacher.validation.accuracy",
    "teacher_ece": "teacher.validation.ece",
    "tau": "tame.temperature",
    "lambda": "weigh.share",
}


def without_effect(method: Method) -> set[tuple[str, str]]:
    """Return the settings, by name and key, that change nothing in a run: with other defaults it is the same run."""
    selects = [name for name, settings in method.settings.items() if settings.get("scorer", "none") != "none"]
    idle = {(name, key) for name in selects for key in ("max_confidence", "by_row")}
    if not any(term.name == "kd" for term in method.terms):
        # Another loss has taken the place of theirs.
        idle |= {(name, "temperature") for name in ("lr", "lr_ds")}
    return idle


class Lines:
    """Finished runs by key.

    Args:
        path: The file, which need not be there yet.
        commit: What new lines are marked with.
        recorded: A file of lines that were published, whose runs are not made again.
    """

    def __init__(self, path: Path, commit: str, recorded: Path | None = None) -> None:
        self.path, self.commit = path, commit
        known = recorded.read_text().splitlines() if recorded is not None and recorded.is_file() else []
        text = path.read_text() if path.is_file() else ""
        # A line that a killed process left unfinished is computed again.
        whole = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
        self.by_key: dict[str, dict[str, Any]] = {line["key"]: line for line in map(json.loads, [*known, *whole])}
        if text and not text.endswith("\n"):
            path.write_text("".join(whole))

    def __contains__(self, key: str) -> bool:
        return key in self.by_key

    def __getitem__(self, key: str) -> dict[str, Any]:
        return self.by_key[key]

    def add(self, key: str, about: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, Any]:
        """Keep a run."""
        figures = {name: summary[key] for name, key in KEPT.items() if key in summary}
        made = {"commit": self.commit, "finished": datetime.now().isoformat(timespec="seconds")}
        line = {"key": key, **about, **figures, **made}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self.by_key[key] = line
        return line

    def publish(self, path: Path) -> None:
        """Write all lines to a file that is committed, those that were recorded before too."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(line) + "\n" for line in self.by_key.values()))

    def done(self, row: Row) -> bool:
        """Return whether a run is there, made with the defaults that the library's methods have now."""
        made = self.by_key[row.key].get("settings", {}) if row.key in self else None
        if made is None:
            return False
        method = row.method.composed()
        present, idle = method.settings, without_effect(method)
        # A setting that the library did not have then does not count.
        return all(
            (part, key) in idle or present.get(part, {}).get(key) == value
            for part, values in made.items()
            for key, value in values.items()
        )

    @staticmethod
    def kind(row: Row) -> str:
        """Return what the time of a run depends on."""
        values = [row.recipe["data"]["name"], row.recipe["training"]["epochs"], row.recipe["student"]]
        return json.dumps([*values, row.method.source])

    def seconds_by(self, rows: Sequence[Row]) -> dict[str, float]:
        """Return the mean seconds of the finished runs by their kind."""
        taken: dict[str, list[float]] = {}
        for row in rows:
            if self.done(row) and "seconds" in self[row.key]:
                taken.setdefault(self.kind(row), []).append(self[row.key]["seconds"])
        return {kind: statistics.fmean(values) for kind, values in taken.items()}
