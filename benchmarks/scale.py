"""What processes, a Ray cluster and shards of a cache cost beside one process, on one machine.

    python benchmarks/scale.py
    python benchmarks/scale.py --images 400 --epochs 2 --repeats 1

Commands as a user types them, each with one thread a process: ``limbeck run`` in one process and in two with the same
global batch; ``limbeck compare`` with local processes and on a Ray cluster of two cores; ``limbeck cache build`` as a
whole and as two shards at the same time. The ways of a pair take turns; the least time of each counts.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from limbeck.runs import read_run
from record import record

NOTES = (
    "One machine of two cores: two processes share its memory and caches. Nothing here crosses a network.",
    "Seconds of trainings are those of the epochs alone (training.seconds); of the others the wall time of the command,"
    " which starts Python and torch in every process. On Ray that includes starting the cluster.",
)
Way = Callable[[int], float]


def environment(folder: Path) -> dict[str, str]:
    """Return the variables of a command."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "LIMBECK_CACHE": str(folder / "cache"), "RAY_DEDUP_LOGS": "0"}


def started(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """Start ``limbeck`` with some arguments."""
    command = [sys.executable, "-m", "limbeck", *words, "--quiet"]
    return subprocess.Popen(command, env=environment(folder), stdout=subprocess.DEVNULL)


def wall(*processes: Callable[[], subprocess.Popen[bytes]]) -> float:
    """Return the seconds until all of some commands have ended well."""
    start = time.perf_counter()
    for process in [begin() for begin in processes]:
        if process.wait():
            raise SystemExit(f"{process.args!r}: failed")
    return time.perf_counter() - start


def recipe(args: argparse.Namespace, folder: Path) -> Path:
    """Write the recipe of all commands."""
    path = folder / "scale.json"
    values = {
        "data": {"name": "fashion_mnist_sample", "train_limit": args.images, "augment": {"flip": True}},
        "student": args.student,
        "teacher": {"name": args.teacher, "training": {"epochs": 1, "precision": "fp32"}},
        "method": "dist",
        "training": {"epochs": args.epochs, "batch_size": 64, "batch_of": "global", "precision": "fp32"},
        "compare": {"methods": "kd,dist", "seeds": args.seeds},
    }
    path.write_text(json.dumps(values))
    return path


def ways(args: argparse.Namespace, folder: Path) -> dict[str, dict[str, Way]]:
    """Return the pairs, each way a function of the turn that gives its seconds."""
    path = str(recipe(args, folder))

    def trained(turn: int, devices: int) -> float:
        out = folder / f"run-{devices}-{turn}"
        wall(lambda: started(folder, "run", path, f"training.devices={devices}", "--out", str(out)))
        return float(read_run(out)["training.seconds"])

    def compared(turn: int, name: str, *words: str) -> float:
        return wall(lambda: started(folder, "compare", path, "--out", str(folder / f"{name}-{turn}"), *words))

    def built(turn: int, name: str, *shards: str) -> float:
        cache = [f"output.cache={folder}/{name}-{turn}", f"teacher.weights={folder}/teacher.safetensors"]
        stored = ("teacher.cache=views", "teacher.cache_dtype=float32", "teacher.training=null")
        words = ("cache", "build", path, *stored, *cache)
        return wall(*(lambda more=more: started(folder, *words, *more) for more in [s.split() for s in shards]))

    return {
        "a run of dist, global batch 64": {
            "one process": lambda turn: trained(turn, 1),
            "two processes (gloo)": lambda turn: trained(turn, 2),
        },
        f"a comparison, 2 methods x {args.seeds} seeds": {
            "--on local --jobs 2": lambda turn: compared(turn, "local", "--jobs", "2"),
            "--on ray, 2 cores": lambda turn: compared(turn, "ray", "--on", "ray"),
        },
        "a cache of all views": {
            "whole": lambda turn: built(turn, "whole", ""),
            "two shards at once": lambda turn: built(turn, "shards", "--shard 1/2", "--shard 2/2"),
        },
    }


def keep_teacher(args: argparse.Namespace, folder: Path) -> None:
    """Train the teacher once, and keep its weights as a file, so that no way trains it."""
    path = recipe(args, folder)
    wall(lambda: started(folder, "run", str(path), "training.epochs=1", "--out", str(folder / "first")))
    weights = next((folder / "cache" / "teachers").glob("*/teacher.safetensors"))
    (folder / "teacher.safetensors").write_bytes(weights.read_bytes())


def rows(args: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Measure the pairs, the ways of each in turns."""
    keep_teacher(args, folder)
    measured = []
    for what, pair in ways(args, folder).items():
        taken: Mapping[str, list[float]] = {name: [] for name in pair}
        for turn in range(args.repeats):
            for name, way in pair.items():
                taken[name].append(way(turn))
        first = min(next(iter(taken.values())))
        for name, seconds in taken.items():
            least = min(seconds)
            row = {"what": what, "way": name, "seconds": round(least, 1), "of the first": round(least / first, 2)}
            measured.append(row | {"all": " ".join(f"{value:.1f}" for value in seconds)})
    return measured


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="What processes, Ray and shards cost.")
    parser.add_argument("--student", default="resnet20")
    parser.add_argument("--teacher", default="resnet56")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args(words)


def main() -> None:
    """Measure and keep the result."""
    args = arguments()
    with tempfile.TemporaryDirectory() as folder:
        measured = rows(args, Path(folder))
    title = f"{args.teacher} -> {args.student}, {args.images} images, {args.epochs} epochs, one thread a process"
    record(
        "scale-cpu", title, measured, (*NOTES, f"The least of {args.repeats} turns; all of them in the last column.")
    )


if __name__ == "__main__":
    main()
