"""What ``limbeck search`` costs beside one run, and what successive halving misses.

    OMP_NUM_THREADS=1 python benchmarks/search.py --no-end    # 6 core minutes
    OMP_NUM_THREADS=1 python benchmarks/search.py recipe.yaml --set training.epochs=30

Without a recipe there are two cases: a small one, whose runs take seconds, and quickstart with a brief teacher. Whole
runs and one search take turns in this process: a run, the search, a run for each further method. The ratio of their
processor seconds does not depend on what else the machine does. The search counts to the last setting at the last rung;
its teacher's training and logits count apart, for the runs have both from before. Then, without ``--no-end``, every
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
CASES: dict[str, dict[str, Any]] = {
    "table_quickstart": {"data.train_limit": 1000, "training.epochs": 30},
    # The teacher's training counts apart, and would be most of what is measured.
    "quickstart": {"training.epochs": 20, "teacher.train_limit": 2000, "teacher.training.epochs": 2},
}
TITLE = "What a search costs"


class Clock:
    """Processor seconds of a search: when its teacher begins, when its trials begin, and when the last one ends."""

    def __init__(self) -> None:
        self.start = self.teacher = self.trials = self.end = time.process_time()

    def log(self, line: str) -> None:
        if line.startswith("after that: "):
            self.teacher = time.process_time()
        if re.match(r"trials \d+,", line):
            self.end = time.process_time()

    def tick(self, done: int, total: int) -> None:  # noqa: ARG002
        # The first one comes before the first epoch, with the teacher and its logits made.
        if self.trials <= self.teacher:
            self.trials = time.process_time()


def whole_run(recipe: Any, method: str, out: Path) -> float:
    start = time.process_time()
    limbeck.run(load_recipe(recipe, {"method": method}), out=out / f"run-{method}")
    return time.process_time() - start


def searched(recipe: Any, settings: int, out: Path) -> Clock:
    clock = Clock()
    changes = {"search.runs": settings, "search.control": False, "search.seeds": 1}
    reporting = Reporting(clock.log)
    limbeck.search(recipe, overrides=changes, out=out / "search", jobs=1, reporting=reporting, tick=clock.tick)
    return clock


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


def measured(name: str, recipe: Any, settings: int, out: Path) -> dict[str, Any]:
    # The runs find their teacher and its logits, so that their seconds are those of the student alone.
    whole_run(recipe, "kd", out / "before")
    runs = {"kd": whole_run(recipe, "kd", out)}
    clock = searched(recipe, settings, out)
    runs |= {method: whole_run(recipe, method, out) for method in METHODS if method != "kd"}
    run, epochs = statistics.fmean(runs.values()), total_epochs(rungs(recipe.training.epochs, settings))
    teacher = clock.trials - clock.teacher
    trials = clock.end - clock.start - teacher
    return {
        "recipe": name,
        "settings": settings,
        "epochs of a run": recipe.training.epochs,
        "epochs of the search": epochs,
        "in runs": round(epochs / recipe.training.epochs, 2),
        "a run (processor s)": round(run, 2),
        "the trials (processor s)": round(trials, 2),
        "trials / run": round(trials / run, 2),
        "teacher and logits (processor s)": round(teacher, 2),
        "both / run": round((trials + teacher) / run, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--settings", type=int, default=24)
    parser.add_argument("--name", default="search-cpu")
    parser.add_argument("--metric", default="accuracy")
    parser.add_argument("--no-end", action="store_true", help="do not train every setting to the end")
    options = parser.parse_args()
    rows = []
    notes = [
        f"a run: the mean of {', '.join(METHODS)}, one after the other, before and after the search",
        "teacher and logits: those of the search alone, which a run would need once too; the runs had theirs",
    ]
    for name, values in {options.recipe: {}}.items() if options.recipe else CASES.items():
        out = Path(tempfile.mkdtemp())
        changes = {**values, **parse_overrides(options.set), "output.cache": str(out / "cache")}
        recipe = load_recipe(name, {**changes, "teacher.cache": "views"})
        rows.append(measured(Path(name).stem, recipe, options.settings, out))
        # Once before the long part, of which nothing may come.
        record(options.name, TITLE, rows, notes=notes)
        if not options.no_end:
            lines = to_the_end(out, f"validation.{options.metric}")
            rows[-1] |= places(lines)
            notes.append(f"{name}, every setting at the end: {json.dumps([round(100 * e['end'], 2) for e in lines])}")
            record(options.name, TITLE, rows, notes=notes)


if __name__ == "__main__":
    main()
