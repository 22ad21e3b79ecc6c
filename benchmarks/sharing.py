"""Several trainings on one GPU (or CPU): what all of them do in a second, beside one alone.

    python benchmarks/sharing.py --device cuda --processes 1,2,4,8

Every process trains the same student with a filled logit cache, as the runs of a comparison do; they begin together,
and what each does until the time is over is counted. ``accuracy.py --jobs auto`` takes the number that did most.
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import record
from harness import Bench, Device, network, random_images, records, settled
from limbeck.teachers import LiveTeacher

PAIRS = (("resnet32x4", "resnet8x4"), ("resnet56", "resnet20"))
BATCH = 64
# More processes have to do so much more than fewer ones.
WORTH = 1.05
# Seconds within which all processes have to be ready.
MEETING = 120


@dataclass(frozen=True)
class Work:
    """What every process does.

    Attributes:
        pair: Teacher and student.
        device: Where.
        steps: Steps an epoch.
        epochs: Epochs whose rows are stored; later ones begin again with the first.
        seconds: How long.
        folder: Of the logit cache.
    """

    pair: tuple[str, str]
    device: Device
    steps: int
    epochs: int
    seconds: float
    folder: Path

    def bench(self) -> Bench:
        """Return images and the way to compute."""
        images = random_images(BATCH * self.steps, (3, 32, 32), 100)
        return Bench(images, device=self.device, precision="bf16", cuda_graph=records(self.device))

    def fill(self) -> None:
        """Store the teacher's logits."""
        bench = self.bench()
        teacher = settled(network(self.pair[0]), bench.split.shape)
        torch.save(teacher.state_dict(), self.folder / "teacher.pt")
        bench.fill(LiveTeacher(bench.placed(teacher)), bench.store(self.folder), self.epochs)

    def teacher(self, bench: Bench) -> LiveTeacher:
        """Return the teacher whose logits are stored, beside which the first of them are checked."""
        teacher = network(self.pair[0])
        teacher.load_state_dict(torch.load(self.folder / "teacher.pt", weights_only=True))
        return LiveTeacher(bench.placed(teacher))

    def train(self, barrier: Any) -> tuple[int, float]:
        """Train until the time is over; return the images and the seconds that they took."""
        bench = self.bench()
        cached = bench.reading(self.teacher(bench), self.folder)
        loop = bench.loop(network(self.pair[1]), cached, "dist")
        loop(0)
        barrier.wait()
        start, done = time.perf_counter(), 0
        while (taken := time.perf_counter() - start) < self.seconds:
            loop(done % self.epochs)
            done += 1
        return done * BATCH * self.steps, taken


def _prepare(path: list[str], barrier: Any) -> None:
    sys.path[:] = path
    torch.set_num_threads(1)
    globals()["_barrier"] = barrier


def _train(work: Work) -> tuple[int, float]:
    return work.train(globals()["_barrier"])


def images_per_second(work: Work, processes: int) -> float:
    """Return what so many processes do together."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes, timeout=MEETING)
    with ProcessPoolExecutor(processes, context, initializer=_prepare, initargs=(sys.path, barrier)) as pool:
        return sum(images / seconds for images, seconds in pool.map(_train, [work] * processes))


def rows(pair: tuple[str, str], args: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Measure a pair with each number of processes."""
    work = Work(pair, args.device, args.steps, args.epochs, args.seconds, folder)
    work.fill()
    measured = {processes: images_per_second(work, processes) for processes in args.processes}
    alone = measured[min(measured)] / min(measured)
    return [
        {
            "pair": " -> ".join(pair),
            "processes": processes,
            "images/s": round(speed),
            "times one process": round(speed / alone, 2),
            "240 epochs of 50,000 images, each (min)": round(240 * 50_000 * processes / speed / 60, 2),
        }
        for processes, speed in measured.items()
    ]


def best_jobs(device: str, student: str) -> int | None:
    """Return how many processes were measured to do most; None if nothing was measured.

    Fewer are taken where more do hardly more.
    """
    path = record.RESULTS / f"sharing-{device}.json"
    if not path.is_file():
        return None
    measured = [row for row in json.loads(path.read_text())["rows"] if row["pair"].endswith(f"-> {student}")]
    best = 1
    for row in sorted(measured, key=lambda row: int(row["processes"])):
        speeds = {int(other["processes"]): float(other["images/s"]) for other in measured}
        if row["images/s"] > WORTH * speeds.get(best, 0):
            best = int(row["processes"])
    return best if measured else None


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Several trainings on one GPU.")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--processes", type=lambda word: [int(n) for n in word.split(",")], default=[1, 2])
    parser.add_argument("--pairs", type=lambda word: [PAIRS[int(n)] for n in word.split(",")], default=PAIRS)
    parser.add_argument("--steps", type=int, default=100, help="steps an epoch")
    parser.add_argument("--epochs", type=int, default=4, help="whose rows are stored")
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement")
    return parser.parse_args(words)


def main() -> None:
    """Measure and keep the result."""
    args, measured = arguments(), []
    for pair in args.pairs:
        with tempfile.TemporaryDirectory() as folder:
            measured += rows(pair, args, Path(folder))
    note = "dist with a filled logit cache, batches of 64, bf16, recorded steps where the device has them"
    record.record(f"sharing-{args.device}", f"Several trainings on one {args.device}", measured, [note])


if __name__ == "__main__":
    main()
