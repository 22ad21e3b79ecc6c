"""What one teacher pass for all seeds saves a comparison with random-resized crops, of which no two are the same.

    OMP_NUM_THREADS=1 python benchmarks/crops.py
    OMP_NUM_THREADS=1 python benchmarks/crops.py --images 64 --epochs 1 --seeds 2 --methods kd,dist

``limbeck.compare`` of five methods and three seeds on photos, three times: with the logit cache and the same views for
all seeds (``data.view_seed``), with the cache and views of each seed's own, and with the live teacher in every run. The
building of the caches and of the pixel store, which the first one fills for all, is included. The weights of the
teacher are random: its training is in none of them.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import limbeck
from harness import network, settled
from limbeck.models.saving import save_network
from record import record
from store import write_photos

STUDENT, SIZE = "timm:mobilenetv3_small_050", 96
METHODS = "kd,dist,dkd,lr,lskd+kd"
SHARED, OWN, LIVE = (
    "limbeck compare, cached, data.view_seed: 0",
    "limbeck compare, cached, views of each seed's own",
    "limbeck compare, live",
)
WAYS: dict[str, dict[str, Any]] = {
    SHARED: {"data": {"view_seed": 0}, "cache": "epochs"},
    OWN: {"data": {}, "cache": "epochs"},
    LIVE: {"data": {}, "cache": "off"},
}
NOTES = (
    "The teacher has random weights: nothing trains it. It sees the student's crops enlarged to 224 pixels.",
    "Every run measures the test images once. The ways come one after another, not in turns.",
    "Methods of one seed have the same views anyway; data.view_seed gives them to all seeds.",
)


def recipe(args: argparse.Namespace, folder: Path, way: Mapping[str, Any]) -> dict[str, Any]:
    """Make the recipe of the comparison."""
    augment = {"scale": [0.08, 1.0], "flip": True}
    data = {"name": "image_folder", "root": str(folder / "photos"), "size": SIZE, "augment": augment, "store": "disk"}
    teacher = {"name": args.teacher, "weights": str(folder / "teacher.safetensors"), "size": 224, "cache": way["cache"]}
    return {
        "data": {**data, **way["data"]},
        "teacher": teacher,
        "student": STUDENT,
        "training": {
            "batch_size": 32,
            "epochs": args.epochs,
            "evaluate_every": args.epochs,
            "checkpoint_every": args.epochs,
        },
        "compare": {"methods": args.methods, "seeds": args.seeds},
        "output": {"cache": str(folder / "cache")},
    }


def seconds(args: argparse.Namespace, folder: Path, name: str) -> float:
    """Compare in one way, and return the wall time."""
    start = time.perf_counter()
    limbeck.compare(recipe(args, folder, WAYS[name]), out=folder / name, jobs=1)
    return time.perf_counter() - start


def rows(args: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Measure the three ways."""
    for split, count in (("train", args.images), ("test", args.test_images)):
        write_photos(folder / "photos" / split, count)
    # A network of a deep teacher's kind with random weights overflows unless its statistics fit.
    save_network(folder / "teacher.safetensors", settled(network(args.teacher, classes=2), (3, 224, 224)), {})
    taken = {name: seconds(args, folder, name) for name in WAYS}
    return [
        {"way": name, "seconds": round(took, 1), "times as fast as live": round(taken[LIVE] / took, 2)}
        for name, took in taken.items()
    ]


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="What one teacher pass for all seeds saves a comparison.")
    parser.add_argument("--teacher", default="timm:resnet50")
    parser.add_argument("--methods", default=METHODS, help="methods with a live teacher")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--test-images", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=4)
    return parser.parse_args(words)


def main() -> None:
    """Measure and keep the result."""
    args = arguments()
    with tempfile.TemporaryDirectory() as folder:
        measured = rows(args, Path(folder))
    runs = f"{args.methods} x {args.seeds} seeds, {args.images} photos, {args.epochs} epochs"
    record("crops", f"{args.teacher} -> {STUDENT}: {runs}", measured, NOTES)


if __name__ == "__main__":
    main()
