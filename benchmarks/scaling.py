"""How costs grow: losses with classes and rows, steps with images and batches, the cache with samples, and memory.

    OMP_NUM_THREADS=1 python benchmarks/scaling.py               # four tables; --only losses, steps, table or memory
    OMP_NUM_THREADS=1 python benchmarks/scaling.py --quick       # small settings, to try the script

Times are taken in turns within a setting. Peak memory is that of a process of its own for every setting.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from harness import Bench, Loop, in_turns, middle, network, random_images, ratios, settled
from limbeck import losses
from limbeck.cache import CachedTeacher, CacheSpec, LogitStore, RowFormat
from limbeck.teachers import LiveTeacher, Teacher
from record import record

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
LOSSES: dict[str, Loss] = {
    "cross-entropy": lambda student, _, labels: F.cross_entropy(student, labels),
    "kd": lambda student, teacher, _: losses.kd_loss(student, teacher),
    "dist": lambda student, teacher, _: losses.dist_loss(student, teacher),
    "dkd": losses.dkd_loss,
    "lskd + kd": lambda student, teacher, _: losses.kd_loss(
        losses.standardize_logits(student), losses.standardize_logits(teacher)
    ),
}
ROWS_AND_CLASSES = ((16, 100), (64, 100), (256, 100), (1024, 100), (64, 10), (64, 1000), (64, 10_000), (65_536, 19))
SIZES_AND_BATCHES = ((32, 16), (32, 64), (32, 256), (64, 64), (96, 64))
SAMPLES_AND_CLASSES = ((1_000, 100), (10_000, 100), (50_000, 100), (50_000, 1000))
MEMORY = ((32, 64), (32, 256), (64, 64))
TEACHER, STUDENT = "resnet32x4", "resnet8x4"


def loss_loop(loss: Loss, rows: int, classes: int, times: int) -> Loop:
    """Return a loop that computes a loss and its gradient."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(rows, classes, generator=generator) for _ in range(2))
    labels = torch.randint(classes, (rows,), generator=generator)
    student.requires_grad_()

    def epoch(_: int) -> None:
        for _ in range(times):
            torch.autograd.grad(loss(student, teacher, labels), student)

    return epoch


def loss_rows(settings: Sequence[tuple[int, int]], rounds: int) -> list[dict[str, Any]]:
    """Measure every loss at every number of rows and classes."""
    rows = []
    for count, classes in settings:
        times = max(2, min(200, 4_000_000 // (count * classes)))
        taken = in_turns({name: loss_loop(loss, count, classes, times) for name, loss in LOSSES.items()}, rounds)
        row: dict[str, Any] = {"rows": count, "classes": classes}
        for name in LOSSES:
            row[f"{name} (us)"] = middle([1e6 * value / times for value in taken[name]], 1)
            if name != "cross-entropy":
                row[f"{name} / CE"] = middle(ratios(taken, name, "cross-entropy"), 2)
        rows.append(row)
    return rows


def step_row(size: int, batch: int, steps: int, rounds: int) -> dict[str, Any]:
    """Measure a step with a live teacher, with a cached one and without one."""
    bench = Bench(random_images(steps * batch, (3, size, size), 100), batch_size=batch)
    teacher = settled(network("resnet56"), bench.split.shape)
    with tempfile.TemporaryDirectory() as folder:
        cached = bench.cached(teacher, Path(folder), rounds + 1)
        loops = {
            "live": bench.loop(network("resnet20"), teacher, "kd"),
            "cached": bench.loop(network("resnet20"), cached, "kd"),
            "labels alone": bench.loop(network("resnet20"), None, "none"),
        }
        taken = in_turns(loops, rounds)
    return {
        "image": f"{size} x {size}",
        "batch": batch,
        **{f"{name} (ms)": middle([1e3 * value / steps for value in values], 1) for name, values in taken.items()},
        "live / cached": middle(ratios(taken, "live", "cached"), 2),
        "cached / labels alone": middle(ratios(taken, "cached", "labels alone")),
        "images/s, cached": round(steps * batch / middle(taken["cached"], 6)),
    }


class Table(Teacher):
    """A teacher with the same logits for every sample, so that only the cache is measured."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.known = logits

    def logits(self, inputs: Tensor, labels: Tensor, indices: Tensor | None = None, epoch: int = 0) -> Tensor:  # noqa: ARG002
        """Return the logits."""
        return self.known.expand(len(labels), -1)


def read_table(folder: Path, samples: int, classes: int) -> dict[str, float]:
    """Store the rows of an epoch, and time how they are read back."""
    spec = CacheSpec("epochs", samples, RowFormat(classes), epochs=2)
    # One row for all samples: thousands of their own would be memory that is none of the cache's.
    logits, store = (
        torch.randn(1, classes, generator=torch.Generator().manual_seed(0)),
        LogitStore.open(folder, spec),
    )
    for part in torch.split(torch.arange(2 * samples), 1024):
        store.write(part.numpy(), spec.rows.encode(logits.expand(len(part), -1)).numpy())
    teacher, before = CachedTeacher(Table(logits.half().float()), store), peak()
    batch = torch.zeros(64, 1), torch.zeros(64, dtype=torch.int64), torch.arange(64)
    times = []
    for epoch in (0, 1, 1):
        start = time.perf_counter()
        teacher(*batch, epoch)
        times.append(time.perf_counter() - start)
    return {
        "cache (MB)": spec.bytes / 1e6,
        "epoch (s)": times[1],
        "batch (us)": 1e6 * times[2],
        "MB": peak() - before,
    }


def table_row(samples: int, classes: int) -> dict[str, Any]:
    """Measure a cache of so many samples in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        found = in_a_process({"kind": "table", "folder": folder, "samples": samples, "classes": classes})
    return {
        "samples": samples,
        "classes": classes,
        "two epochs stored (MB)": round(found["cache (MB)"], 1),
        "reading an epoch's rows (ms)": round(1e3 * found["epoch (s)"], 1),
        "a sample (us)": round(1e6 * found["epoch (s)"] / samples, 2),
        "a batch of 64 then (us)": round(found["batch (us)"], 1),
        "peak memory by reading (MB)": round(found["MB"]),
    }


def peak() -> float:
    """Return this process's peak memory in MB."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    # On Linux ru_maxrss begins with that of the process which started this one.
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def run_once(kind: str, folder: Path, size: int, batch: int, steps: int) -> dict[str, float]:
    """Take a few steps with a live teacher, a cached one or none, and return the peak memory."""
    bench = Bench(random_images(steps * batch, (3, size, size), 100), batch_size=batch)
    weights = folder / "teacher.pt"

    def live() -> LiveTeacher:
        teacher = network(TEACHER)
        teacher.load_state_dict(torch.load(weights, weights_only=True))
        return LiveTeacher(bench.placed(teacher))

    if kind == "fill":
        torch.save(settled(network(TEACHER), (3, size, size)).state_dict(), weights)
        bench.fill(live(), bench.store(folder), 1)
    elif kind != "start":
        sources: dict[str, Callable[[], Teacher | None]] = {
            "live": live,
            "cached": lambda: CachedTeacher(live, bench.store(folder), precision=bench.precision_name),
            "labels alone": lambda: None,
        }
        bench.loop(network(STUDENT), sources[kind](), "none" if kind == "labels alone" else "kd")(0)
    return {"MB": peak()}


def in_a_process(settings: Mapping[str, Any]) -> dict[str, float]:
    """Measure one setting in a process of its own."""
    command = [sys.executable, __file__, "--child", json.dumps(settings)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def memory_row(size: int, batch: int, steps: int) -> dict[str, Any]:
    """Measure the peak memory of a run with a live teacher, with a cached one, and without one."""
    with tempfile.TemporaryDirectory() as folder:
        setting = {"folder": folder, "size": size, "batch": batch, "steps": steps}
        kinds = ("start", "fill", "live", "cached", "labels alone")
        found = {kind: in_a_process({"kind": kind, **setting})["MB"] for kind in kinds}
    above = {kind: found[kind] - found["start"] for kind in ("live", "cached", "labels alone")}
    return {
        "image": f"{size} x {size}",
        "batch": batch,
        "imports and images (MB)": round(found["start"]),
        **{f"{kind}, above that (MB)": round(value) for kind, value in above.items()},
        "cached / live": round(above["cached"] / above["live"], 2),
    }


def child(settings: dict[str, Any]) -> dict[str, float]:
    """Run the function that :func:`in_a_process` was called with."""
    kind, folder = settings.pop("kind"), Path(settings.pop("folder"))
    return read_table(folder, **settings) if kind == "table" else run_once(kind, folder, **settings)


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="How costs grow.")
    parser.add_argument("--only", choices=("losses", "steps", "table", "memory"))
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="the first setting of each table alone")
    parser.add_argument("--prefix", default="scaling", help="of the results' names")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    return parser.parse_args(words)


def tables(args: argparse.Namespace) -> dict[str, tuple[str, Callable[[], list[dict[str, Any]]]]]:
    """Return each table's title and what measures it."""
    last, steps, rounds = 1 if args.quick else None, args.steps, args.rounds
    return {
        "losses": ("A loss and its gradient, fp32", lambda: loss_rows(ROWS_AND_CLASSES[:last], rounds)),
        "steps": (
            "A step, kd, resnet56 -> resnet20, bf16",
            lambda: [step_row(size, batch, steps, rounds) for size, batch in SIZES_AND_BATCHES[:last]],
        ),
        "table": (
            "Reading a logit cache",
            lambda: [table_row(n, classes) for n, classes in SAMPLES_AND_CLASSES[:last]],
        ),
        "memory": (
            f"Peak memory of a run, kd, {TEACHER} -> {STUDENT}, bf16",
            lambda: [memory_row(size, batch, min(steps, 4)) for size, batch in MEMORY[:last]],
        ),
    }


def main() -> None:
    """Measure every table and keep the results."""
    args = arguments()
    if args.child is not None:
        print(json.dumps(child(args.child)))
        return
    for name, (title, measure) in tables(args).items():
        if args.only in (None, name):
            record(f"{args.prefix}-{name}-cpu", title, measure())


if __name__ == "__main__":
    main()
