"""What the logit cache saves a comparison: five methods and two seeds, the building of the cache included.

    OMP_NUM_THREADS=1 python benchmarks/compare.py               # needs LIMBECK_SHARED, or --root FOLDER with CIFAR-100
    OMP_NUM_THREADS=1 python benchmarks/compare.py --jobs 2      # means nothing unless both cores are free
    python benchmarks/compare.py --pair resnet32x4,resnet8x4 --train-limit 192 --epochs 100 --no-live

Three ways to the same table: ``limbeck.compare`` with the cache, the same without it (each run runs the live teacher),
and a plain PyTorch loop for each method and seed, of which a few epochs and one evaluation are measured and multiplied.
What the cache costs falls with the epochs: crop and flip have 162 views, and what was seen before is only read.
The teacher's weights are random, so its training is in none of them. A last row is computed: what the
measured speeds of student and teacher come to at the size of the papers.
"""

import argparse
import csv
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import limbeck
from harness import cifar100_root, network, seconds_of, settled, trimmed
from limbeck.data import Data, ImageSet, Views
from limbeck.models.saving import save_network
from peers import Pair, PilImages, plain_loop
from record import record

VIEWS, HAND_STEPS = 162, 24
METHODS = "kd,dist,dkd,lr,select+lr"
PAPER = {"images": 50_000, "epochs": 240, "seeds": 3}


def recipe(args: argparse.Namespace, root: Path, folder: Path, cache: str) -> dict[str, Any]:
    """Make the recipe of the comparison."""
    teacher, student = args.pair
    return {
        "name": "compare",
        "data": {
            "name": "cifar100",
            "root": str(root),
            "augment": {"crop": 4, "flip": True},
        },
        "teacher": {"name": teacher, "weights": str(folder / "teacher.safetensors"), "cache": cache},
        "student": student,
        "training": {"epochs": args.epochs, "evaluate_every": args.epochs, "checkpoint_every": args.epochs},
        "compare": {"methods": args.methods, "seeds": args.seeds},
        "output": {"cache": str(folder / "cache")},
    }


def per_image(folder: Path) -> float:
    """Return the seconds a training image took, the median over all runs and epochs."""
    taken = []
    for path in folder.glob("*/seed-*/metrics.csv"):
        with path.open() as file:
            # The column's name in version 0.1.
            speeds = [row.get("samples_per_second") or row["images_per_second"] for row in csv.DictReader(file)]
        taken += [1 / float(speed) for speed in speeds]
    return statistics.median(taken)


def timed(args: argparse.Namespace, root: Path, folder: Path, cache: str) -> tuple[float, float]:
    """Compare, and return the wall time and the seconds a training image took."""
    out, start = folder / f"runs-{cache}", time.perf_counter()
    limbeck.compare(recipe(args, root, folder, cache), out=out, jobs=args.jobs)
    return time.perf_counter() - start, per_image(out)


def by_hand(args: argparse.Namespace, data: Data) -> float:
    """Return the seconds of one run by the plain loop: its epochs, of which a few are measured, and an evaluation."""
    pair, few = Pair(*args.pair), argparse.Namespace(batch_size=64, workers=0, device="cpu")
    epoch = plain_loop(PilImages(data), pair, "kd", few)
    assert isinstance(data.test, ImageSet)
    test = Views(data.test, batch_size=500, mean=data.mean, std=data.std)
    student = pair.student.eval()

    @torch.no_grad()
    def evaluate(_: int) -> None:
        for batch in test.epoch(0):
            student(batch.inputs)

    epoch(0)
    measured = max(1, HAND_STEPS * 64 // len(data.train))
    an_epoch = statistics.median(seconds_of(epoch, number) for number in range(1, measured + 1))
    return float(args.epochs * an_epoch + seconds_of(evaluate, 0))


def distinct(draws: int, views: int = VIEWS) -> float:
    """Return how many distinct views of an image are seen in so many draws, on average."""
    return views * (1 - (1 - 1 / views) ** draws)


def extrapolated(student: float, teacher: float, methods: int, jobs: int) -> dict[str, Any]:
    """Compute what seconds an image come to at the size of the papers."""
    images, draws = PAPER["images"], PAPER["epochs"] * PAPER["seeds"]
    live = images * methods * draws * (student + teacher) / jobs / 3600
    cached = images * (methods * draws * student + distinct(draws) * teacher) / jobs / 3600
    size = f"{images:,} images, {PAPER['epochs']} epochs, {methods} methods x {PAPER['seeds']} seeds"
    return {
        "way": f"extrapolated to {size}: live {live:,.1f} h, cached {cached:,.1f} h",
        "cached is faster by": round(live / cached, 2),
        "how": f"arithmetic: {1e3 * student:.3f} ms a student's image, {1e3 * teacher:.3f} ms a teacher's",
    }


def rows_of(args: argparse.Namespace, cached: float, live: float | None, hand: float) -> list[dict[str, Any]]:
    """Put the ways side by side."""
    runs = len(args.methods.split(",")) * args.seeds
    by_hand = f"a few epochs measured, times {args.epochs}, {runs} runs one at a time"
    ways = [("limbeck compare, cached", cached, "measured, the building of the cache included")]
    ways += [("limbeck compare, live", live, "measured")] if live else []
    ways += [("by hand, live, fp32", runs * hand, by_hand)]
    return [
        {"way": way, "seconds": round(took, 1), "cached is faster by": round(took / cached, 2), "how": how}
        for way, took, how in ways
    ]


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="What the logit cache saves a comparison.")
    parser.add_argument("--pair", type=lambda word: tuple(word.split(",")), default=("resnet56", "resnet20"))
    parser.add_argument("--methods", default=METHODS, help="methods with a live teacher")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--train-limit", type=int, default=1500)
    parser.add_argument("--test-limit", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--jobs", type=int, default=1, help="limbeck's runs at a time")
    parser.add_argument("--no-live", action="store_true", help="leave limbeck's own live comparison out")
    parser.add_argument("--root", type=Path, help="the folder of CIFAR-100")
    parser.add_argument("--name", default="compare-cpu", help="of the result")
    return parser.parse_args(words)


def measured(args: argparse.Namespace, root: Path, folder: Path) -> list[dict[str, Any]]:
    """Measure the three ways, and compute the fourth row."""
    save_network(folder / "teacher.safetensors", settled(network(args.pair[0]), (3, 32, 32)), {})
    cached, student = timed(args, root, folder, "views")
    hand = by_hand(args, limbeck.data.load("cifar100", root=root))
    if args.no_live:
        return rows_of(args, cached, None, hand)
    live, both = timed(args, root, folder, "off")
    more = extrapolated(student, max(0.0, both - student), len(args.methods.split(",")), args.jobs)
    return [*rows_of(args, cached, live, hand), more]


def main() -> None:
    """Measure and keep the result."""
    args = arguments()
    with cifar100_root(args.root) as root, tempfile.TemporaryDirectory() as folder:
        few = trimmed(root, Path(folder), train=args.train_limit, test=args.test_limit)
        rows = measured(args, few, Path(folder))
    runs = f"{args.methods} x {args.seeds} seeds, {args.train_limit:,} images, {args.epochs} epochs"
    notes = (
        "The teacher has random weights: nothing trains it. select+lr, which was called lr_ds before that had another"
        " default, trains its proxy in every run, cached or not.",
        f"Every run measures {args.test_limit:,} test images once. The ways come one after another, not in turns.",
        "Methods with the same seed see the same views, so the teacher runs once for all of them.",
    )
    record(args.name, f"{' -> '.join(args.pair)}: {runs}, {args.jobs} at a time", rows, notes)


if __name__ == "__main__":
    main()
