"""The CIFAR-100 table: pairs, methods and seeds by the papers' recipe, the published numbers beside ours.

    OMP_NUM_THREADS=1 python benchmarks/accuracy.py --budget smoke                 # two minutes, to try the script
    python benchmarks/accuracy.py --budget cpu --jobs 2          # about eight hours on two cores
    python benchmarks/accuracy.py --budget paper training.cuda_graph=true          # for a GPU: 240 epochs, 3 seeds
    python benchmarks/accuracy.py --budget cpu --jobs 2 --teacher micronet         # a teacher at hand, not trained here

Needs LIMBECK_SHARED, or --root FOLDER with CIFAR-100; ``micronet`` needs LIMBECK_SHARED. Only the budget ``paper`` may
be compared with the papers' figures: they are those of the epoch that was best on all test images, for which there is a
column; ours is that of the last epoch. Papers that show an image several times an epoch, augmented otherwise, train
more than ours: "views x epochs" is a column too.

A row is a finished run folder below --out: the same command resumes where it was stopped, and the table is written
after every row. With --ledger FILE finished rows are lines of a file too, which outlasts the folders: what is there is
not trained again. --minutes stops in time; what was training then is resumed from its checkpoint. Words such as
``training.epochs=100`` override the recipe; then give another --out and --name. With --cache views, which ``cpu`` and
``paper`` have, the logits of all views are stored below --store: up to 1.65 GB for each teacher, and for each student
of dr_kd. --cache off does without.
"""

import argparse
import multiprocessing
import os
import signal
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import limbeck
from accuracy_plan import BUDGETS, DKD_WARMUP, METHODS, OURS, Row, plan
from harness import cifar100_root, cores, shared_data, trimmed, with_spread
from ledger import Ledger, result_of
from limbeck.build.caching import is_cached
from limbeck.build.context import Context
from limbeck.build.measured_teacher import measure_teacher
from limbeck.build.shared import Shared
from limbeck.build.teachers import build_teacher
from limbeck.errors import UserError
from limbeck.runs import Recipe, Reporting
from limbeck.runs.prefill import SharedCache, prefill
from published import PUBLISHED, TEACHERS, source
from record import record
from sharing import best_jobs

Result = Mapping[str, Any]
# The exit status of a command whose time was over: the same one resumes.
STOPPED = 75


def beside(pair: str, method: str, args: argparse.Namespace) -> dict[str, Any]:
    """Return the published number for a row, and where it stands; nothing if there is none for this teacher."""
    published = PUBLISHED.get(pair, {}).get(method)
    if published is None or (args.teacher == "micronet" and method != "none"):
        return {"published (%)": "", "source": ""}
    mark = "" if BUDGETS[args.budget].comparable else " (not comparable)"
    return {"published (%)": f"{published}{mark}", "source": source(pair, method)}


def result(row: Row, ledger: Ledger | None) -> Result | None:
    """Return what a row came to; None if it has not finished."""
    if row.folder.finished:
        return result_of(row.folder)
    return None if ledger is None else ledger.get(row.recipe)


def table(rows: Sequence[Row], args: argparse.Namespace, ledger: Ledger | None = None) -> list[dict[str, Any]]:
    """Turn the finished runs to a table, a line for each pair and method."""
    groups: dict[tuple[str, str], list[Result]] = {}
    epochs: dict[tuple[str, str], int] = {}
    for row in rows:
        if (found := result(row, ledger)) is not None:
            groups.setdefault((row.pair, row.method), []).append(found)
            epochs[row.pair, row.method] = row.recipe.training.epochs
    return [table_line(*group, results, epochs[group], args) for group, results in groups.items()]


def shown(pair: str, args: argparse.Namespace) -> str:
    """Name a pair by the teacher that it has."""
    return pair if args.teacher == "trained" else f"MicroNet -> {pair.split(' -> ')[1]}"


def table_line(
    pair: str, method: str, results: Sequence[Result], epochs: int, args: argparse.Namespace
) -> dict[str, Any]:
    """Make one line of the table."""
    return {
        "pair": shown(pair, args),
        "method": method,
        "last epoch (%)": with_spread([one["last"] for one in results]),
        "best epoch on test (%)": with_spread([one["best"] for one in results]),
        "ECE (%)": with_spread([one["ece"] for one in results]),
        "views x epochs": f"1 x {epochs}",
        "minutes each": round(statistics.fmean(one["seconds"] for one in results) / 60, 1),
        "images/s in training": round(statistics.median(one["samples/s"] for one in results)),
        "seeds": len(results),
        **beside(pair, method, args),
    }


def write(rows: Sequence[Row], args: argparse.Namespace, lines: Sequence[str], ledger: Ledger | None) -> None:
    """Write the table of what is finished, and print it when everything is."""
    budget, done = BUDGETS[args.budget], sum(result(row, ledger) is not None for row in rows)
    notes = [
        budget.label + (f"; {' '.join(args.overrides)}" if args.overrides else ""),
        f"{done} of {len(rows)} runs are finished.",
        *lines,
        f"{budget.test_limit:,} test images, mean and standard deviation over seeds; the last epoch is our figure.",
        "Published: the epoch that was best on all 10,000 test images, beside which the best-epoch column stands.",
        f"dkd with {DKD_WARMUP if budget.comparable else 0} epochs of warm-up; dr_kd as its paper's ResNet-18.",
        f"{OURS} is our own composition.",
    ]
    title = f"CIFAR-100, budget {args.budget}, teacher {args.teacher}"
    record(args.name, title, table(rows, args, ledger), notes, show=done == len(rows))


def teachers(rows: Sequence[Row], args: argparse.Namespace) -> Iterator[str]:
    """Make every teacher once, before the runs; store the logits that these will read; yield what each teacher is."""
    groups: dict[tuple[str, str | None], list[Recipe]] = {}
    for row in rows:
        groups.setdefault((row.pair, row.recipe.source()), []).append(row.recipe)
    for (pair, kind), recipes in groups.items():
        context = Context(recipes[0])
        made = build_teacher(context, Reporting(print))
        measured = measure_teacher(recipes[0], context.data, made.teacher, print, test=True)
        if is_cached(recipes[0]):
            seeds = tuple(sorted({recipe.seed for recipe in recipes}))
            prefill(SharedCache(recipes[0], seeds, len(recipes)), {kind: made}, Shared(), print, None)
        published = TEACHERS.get(str(recipes[0].teacher.name)) if kind == "live" else None
        if made.about:
            beside = f"; published {published} %" if published else ""
            figures = f"; {measured.line}" if measured else ""
            yield f"{shown(pair, args)}, {kind}: {made.about.partition(' (kept')[0]}{figures}{beside}"


@contextmanager
def stopped_at(deadline: float | None) -> Iterator[None]:
    """Interrupt what runs in this process when the time is over, which saves what a checkpoint holds."""
    timer = None if deadline is None else threading.Timer(deadline - time.time(), _interrupt)
    if timer is not None:
        timer.daemon = True
        timer.start()
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()


def _interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def work(values: dict[str, Any], folder: Path, deadline: float | None) -> float | None:
    """Train one run, and return its accuracy; None if the time is over first."""
    if deadline is not None and time.time() >= deadline:
        return None
    try:
        with stopped_at(deadline):
            return float(limbeck.run(values, out=folder, resume=True, trust=True).summary["test.accuracy"])
    except KeyboardInterrupt:
        return None


def prepare(path: list[str], threads: int) -> None:
    """Make a worker like its parent."""
    sys.path[:] = path
    torch.set_num_threads(threads)


def is_waiting(row: Row, args: argparse.Namespace, ledger: Ledger | None) -> bool:
    """Return whether a row is to be trained."""
    wanted = row.seed in (args.train_seeds or {row.seed}) and row.method in (args.train_methods or {row.method})
    return wanted and result(row, ledger) is None


def run_all(rows: Sequence[Row], args: argparse.Namespace, deadline: float | None) -> bool:
    """Run what is not finished, write the table after each, and return whether a run failed."""
    ledger = None if args.ledger is None else Ledger(args.ledger)
    waiting = [row for row in rows if is_waiting(row, args, ledger)]
    with stopped_at(deadline):
        lines = list(teachers(waiting or rows[:1], args))
    write(rows, args, lines, ledger)
    threads = max(1, min(torch.get_num_threads(), cores() // args.jobs))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.jobs, context, initializer=prepare, initargs=(sys.path, threads)) as pool:
        futures = {
            pool.submit(work, row.recipe.model_dump(mode="json"), row.folder.path, deadline): row for row in waiting
        }
        for future in as_completed(futures):
            if keep(futures[future], future, args, ledger):
                write(rows, args, lines, ledger)
        return any(future.exception() is not None for future in futures)


def keep(row: Row, future: "Future[float | None]", args: argparse.Namespace, ledger: Ledger | None) -> bool:
    """Print what became of a run, and keep it if it has finished."""
    name, error = f"{shown(row.pair, args)}, {row.method}, seed {row.seed}", future.exception()
    if error is not None:
        print(f"{name}: failed: {error!r}", flush=True)
        return False
    accuracy = future.result()
    print(f"{name}: {'not finished in time' if accuracy is None else f'{accuracy:.2%}'}", flush=True)
    if accuracy is not None and ledger is not None:
        ledger.add(row.recipe, result_of(row.folder), pair=shown(row.pair, args), method=row.method, seed=row.seed)
    return accuracy is not None


def _jobs(word: str) -> int | None:
    return None if word == "auto" else int(word)


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="The CIFAR-100 table.")
    parser.add_argument("--budget", choices=tuple(BUDGETS), default="smoke")
    parser.add_argument("--teacher", choices=("trained", "micronet"), default="trained")
    parser.add_argument(
        "--pairs", type=lambda word: word.replace(":", " -> ").split(","), help="such as resnet56:resnet20"
    )
    parser.add_argument("--methods", type=lambda word: word.split(","), default=list(METHODS))
    parser.add_argument("--seeds", type=int, help="how many")
    parser.add_argument(
        "--train-seeds", type=lambda word: {int(n) for n in word.split(",")}, help="train these alone, such as 0,2"
    )
    parser.add_argument("--train-methods", type=lambda word: set(word.split(",")), help="train these alone")
    parser.add_argument("--cache", choices=("off", "views"), help="by default the budget's")
    parser.add_argument("--jobs", type=_jobs, default=1, help="runs at a time; auto: what sharing.py measured as best")
    parser.add_argument("--minutes", type=float, help="stop in time")
    parser.add_argument("--ledger", type=Path, help="a file of finished rows")
    parser.add_argument("--out", type=Path, help="the folder of the runs, by default runs/accuracy-BUDGET-TEACHER")
    parser.add_argument(
        "--store", type=Path, help="the folder of teachers, logits and images, by default that of --out"
    )
    parser.add_argument("--name", help="of the result, by default accuracy-BUDGET-TEACHER")
    parser.add_argument("--root", type=Path, help="the folder of CIFAR-100")
    parser.add_argument("overrides", nargs="*", help="key=value of the recipe")
    args = parser.parse_args(words)
    args.name = args.name or f"accuracy-{args.budget}-{args.teacher}"
    args.out = args.out or Path("runs") / args.name
    args.store = args.store or args.out
    return args


def jobs_of(args: argparse.Namespace) -> int:
    """Return how many runs are trained at a time."""
    student = (args.pairs or BUDGETS[args.budget].pairs)[0].split(" -> ")[1]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return args.jobs or best_jobs(device, student) or 1


def find_micronet() -> None:
    """Make the module of the teacher at hand importable."""
    shared = shared_data()
    if shared is None:
        raise UserError("--teacher micronet: expected LIMBECK_SHARED, a folder with data/cifar100-teacher/teacher.py")
    sys.path.insert(0, str(shared / "cifar100-teacher"))


def cut(root: Path, args: argparse.Namespace) -> Path:
    """Return the folder of the images, of fewer where the budget has fewer test images."""
    budget, few = BUDGETS[args.budget], args.out / "few"
    if budget.test_limit == 10_000:
        return root
    few.mkdir(parents=True, exist_ok=True)
    return trimmed(root, few, train=budget.train_limit or 50_000, test=budget.test_limit)


def main() -> int:
    """Train what is left; return 0, 1 if a run failed, or :data:`STOPPED` if the time was over first."""
    args, start = arguments(), time.time()
    deadline = None if args.minutes is None else start + 60 * args.minutes
    args.jobs = jobs_of(args)
    if args.teacher == "micronet":
        find_micronet()
    try:
        with cifar100_root(args.root, keep=args.store / "data") as root:
            rows = plan(cut(root, args), args)
            failed = run_all(rows, args, deadline)
    except KeyboardInterrupt:
        print("stopped; the same command resumes", flush=True)
        return STOPPED
    ledger = None if args.ledger is None else Ledger(args.ledger)
    if failed:
        return 1
    return STOPPED if any(is_waiting(row, args, ledger) for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
