"""What a training step costs: our loop against the same step by hand, and with a teacher that is cached.

    OMP_NUM_THREADS=1 python benchmarks/step.py                  # both tables; --only hand or --only cached for one
    python benchmarks/step.py --device cuda                      # with recorded steps beside them

The loops take the same batches from the same views, with the same networks, precision and fused optimizer; they take
turns, an epoch each, so that a machine whose speed drifts treats all alike. The cached step is taken with every row
stored: it should cost at most 1.10 times the step of the same student on the labels alone, which has no teacher.
"""

import argparse
import copy
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from harness import Bench, Device, Loop, in_turns, middle, network, random_images, ratios, records, settled, span
from limbeck.data import Views
from limbeck.teachers import Teacher
from record import record

BATCH, STEPS, ROUNDS = 64, 20, 9
CASES = (
    ("cross-entropy, resnet8 at half width, 1x28x28", "none", ("resnet8", 0.5), ("resnet8x4", 0.5), (1, 28, 28)),
    (
        "kd, resnet8x4 at half width -> resnet8 at half width, 1x28x28",
        "kd",
        ("resnet8", 0.5),
        ("resnet8x4", 0.5),
        (1, 28, 28),
    ),
    ("kd, resnet56 -> resnet20, 3x32x32", "kd", ("resnet20", 1), ("resnet56", 1), (3, 32, 32)),
)
PAIRS = (("resnet56", "resnet20"), ("resnet32x4", "resnet8x4"))
NOTES = (
    "cached: every row was stored before; an epoch's rows are read, and checked by their checksums, within its time.",
    "The labels alone: cross-entropy of the same student in the same loop. Teachers have random weights.",
)


def by_hand(views: Views, student: nn.Module, teacher: nn.Module, method: str) -> Loop:
    """Return our loop over one epoch in plain PyTorch."""
    teacher.eval().requires_grad_(False)
    student.train()
    device = next(student.parameters()).device
    optimizer = torch.optim.SGD(student.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, fused=True)

    def epoch(number: int) -> None:
        total = torch.zeros((), device=device)
        for inputs, labels, _ in views.epoch(number):
            with torch.autocast(device.type, torch.bfloat16):
                logits = student(inputs).float()
                loss = F.cross_entropy(logits, labels)
                if method == "kd":
                    with torch.no_grad():
                        target = teacher(inputs).float()
                    soft = F.kl_div(F.log_softmax(logits / 4, 1), F.softmax(target / 4, 1), reduction="batchmean")
                    loss = 0.1 * loss + 0.9 * 16 * soft
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            total += loss.detach()
        total.item()

    return epoch


def hand_rows(device: Device, steps: int, rounds: int) -> list[dict[str, Any]]:
    """Compare our loop with the one by hand."""
    return [row for case in CASES for row in hand_case(*case, device=device, steps=steps, rounds=rounds)]


def hand_case(
    title: str,
    method: str,
    student: tuple[str, float],
    teacher: tuple[str, float],
    shape: tuple[int, int, int],
    *,
    device: Device,
    steps: int,
    rounds: int,
) -> Iterator[dict[str, Any]]:
    """Compare the loops on one pair of networks: a line for ours, and one for ours with recorded steps."""
    bench = Bench(random_images(BATCH * steps, shape, 100), device=device, precision="bf16")
    nets = [network(name, channels=shape[0], width=width) for name, width in (student, teacher)]
    one, other = (bench.placed(net) for net in nets)
    benches = {"ours": bench} | ({"ours, recorded": replace(bench, cuda_graph=True)} if records(device) else {})
    loops = {name: made.loop(copy.deepcopy(one), copy.deepcopy(other), method) for name, made in benches.items()}
    taken = in_turns({**loops, "by hand": by_hand(bench.views, one, other, method)}, rounds)
    for name in loops:
        ratio = ratios(taken, name, "by hand")
        yield {
            "step": title + name.removeprefix("ours"),
            **{
                f"{kind} (ms)": middle([1e3 * t / steps for t in taken[key]], 2)
                for kind, key in (("ours", name), ("by hand", "by hand"))
            },
            "ratio (median)": middle(ratio),
            "ratio (range)": span(ratio),
        }


def cached_loops(bench: Bench, student: nn.Module, teacher: nn.Module, method: str, cached: Teacher) -> dict[str, Loop]:
    """Return our loop with the teacher live, with it cached, and without one."""
    sources = {"live": (copy.deepcopy(teacher), method), "cached": (cached, method), "labels alone": (None, "none")}
    return {name: bench.loop(copy.deepcopy(student), source, how) for name, (source, how) in sources.items()}


def cached_rows(
    bench: Bench, pair: tuple[str, str], teacher: nn.Module, steps: int, rounds: int
) -> Iterator[dict[str, Any]]:
    """Compare a cached step with a live one and one without a teacher."""
    student = network(pair[1])
    with tempfile.TemporaryDirectory() as folder:
        cached = bench.cached(copy.deepcopy(teacher), Path(folder), rounds + 1)
        for method in ("kd", "dist"):
            taken = in_turns(cached_loops(bench, student, teacher, method, cached), rounds)
            above, faster = ratios(taken, "cached", "labels alone"), ratios(taken, "live", "cached")
            yield {
                "step": f"{method}, {' -> '.join(pair)}, 3x32x32{', recorded' if bench.cuda_graph else ''}",
                **{f"{name} (ms)": middle([1e3 * t / steps for t in values], 2) for name, values in taken.items()},
                "cached / labels alone": middle(above),
                "range": span(above),
                "live / cached": middle(faster, 2),
            }


def all_cached_rows(
    device: Device, pairs: Sequence[tuple[str, str]], steps: int, rounds: int
) -> Iterator[dict[str, Any]]:
    """Compare for every pair, and with recorded steps where they can be."""
    plain = Bench(random_images(BATCH * steps, (3, 32, 32), 100), device=device, precision="bf16")
    benches = [plain, replace(plain, cuda_graph=True)] if records(device) else [plain]
    for pair in pairs:
        teacher = settled(network(pair[0]), plain.split.shape)
        for bench in benches:
            yield from cached_rows(bench, pair, teacher, steps, rounds)


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="What a training step costs.")
    parser.add_argument("--only", choices=("hand", "cached"))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--pairs", type=lambda word: [PAIRS[int(n)] for n in word.split(",")], default=PAIRS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--prefix", default="step", help="of the results' names")
    return parser.parse_args(words)


def main() -> None:
    """Measure every case and keep the results."""
    args = arguments()
    if args.only != "cached":
        title = f"A training step: our loop against the same step by hand (batch {BATCH}, bf16)"
        record(f"{args.prefix}-{args.device}", title, hand_rows(args.device, args.steps, args.rounds))
    if args.only != "hand":
        rows = list(all_cached_rows(args.device, args.pairs, args.steps, args.rounds))
        record(f"{args.prefix}-cached-{args.device}", f"A cached training step (batch {BATCH}, bf16)", rows, NOTES)


if __name__ == "__main__":
    main()
