"""Which setting earns its place: one question at a time, over several data sets and seeds.

    OMP_NUM_THREADS=1 python benchmarks/studies.py selection --jobs 2      # the scorers of LR+DS; an hour and a half
    OMP_NUM_THREADS=1 python benchmarks/studies.py lightweight --jobs 2    # the temperature of LW-KD; half an hour
    OMP_NUM_THREADS=1 python benchmarks/studies.py selection --sets sample --seeds 1 training.epochs=1

``selection`` puts each scorer beside a random choice of as many samples; in all of its rows but ``none`` the teacher is
the same, and all samples have the same cross-entropy. ``lightweight`` puts LW-KD beside training without a teacher.
Defaults are chosen by these tables, so they show a validation split: training images that neither student nor teacher
learned from. A difference is taken between runs of the same seed, which begin with the same student and see the same
views. ``sample`` is a part of Fashion-MNIST that comes with limbeck; the other data sets need LIMBECK_SHARED. A stopped
command goes on where it was, run by run.
"""

import argparse
import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import limbeck
from harness import cifar100_root, shared_data
from limbeck.errors import UserError
from limbeck.runs import Reporting, parse_overrides
from record import record

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
        "data": {
            "name": "fashion_mnist_sample",
            "validation": 0.2,
            "train_limit": 2000,
            "augment": {"crop": 2, "flip": True},
        },
        "teacher": teacher(8, 8000, width=0.5),
        "training": {**SHORT, "epochs": 30},
    },
    "fashion": {
        "data": {
            "name": "fashion_mnist",
            "validation": 0.1,
            "train_limit": 10_000,
            "augment": {"crop": 2, "flip": True},
        },
        "teacher": teacher(8, 10_000, width=0.5),
        "training": {**SHORT, "epochs": 8},
    },
    "cifar100": {
        "data": {"name": "cifar100", "validation": 0.2, "train_limit": 10_000, "augment": {"crop": 4, "flip": True}},
        "teacher": teacher(15, 10_000),
        "training": {**SHORT, "epochs": 15},
    },
    # Without a teacher of their own.
    "cifar100_few": {
        "data": {"name": "cifar100", "validation": 0.2, "train_limit": 2500, "augment": {"crop": 4, "flip": True}},
        "training": {**SHORT, "epochs": 60},
    },
}
ROOTS = {"fashion": "fashion-mnist"}


@dataclass(frozen=True)
class Study:
    """A question.

    Attributes:
        title: Of the table.
        methods: The rows, by the names that a comparison gives them.
        control: The row that the others are compared with.
        sets: The data sets.
        settings: The settings of the rows.
    """

    title: str
    methods: tuple[str, ...]
    control: str
    sets: tuple[str, ...]
    settings: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Measured:
    """What a method reached on the validation split, a value for each seed."""

    method: str
    accuracy: Sequence[float]
    ece: Sequence[float]
    loss: Sequence[float]


SCORERS = {f"lr_ds@{name}": {"scorer": name} for name in ("influence", "random", "agreement", "confidence", "el2n")}
TEMPERATURES = {f"lw_kd@t{value}": {"temperature": value} for value in (1, 2, 4)}
STUDIES = {
    "selection": Study(
        "Selections beside a random one",
        ("none", "lr", *SCORERS),
        "lr_ds@random",
        ("sample", "fashion", "cifar100"),
        SCORERS,
    ),
    "lightweight": Study(
        "LW-KD beside training without a teacher",
        ("none", "label_smoothing", *TEMPERATURES),
        "none",
        ("sample", "cifar100_few"),
        TEMPERATURES,
    ),
}


def recipe(name: str, root: Path | None, args: argparse.Namespace) -> dict[str, Any]:
    """Make the recipe of a data set's comparison."""
    study, chosen = STUDIES[args.study], dict(SETS[name])
    if root is not None:
        chosen["data"] = {**chosen["data"], "root": str(root)}
    return {
        "name": f"{args.study}-{name}",
        **chosen,
        "student": "resnet8",
        "compare": {"methods": list(study.methods), "seeds": args.seeds, "settings": dict(study.settings)},
        "output": {"cache": str(args.out / "cache")},
    }


def measured(folder: Path, method: str, args: argparse.Namespace) -> Measured:
    """Read what a method reached on the validation split, a value for each seed."""
    found = [limbeck.runs.read_run(folder / method / f"seed-{seed}") for seed in range(args.seeds)]
    return Measured(method, *([run[f"validation.{key}"] for run in found] for key in ("accuracy", "ece", "loss")))


def differences(one: Measured, other: Measured | None) -> str:
    """Tell how many points one method is above another, over the seeds."""
    if other is None or one is other:
        return ""
    points = [100 * (a - b) for a, b in zip(one.accuracy, other.accuracy, strict=True)]
    spread = f" +- {statistics.stdev(points):.2f}" if len(points) > 1 else ""
    return f"{statistics.fmean(points):+.2f}{spread}"


def line(name: str, result: Measured, control: Measured | None) -> dict[str, Any]:
    """Make one line of the table."""
    ece, nll = (statistics.fmean(values) for values in (result.ece, result.loss))
    percent = [100 * value for value in result.accuracy]
    spread = f" +- {statistics.stdev(percent):.2f}" if len(percent) > 1 else ""
    return {
        "data": name,
        "method": result.method,
        "validation accuracy (%)": f"{statistics.fmean(percent):.2f}{spread}",
        f"over {control.method if control else 'control'}": differences(result, control),
        "ECE (%)": f"{100 * ece:.1f}",
        "NLL": f"{nll:.3f}",
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
    study, about = STUDIES[args.study], "; ".join([f"{name}: {found.title}", *found.notes[1:]])
    results = {method: measured(folder, method, args) for method in study.methods}
    return [line(name, result, results.get(study.control)) for result in results.values()], [about]


def root_of(name: str, stack: ExitStack, args: argparse.Namespace) -> Path | None:
    """Return the folder of a data set's images; None for the one that comes with limbeck."""
    if name == "sample":
        return None
    if name.startswith("cifar100"):
        return stack.enter_context(cifar100_root(None, keep=args.out / "data"))
    shared = shared_data()
    if shared is None:
        raise UserError(f"--sets {name}: expected LIMBECK_SHARED, a folder with data/{ROOTS[name]}")
    return shared / ROOTS[name]


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="One question, over several data sets and seeds.")
    parser.add_argument("study", choices=tuple(STUDIES))
    parser.add_argument("--sets", type=lambda word: word.split(","), help="by default the study's")
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--out", type=Path, help="the folder of the runs, by default runs/STUDY")
    parser.add_argument("--name", help="of the result, by default STUDY-cpu")
    parser.add_argument("overrides", nargs="*", help="key=value of the recipes")
    args = parser.parse_intermixed_args(words)
    args.sets = args.sets or list(STUDIES[args.study].sets)
    args.out, args.name = args.out or Path("runs") / args.study, args.name or f"{args.study}-cpu"
    return args


def main() -> None:
    """Compare on each data set, and write the table after each."""
    args = arguments()
    rows: list[dict[str, Any]] = []
    told: list[str] = []
    with ExitStack() as stack:
        for name in args.sets:
            own, notes = compared(name, root_of(name, stack, args), args)
            rows, told = rows + own, told + notes
            record(args.name, STUDIES[args.study].title, rows, told, show=name == args.sets[-1])


if __name__ == "__main__":
    main()
