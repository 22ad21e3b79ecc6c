"""The CIFAR-100 table: pairs, methods and seeds by the papers' recipe, the published numbers beside ours.

    OMP_NUM_THREADS=1 python benchmarks/accuracy.py --budget smoke                 # two minutes, to try the script
    python benchmarks/accuracy.py --budget cpu --jobs 2          # about eight hours on two cores
    python benchmarks/accuracy.py --budget paper                 # for a GPU: 240 epochs, 3 seeds, nine pairs
    python benchmarks/accuracy.py --budget cpu --jobs 2 --teacher micronet         # a teacher at hand, not trained here

Needs LIMBECK_SHARED, or --root FOLDER with CIFAR-100; ``micronet`` needs LIMBECK_SHARED. Only the budget ``paper`` may
be compared with the papers' figures, and even it is not the same figure: ours is that of the last epoch on all test
images, the papers' is that of the epoch that was best on them.

A row is a finished run folder below --out: the same command resumes where it was stopped, and the table is written
after every row. Words such as ``training.epochs=100`` override the recipe; then give another --out and --name. With
--cache views, which ``cpu`` and ``paper`` have, the logits of all views are stored below --out: up to 1.65 GB for each
teacher, and for each student of dr_kd. --cache off does without.
"""

import argparse
import multiprocessing
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import limbeck
from harness import cifar100_root, cores, shared_data, trimmed, with_spread
from limbeck.build.context import Context
from limbeck.build.measured_teacher import measure_teacher
from limbeck.build.teachers import build_teacher
from limbeck.errors import UserError
from limbeck.recipes.method_settings import without_label
from limbeck.runs import Recipe, Reporting, RunFolder, load_recipe, parse_overrides
from published import PUBLISHED, TEACHERS, source
from record import record

# A selection is shown beside a random one of the same size.
METHODS = ("none", "kd", "dist", "dkd", "lr", "lr_ds", "lr_ds@random", "dr_kd", "lw_kd")
# The settings of the papers for CIFAR-100 where they are not limbeck's defaults.
SETTINGS: dict[str, dict[str, Any]] = {
    "dist": {"beta": 2, "gamma": 2, "temperature": 4},
    "lr_ds@random": {"scorer": "random"},
}
# DKD's beta by pair, from its released configurations; 8 elsewhere.
BETAS = {
    "resnet56 -> resnet20": 2,
    "resnet110 -> resnet32": 2,
    "wrn_40_2 -> wrn_16_2": 6,
    "wrn_40_2 -> wrn_40_1": 6,
    "vgg13 -> vgg8": 6,
}
# Epochs over which DKD's loss rises in its released code.
DKD_WARMUP = 20
# These students are trained at a fifth of the rate.
GENTLE = ("mobilenetv2", "shufflenetv1", "shufflenetv2")
WIDTHS = {"mobilenetv2": 0.5}
MICRONET = "python:teacher:load"


@dataclass(frozen=True)
class Budget:
    """How much is trained.

    Attributes:
        label: Its description in the table.
        pairs: The pairs of the table.
        seeds: How many.
        training: The recipe's ``training``, for teachers and students.
        comparable: Whether the published numbers may be put beside it.
        cache: The recipe's ``teacher.cache``.
        train_limit: How many training images.
        test_limit: How many test images.
        lightweight: Settings of LW-KD's teacher.
    """

    label: str
    pairs: tuple[str, ...]
    seeds: int
    training: Mapping[str, Any]
    comparable: bool = False
    cache: str = "views"
    train_limit: int | None = None
    test_limit: int = 10_000
    lightweight: Mapping[str, Any] = field(default_factory=dict)


SGD = {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}
SHORT = {"batch_size": 64, "optimizer": {**SGD, "lr": 0.1}, "schedule": "one_cycle", "drop_last": True}
BUDGETS = {
    "smoke": Budget(
        label="one epoch of 512 images: tries the script, means nothing about accuracy; not comparable with the papers",
        pairs=("resnet56 -> resnet20",),
        seeds=1,
        training={**SHORT, "epochs": 1},
        cache="off",
        train_limit=512,
        test_limit=500,
        lightweight={"per_class": 20, "epochs": 1},
    ),
    "cpu": Budget(
        label="20,000 of the 50,000 images, 30 of the 240 epochs, one-cycle: not comparable with the papers",
        pairs=("resnet56 -> resnet20", "resnet32x4 -> resnet8x4"),
        seeds=2,
        training={**SHORT, "epochs": 30, "evaluate_every": 10},
        train_limit=20_000,
    ),
    "paper": Budget(
        label="the papers' recipe: 240 epochs, batches of 64, SGD .05 (.01 for MobileNet and ShuffleNet)",
        pairs=tuple(PUBLISHED),
        seeds=3,
        training={
            "batch_size": 64,
            "epochs": 240,
            "optimizer": SGD,
            "schedule": {"name": "multi_step", "milestones": [150, 180, 210], "gamma": 0.1},
            "drop_last": True,
            "evaluate_every": 10,
            "checkpoint_every": 10,
        },
        comparable=True,
    ),
}


@dataclass(frozen=True)
class Row:
    """One run of the table.

    Attributes:
        pair: Teacher and student.
        method: The method's name.
        seed: The seed.
        recipe: What is run.
        folder: Where.
    """

    pair: str
    method: str
    seed: int
    recipe: Recipe
    folder: RunFolder


def training_of(budget: Budget, network: str, *, paper: bool) -> dict[str, Any]:
    """Return the training of a network: some are trained at a fifth of the rate."""
    training = dict(budget.training)
    if paper and network in GENTLE:
        training["optimizer"] = {**training["optimizer"], "lr": training["optimizer"]["lr"] / 5}
    return training


def teacher_of(budget: Budget, pair: str, args: argparse.Namespace) -> dict[str, Any]:
    """Return the recipe's ``teacher``."""
    name = pair.split(" -> ", maxsplit=1)[0]
    common = {"cache": args.cache or budget.cache, "lightweight": dict(budget.lightweight)}
    if args.teacher == "micronet":
        return {"name": MICRONET, **common}
    return {"name": name, "training": training_of(budget, name, paper=budget.comparable), **common}


def recipe_of(pair: str, method: str, seed: int, root: Path, args: argparse.Namespace) -> Recipe:
    """Make the recipe of one run."""
    budget, student = BUDGETS[args.budget], pair.split(" -> ")[1]
    settings = SETTINGS.get(method, {})
    if method == "dkd":
        settings = {"beta": BETAS.get(pair, 8), "warmup": DKD_WARMUP if budget.comparable else 0}
    values = {
        "name": pair,
        "data": {"name": "cifar100", "root": str(root), "augment": {"crop": 4, "flip": True}},
        "teacher": teacher_of(budget, pair, args),
        "student": {"name": student, "options": {"width": WIDTHS[student]} if student in WIDTHS else {}},
        "method": {"name": without_label(method), **settings},
        "training": training_of(budget, student, paper=budget.comparable),
        "output": {"cache": str(args.out / "cache")},
        "seed": seed,
    }
    overrides = {"data.train_limit": budget.train_limit, **parse_overrides(args.overrides)}
    # The one function that it names is the teacher of the shared data.
    return load_recipe(values, overrides, trust=True)


def plan(root: Path, args: argparse.Namespace) -> list[Row]:
    """List the runs; seeds outside, so that a table that is stopped early holds every method."""
    rows = []
    for seed in range(args.seeds or BUDGETS[args.budget].seeds):
        for pair in args.pairs or BUDGETS[args.budget].pairs:
            for method in args.methods:
                folder = RunFolder(args.out / pair.replace(" -> ", "-") / method / f"seed-{seed}")
                rows.append(Row(pair, method, seed, recipe_of(pair, method, seed, root, args), folder))
    return rows


def beside(pair: str, method: str, args: argparse.Namespace) -> dict[str, Any]:
    """Return the published number for a row, and where it stands; nothing if there is none for this teacher."""
    published = PUBLISHED.get(pair, {}).get(method)
    if published is None or (args.teacher == "micronet" and method != "none"):
        return {"published (%)": "", "source": ""}
    mark = "" if BUDGETS[args.budget].comparable else " (not comparable)"
    return {"published (%)": f"{published}{mark}", "source": source(pair, method)}


def table(rows: Sequence[Row], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Turn the finished runs to a table, a line for each pair and method."""
    groups: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row.folder.finished:
            found = groups.setdefault((row.pair, row.method), [])
            found.append(100 * row.folder.read_summary()["test.accuracy"])
    return [table_line(pair, method, values, args) for (pair, method), values in groups.items()]


def shown(pair: str, args: argparse.Namespace) -> str:
    """Name a pair by the teacher that it has."""
    return pair if args.teacher == "trained" else f"MicroNet -> {pair.split(' -> ')[1]}"


def table_line(pair: str, method: str, values: Sequence[float], args: argparse.Namespace) -> dict[str, Any]:
    """Make one line of the table, from accuracies in percent."""
    return {
        "pair": shown(pair, args),
        "method": method,
        "ours, last epoch (%)": with_spread(values),
        "seeds": len(values),
        **beside(pair, method, args),
    }


def write(rows: Sequence[Row], args: argparse.Namespace, lines: Sequence[str]) -> None:
    """Write the table of what is finished, and print it when everything is."""
    budget, done = BUDGETS[args.budget], sum(row.folder.finished for row in rows)
    notes = [
        budget.label + (f"; {' '.join(args.overrides)}" if args.overrides else ""),
        f"{done} of {len(rows)} runs are finished.",
        *lines,
        f"Ours: last epoch, {budget.test_limit:,} test images, mean and standard deviation over seeds.",
        "Published: the epoch that was best on all 10,000 test images.",
        f"dkd with {DKD_WARMUP if budget.comparable else 0} epochs of warm-up; dr_kd as its paper's ResNet-18.",
    ]
    record(
        args.name,
        f"CIFAR-100, budget {args.budget}, teacher {args.teacher}",
        table(rows, args),
        notes,
        show=done == len(rows),
    )


def teachers(rows: Sequence[Row], args: argparse.Namespace) -> Iterator[str]:
    """Make every teacher once, before the runs, and print what it is."""
    wanted = {(row.pair, row.recipe.source()): row.recipe for row in rows}
    for (pair, kind), recipe in wanted.items():
        context = Context(recipe)
        made = build_teacher(context, Reporting(print))
        measured = measure_teacher(recipe, context.data, made.teacher, print, test=True)
        published = TEACHERS.get(str(recipe.teacher.name)) if kind == "live" else None
        if made.about:
            beside = f"; published {published} %" if published else ""
            figures = f"; {measured.line}" if measured else ""
            yield f"{shown(pair, args)}, {kind}: {made.about.partition(' (kept')[0]}{figures}{beside}"


def work(values: dict[str, Any], folder: Path) -> float:
    """Train one run, and return its accuracy."""
    return float(limbeck.run(values, out=folder, resume=True, trust=True).summary["test.accuracy"])


def prepare(path: list[str], threads: int) -> None:
    """Make a worker like its parent."""
    sys.path[:] = path
    torch.set_num_threads(threads)


def run_all(rows: Sequence[Row], args: argparse.Namespace) -> None:
    """Run what is not finished, and write the table after each."""
    lines = list(teachers(rows, args))
    waiting = [row for row in rows if not row.folder.finished]
    write(rows, args, lines)
    threads = max(1, min(torch.get_num_threads(), cores() // args.jobs))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.jobs, context, initializer=prepare, initargs=(sys.path, threads)) as pool:
        futures = {pool.submit(work, row.recipe.model_dump(mode="json"), row.folder.path): row for row in waiting}
        for future in as_completed(futures):
            row = futures[future]
            print(f"{row.pair}, {row.method}, seed {row.seed}: {future.result():.2%}", flush=True)
            write(rows, args, lines)


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
    parser.add_argument("--cache", choices=("off", "views"), help="by default the budget's")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--out", type=Path, help="the folder of the runs, by default runs/accuracy-BUDGET-TEACHER")
    parser.add_argument("--name", help="of the result, by default accuracy-BUDGET-TEACHER")
    parser.add_argument("--root", type=Path, help="the folder of CIFAR-100")
    parser.add_argument("overrides", nargs="*", help="key=value of the recipe")
    args = parser.parse_args(words)
    args.name = args.name or f"accuracy-{args.budget}-{args.teacher}"
    args.out = args.out or Path("runs") / args.name
    return args


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


def main() -> None:
    """Run what is left of the table."""
    args = arguments()
    if args.teacher == "micronet":
        find_micronet()
    with cifar100_root(args.root, keep=args.out / "data") as root:
        run_all(plan(cut(root, args), args), args)


if __name__ == "__main__":
    main()
