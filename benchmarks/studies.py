"""Which setting earns its place: one question at a time, over several data sets and seeds.

    OMP_NUM_THREADS=1 python benchmarks/studies.py selection --jobs 2      # the scorers of LR+DS; 100 core minutes
    OMP_NUM_THREADS=1 python benchmarks/studies.py lightweight --jobs 2    # the temperature of LW-KD; 26 core minutes
    OMP_NUM_THREADS=1 python benchmarks/studies.py selection --sets sample --seeds 1 training.epochs=1

``selection`` puts each scorer beside a random choice of as many samples; in all of its rows but ``none`` the teacher is
the same, and all samples have the same cross-entropy. ``lightweight`` puts LW-KD beside training without a teacher.
Defaults are chosen by these tables, so they show a validation split: training images that neither student nor teacher
learned from. A difference is taken between runs of the same seed, which begin with the same student and see the same
views. ``sample`` is a part of Fashion-MNIST that comes with limbeck; the other data sets need LIMBECK_SHARED. A stopped
command resumes run by run.
"""

import argparse
import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import limbeck
from harness import cifar100_root, shared_data, with_spread
from limbeck.errors import UserError
from limbeck.runs import Reporting, parse_overrides
from record import record

SGD = {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}
SHORT = {"batch_size": 64, "optimizer": SGD, "schedule": "one_cycle", "evaluate_every": 30}


def images(name: str, train_limit: int, *, validation: float, crop: int) -> dict[str, Any]:
    """Return the recipe's ``data``."""
    augment = {"crop": crop, "flip": True}
    return {"name": name, "validation": validation, "train_limit": train_limit, "augment": augment}


def teacher(epochs: int, train_limit: int, **options: float) -> dict[str, Any]:
    """Return a teacher that is better than its student, and often wrong."""
    training = {**SHORT, "epochs": epochs}
    return {"name": "resnet8x4", "options": options, "train_limit": train_limit, "training": training}


SETS: dict[str, dict[str, Any]] = {
    "sample": {
        "data": images("fashion_mnist_sample", 2000, validation=0.2, crop=2),
        "teacher": teacher(8, 8000, width=0.5),
        "training": {**SHORT, "epochs": 30},
    },
    "fashion": {
        "data": images("fashion_mnist", 10_000, validation=0.1, crop=2),
        "teacher": teacher(8, 10_000, width=0.5),
        "training": {**SHORT, "epochs": 8},
    },
    "cifar100": {
        "data": images("cifar100", 10_000, validation=0.2, crop=4),
        "teacher": teacher(15, 10_000),
        "training": {**SHORT, "epochs": 15},
    },
    # For methods that make their own teachers.
    "cifar100_few": {
        "data": images("cifar100", 2500, validation=0.2, crop=4),
        "training": {**SHORT, "epochs": 60},
    },
}


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


def line(name: str, result: Measured, control: Measured) -> dict[str, Any]:
    """Make one line of the table; its difference from the control is taken seed by seed."""
    ece, nll = (statistics.fmean(values) for values in (result.ece, result.loss))
    over = [100 * (one - other) for one, other in zip(result.accuracy, control.accuracy, strict=True)]
    return {
        "data": name,
        "method": result.method,
        "validation accuracy (%)": with_spread([100 * value for value in result.accuracy]),
        f"over {control.method}": "" if result is control else with_spread(over, "+"),
        "ECE (%)": f"{100 * ece:.1f}",
        "NLL": f"{nll:.3f}",
        "seeds": len(result.accuracy),
    }


def compared(name: str, root: Path | None, args: argparse.Namespace) -> tuple[list[dict[str, Any]], list[str]]:
    """Train all rows of a data set, and return them with notes about them."""
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
    return [line(name, result, results[study.control]) for result in results.values()], [about]


def root_of(name: str, stack: ExitStack, args: argparse.Namespace) -> Path | None:
    """Return the folder of a data set's images; None for the one that comes with limbeck."""
    if name == "sample":
        return None
    if name.startswith("cifar100"):
        return stack.enter_context(cifar100_root(None, keep=args.out / "data"))
    shared = shared_data()
    if shared is None:
        raise UserError(f"--sets {name}: expected LIMBECK_SHARED, a folder with data/fashion-mnist")
    return shared / "fashion-mnist"


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
    lines: list[str] = []
    with ExitStack() as stack:
        for name in args.sets:
            own, notes = compared(name, root_of(name, stack, args), args)
            rows, lines = rows + own, lines + notes
            record(args.name, STUDIES[args.study].title, rows, lines, show=name == args.sets[-1])


if __name__ == "__main__":
    main()
