"""What ``limbeck search`` costs beside one run, and what successive halving misses.

    OMP_NUM_THREADS=1 python benchmarks/search.py    # 10 core minutes
    OMP_NUM_THREADS=1 python benchmarks/search.py recipe.yaml --set training.epochs=30

One search and whole runs of ``kd`` take turns in this process: a run, the search, a run for each further method. The
ratio of their processor seconds does not depend on what else the machine does. The search counts from its first line to
the last setting at the last rung, with its teacher's training and logits; the runs have both from before. Then every
setting is trained to the end, which shows the place that the chosen one really has.
"""

import argparse
import csv
import json
import re
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import limbeck
from limbeck.runs import Reporting, load_recipe, parse_overrides
from limbeck.runs.search.halving import rungs, total_epochs
from record import record

METHODS = ("kd", "dist", "dkd", "lr")


class Clock:
    """Processor and wall seconds, to the last line of a search's trials."""

    def __init__(self) -> None:
        self.start, self.trials = self.now(), (0.0, 0.0)

    @staticmethod
    def now() -> tuple[float, float]:
        return time.process_time(), time.perf_counter()

    def log(self, line: str) -> None:
        if re.match(r"trials \d+,", line):
            self.trials = self.taken()

    def taken(self) -> tuple[float, float]:
        now = self.now()
        return now[0] - self.start[0], now[1] - self.start[1]


def whole_run(recipe: Any, method: str, out: Path) -> tuple[float, float]:
    clock = Clock()
    limbeck.run(load_recipe(recipe, {"method": method}), out=out / f"run-{method}")
    return clock.taken()


def searched(recipe: Any, settings: int, out: Path) -> tuple[float, float]:
    clock = Clock()
    changes = {"search.runs": settings, "search.control": False, "search.seeds": 1}
    limbeck.search(recipe, overrides=changes, out=out / "search", jobs=1, reporting=Reporting(clock.log))
    return clock.trials


def to_the_end(out: Path, column: str) -> list[dict[str, Any]]:
    """Train every setting to the end, as the search would have, and return what the search had and what it is."""
    lines = []
    for line in csv.DictReader((out / "search" / "trials.csv").open()):
        folder = out / "search" / "trials" / f"{int(line['trial']):03}"
        done = limbeck.run(folder / "recipe.yaml", out=out / "end" / line["trial"])
        lines.append({**line, "end": done.summary[column], "test": done.summary[column.replace("validation", "test")]})
    return lines


def places(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the place of the search's choice among all settings trained to the end, and what the median one has."""
    best = max((line for line in lines if line["state"] == "complete"), key=lambda line: line["end"])
    above = sum(line["end"] > best["end"] for line in lines)
    ends = sorted((line["end"] for line in lines), reverse=True)
    return {
        "chosen": f"{best['method']} {best['settings']}",
        "place at the end": f"{above + 1} of {len(lines)}",
        "validation (%)": round(100 * best["end"], 2),
        "best of all (%)": round(100 * ends[0], 2),
        "median of all (%)": round(100 * statistics.median(ends), 2),
        "test (%)": round(100 * best["test"], 2),
        "median of all, test (%)": round(100 * statistics.median(line["test"] for line in lines), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", default="table_quickstart")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--settings", type=int, default=24)
    parser.add_argument("--name", default="search-cpu")
    parser.add_argument("--metric", default="accuracy")
    parser.add_argument("--no-end", action="store_true", help="do not train every setting to the end")
    options = parser.parse_args()
    out = Path(tempfile.mkdtemp())
    changes = {**parse_overrides(options.set), "output.cache": str(out / "cache")}
    recipe = load_recipe(options.recipe, {**changes, "teacher.cache": "views"})
    # The runs find their teacher and its logits, so that their seconds are those of the student alone.
    whole_run(recipe, "kd", out / "before")
    runs = {"kd": whole_run(recipe, "kd", out)}
    search = searched(recipe, options.settings, out)
    runs |= {method: whole_run(recipe, method, out) for method in METHODS if method != "kd"}
    run = [statistics.fmean(seconds) for seconds in zip(*runs.values(), strict=True)]
    epochs = total_epochs(rungs(recipe.training.epochs, options.settings))
    row = {
        "settings": options.settings,
        "epochs of a run": recipe.training.epochs,
        "epochs of the search": epochs,
        "in runs": round(epochs / recipe.training.epochs, 2),
        "a run (processor s)": round(run[0], 2),
        "the search (processor s)": round(search[0], 2),
        "search / run": round(search[0] / run[0], 2),
        "search / run, wall": round(search[1] / run[1], 2),
    }
    notes = [f"a run: the mean of {', '.join(METHODS)}, one after the other, before and after the search"]
    # Once before the long part, of which nothing may come.
    record(options.name, "What a search costs", [row], notes=notes)
    if not options.no_end:
        lines = to_the_end(out, f"validation.{options.metric}")
        row |= places(lines)
        notes.append(f"every setting at the end: {json.dumps([round(100 * line['end'], 2) for line in lines])}")
        record(options.name, "What a search costs", [row], notes=notes)


if __name__ == "__main__":
    main()
