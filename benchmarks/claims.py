"""Whether the claims of the four systems hold on real data: each where it must hold, and where it need not.

    OMP_NUM_THREADS=1 python benchmarks/claims.py                  # seconds, to try the script
    OMP_NUM_THREADS=1 python benchmarks/claims.py --budget cpu     # hours on one core; needs LIMBECK_SHARED
    python benchmarks/claims.py --budget cpu --only b,d --list     # how many runs, how many are done, minutes left

(a) DIST as the teacher grows; (b) LR+DS with unreliable teachers; (c) DR-KD and Tf-KD beside a second training;
(d) LW-KD beside smoothed labels; (e) targets in front of losses; (f) LR+DS with other students, learning rates and
lengths; (g) compositions with a strong teacher of 100 classes. Every figure is that of the last epoch on the test
split. Choices, such as the weight of KD, are made on a validation split that neither teacher nor student learns from.

A run is a line in --out/lines.jsonl, known by a digest of all that it depends on: the same command resumes where it was
stopped, and claims share the runs that are the same. --publish puts the lines into benchmarks/results/ too, and what is
there is not run again. The tables in --out/tables are written after every tenth run.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import limbeck
from claims_budgets import BUDGETS
from claims_lines import Lines
from claims_page import publish, save
from claims_plan import Budget, Row, digest, plan
from claims_sets import register
from harness import shared_data
from limbeck.build.context import Context
from limbeck.build.measured_teacher import measure_teacher
from limbeck.build.teachers import build_teacher
from limbeck.errors import RunError, UserError
from limbeck.runs import Reporting, load_recipe
from record import RESULTS, commit

EVERY = 10


def make_known(budget: Budget, out: Path) -> None:
    """Register the images of a budget, and make the teacher of the shared data importable."""
    shared = shared_data()
    if shared is not None:
        sys.path.append(str(shared / "cifar100-teacher"))
    taught = [teacher.images for teacher in budget.teachers.values() if teacher.images]
    for images in {setting.images for setting in budget.settings.values()}.union(taught):
        register(images, out / "data")


def train(recipe: Mapping[str, Any], folder: Path, out: Path) -> dict[str, Any]:
    """Train a network, and return what it reached."""
    values = {**recipe, "output": {"cache": str(out / "cache")}}
    return dict(limbeck.run(values, out=folder, overwrite=True, trust=True).summary)


def network_of(teacher: Mapping[str, Any], lines: Lines, out: Path) -> dict[str, Any]:
    """Return the recipe's ``teacher`` for a network, which is trained first if it is not there yet."""
    if "data" not in teacher:
        return dict(teacher["student"])
    key = digest(teacher)
    folder = out / "teachers" / key
    # Its line may be recorded where its weights are not at hand.
    if not (folder / "student.safetensors").is_file():
        lines.add(key, {"teacher": teacher["data"]["name"]}, train(teacher, folder, out))
    return {**teacher["student"], "weights": str(folder / "student.safetensors")}


def share_right(recipe: Mapping[str, Any], out: Path) -> float:
    """Return the share of the student's training images that the teacher has right."""
    values = {**recipe, "method": "kd", "output": {"cache": str(out / "cache")}}
    context = Context(load_recipe(values, trust=True))
    measured = measure_teacher(context.recipe, context.data, build_teacher(context, Reporting()).teacher, print)
    assert measured is not None
    return float(measured.splits["train"].values["accuracy"])


def resolved(row: Row, lines: Lines, out: Path) -> dict[str, Any]:
    """Return the recipe of a run with what is known only once its teacher is there."""
    recipe = dict(row.recipe)
    if row.teacher is not None:
        recipe["teacher"] = {**network_of(row.teacher, lines, out), **recipe["teacher"]}
    if recipe["method"].get("ratio") == "right":
        recipe["method"] = {**recipe["method"], "ratio": share_right(recipe, out)}
    return recipe


def run_row(row: Row, lines: Lines, out: Path) -> None:
    """Train a student, and keep its line."""
    place = {"claim": row.claim, "regime": row.regime.name, "method": row.method.label, "seed": row.seed}
    about = {**place, "settings": row.method.composed().settings}
    named = f"{time.strftime('%H:%M')} {', '.join(map(str, place.values()))}"
    try:
        line = lines.add(row.key, about, train(resolved(row, lines, out), out / "students" / row.key, out))
        print(f"{named}: {line['accuracy']:.2%}, {line['seconds']:.0f} s", flush=True)
    except RunError as error:
        # A training that diverges is a result too.
        lines.add(row.key, {**about, "failed": str(error)}, {})
    except UserError as error:
        # The next command tries it again.
        print(f"{named}: {error}", flush=True)


def left(rows: Sequence[Row], lines: Lines) -> list[Row]:
    """List what is to run, each run once, under the first claim that needs it."""
    first = {row.key: row for row in reversed(rows)}
    return [row for row in rows if row is first[row.key] and not lines.done(row)]


def minutes_left(rows: Sequence[Row], lines: Lines) -> float:
    """Estimate the core minutes of the runs that are left, from those of the same length and images."""
    taken = lines.seconds_by(rows)
    mean = sum(taken.values()) / len(taken) if taken else 30.0
    return sum(taken.get(lines.kind(row), mean) for row in left(rows, lines)) / 60


def overview(rows: Sequence[Row], lines: Lines, letters: Sequence[str]) -> None:
    """Print how much of each claim is done."""
    for letter in letters:
        print(f"({letter}) {counted([row for row in rows if row.claim == letter], lines)}")
    print(f"all: {counted(rows, lines)}")


def counted(rows: Sequence[Row], lines: Lines) -> str:
    """Write how many of some runs are done, and how long the others will take."""
    count, waiting = len({row.key for row in rows}), len(left(rows, lines))
    return f"{count - waiting} of {count} runs, about {minutes_left(rows, lines):.0f} core minutes left"


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Whether the claims hold on real data.")
    parser.add_argument("--budget", choices=tuple(BUDGETS), default="smoke")
    parser.add_argument("--only", type=lambda word: word.split(","), help="letters of claims, by default all")
    parser.add_argument(
        "--methods", type=lambda word: tuple(word.split(",")), help="with which the methods' names begin"
    )
    parser.add_argument(
        "--regimes",
        type=lambda word: tuple(word.split(",")),
        help="names of teachers, or with which those of students begin",
    )
    parser.add_argument("--seeds", type=int, help="how many, by default the budget's")
    parser.add_argument("--out", type=Path, help="the folder of the runs, by default runs/claims-BUDGET")
    parser.add_argument("--list", action="store_true", help="only print what is done and what is left")
    parser.add_argument("--publish", action="store_true", help="only write results, plots and docs/claims.md")
    args = parser.parse_args(words)
    letters = [claim.letter for claim in BUDGETS[args.budget].claims]
    args.only = args.only or letters
    if not set(args.only) <= set(letters):
        raise UserError(f"--only: got {','.join(args.only)}, expected some of {','.join(letters)}")
    args.out = args.out or Path("runs") / f"claims-{args.budget}"
    return args


def lines_of(args: argparse.Namespace) -> Lines:
    """Read what is finished: below --out, and what was published before."""
    return Lines(args.out / "lines.jsonl", commit(), RESULTS / f"claims-{args.budget}.jsonl")


def wanted(row: Row, args: argparse.Namespace) -> bool:
    """Return whether a run is among those that ``--methods`` and ``--regimes`` name."""
    by_regime = row.regime.setting.startswith(args.regimes or "") or str(row.regime.teacher) in (args.regimes or ())
    return by_regime and row.method.label.startswith(args.methods or "")


def main(words: Sequence[str] | None = None) -> None:
    """Run what is left, and write the tables."""
    args = arguments(words)
    budget, lines = BUDGETS[args.budget], lines_of(args)
    make_known(budget, args.out)
    rows = [row for row in plan(budget, args.only, args.seeds) if wanted(row, args)]
    if args.list:
        overview(rows, lines, args.only)
        return
    if args.publish:
        publish(args.budget, budget, lines)
        return
    for number, row in enumerate(left(rows, lines)):
        run_row(row, lines, args.out)
        if number % EVERY == EVERY - 1:
            save(args.budget, budget, rows, lines, args.out / "tables")
    for results in save(args.budget, budget, rows, lines, args.out / "tables"):
        print((args.out / "tables" / f"claims-{args.budget}-{results.claim.letter}.md").read_text())


if __name__ == "__main__":
    main()
