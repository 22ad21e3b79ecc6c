"""Which scorer earns its place: the selections of LR+DS beside a random one of the same size, over several data sets.

    OMP_NUM_THREADS=1 python benchmarks/selection.py --jobs 2            # about an hour and a half on two cores
    OMP_NUM_THREADS=1 python benchmarks/selection.py --sets sample --methods none,random --seeds 1 training.epochs=1

All rows of a data set have the same teacher, the same share of the samples that listens to it, and the same
cross-entropy on all samples; ``all`` lets everybody listen. A difference is taken between runs of the same seed, which
begin with the same student and see the same views. ``sample`` is a part of Fashion-MNIST that comes with limbeck; the
other two need LIMBECK_SHARED. A stopped command goes on where it was, run by run.
"""

import argparse
import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import limbeck
from harness import cifar100_root, shared_data
from limbeck.errors import UserError
from limbeck.report.table import MethodResult
from limbeck.runs import Reporting, parse_overrides
from record import record

SCORERS = ("influence", "random", "agreement", "confidence", "el2n")
METHODS = ("none", "all", *SCORERS)
SGD = {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}
SHORT = {"batch_size": 64, "optimizer": SGD, "schedule": "one_cycle", "evaluate_every": 30}


def teacher(epochs: int, train_limit: int, **options: float) -> dict[str, Any]:
    """Return a teacher that is better than its student, and often wrong."""
    return {
        "name": "resnet8x4",
        "options": options,
        "train_limit": train_limit,
        "training": {**SHORT, "epochs": epochs},
    }


SETS: dict[str, dict[str, Any]] = {
    "sample": {
        "data": {"name": "fashion_mnist_sample", "train_limit": 2000, "augment": {"crop": 2, "flip": True}},
        "teacher": teacher(8, 10_000, width=0.5),
        "training": {**SHORT, "epochs": 30},
    },
    "fashion": {
        "data": {"name": "fashion_mnist", "train_limit": 10_000, "augment": {"crop": 2, "flip": True}},
        "teacher": teacher(8, 10_000, width=0.5),
        "training": {**SHORT, "epochs": 8},
    },
    "cifar100": {
        "data": {"name": "cifar100", "train_limit": 10_000, "augment": {"crop": 4, "flip": True}},
        "teacher": teacher(15, 10_000),
        "training": {**SHORT, "epochs": 15},
    },
}
ROOTS = {"fashion": "fashion-mnist"}


def recipe(name: str, root: Path | None, args: argparse.Namespace) -> dict[str, Any]:
    """Make the recipe of a data set's comparison."""
    chosen = dict(SETS[name])
    if root is not None:
        chosen["data"] = {**chosen["data"], "root": str(root)}
    labels = {f"lr_ds@{scorer}": {"scorer": scorer, "ratio": args.ratio} for scorer in SCORERS}
    names = {"all": "lr", **{scorer: f"lr_ds@{scorer}" for scorer in SCORERS}}
    return {
        "name": f"selection-{name}",
        **chosen,
        "student": "resnet8",
        "compare": {
            "methods": [names.get(method, method) for method in args.methods],
            "seeds": args.seeds,
            "settings": labels,
        },
        "output": {"cache": str(args.out / "cache")},
    }


def differences(one: MethodResult, other: MethodResult | None) -> str:
    """Tell how many points one method is above another, over the seeds."""
    if other is None or one is other:
        return ""
    points = [100 * (a - b) for a, b in zip(one.accuracies, other.accuracies, strict=True)]
    spread = f" +- {statistics.stdev(points):.2f}" if len(points) > 1 else ""
    return f"{statistics.fmean(points):+.2f}{spread}"


def line(name: str, result: MethodResult, found: Mapping[str, MethodResult]) -> dict[str, Any]:
    """Make one line of the table."""
    percent = [100 * value for value in result.accuracies]
    spread = f" +- {statistics.stdev(percent):.2f}" if len(percent) > 1 else ""
    return {
        "data": name,
        "method": result.method,
        "test accuracy (%)": f"{statistics.fmean(percent):.2f}{spread}",
        "over random": differences(result, found.get("lr_ds@random")),
        "seeds": len(percent),
    }


def compared(name: str, root: Path | None, args: argparse.Namespace) -> tuple[list[dict[str, Any]], list[str]]:
    """Train all rows of a data set, and return them with what there is to say about them."""
    folder = args.out / name
    found = limbeck.compare(
        recipe(name, root, args),
        overrides=parse_overrides(args.overrides),
        out=folder,
        resume=folder.exists(),
        jobs=args.jobs,
        reporting=Reporting(print),
    )
    named = {result.method: result for result in found.results}
    return [line(name, result, named) for result in found.results], [f"{name}: {found.title}; {found.notes[1]}"]


def root_of(name: str, stack: ExitStack, args: argparse.Namespace) -> Path | None:
    """Return the folder of a data set's images; None for the one that comes with limbeck."""
    if name == "sample":
        return None
    if name == "cifar100":
        return stack.enter_context(cifar100_root(None, keep=args.out / "data"))
    shared = shared_data()
    if shared is None:
        raise UserError(f"--sets {name}: expected LIMBECK_SHARED, a folder with data/{ROOTS[name]}")
    return shared / ROOTS[name]


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Scorers of the data selection, beside a random one.")
    parser.add_argument("--sets", type=lambda word: word.split(","), default=list(SETS))
    parser.add_argument("--methods", type=lambda word: word.split(","), default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--ratio", type=float, default=0.8, help="share of the samples that listens")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--out", type=Path, default=Path("runs/selection"), help="the folder of the runs")
    parser.add_argument("--name", default="selection-cpu", help="of the result")
    parser.add_argument("overrides", nargs="*", help="key=value of the recipes")
    return parser.parse_args(words)


def main() -> None:
    """Compare on each data set, and write the table after each."""
    args = arguments()
    rows: list[dict[str, Any]] = []
    told: list[str] = [f"{args.ratio:.0%} of the samples listen to the teacher; lr: all of them."]
    with ExitStack() as stack:
        for name in args.sets:
            own, notes = compared(name, root_of(name, stack, args), args)
            rows, told = rows + own, told + notes
            record(args.name, "Selections beside a random one", rows, told, show=name == args.sets[-1])


if __name__ == "__main__":
    main()
