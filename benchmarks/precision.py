"""What ``precision: auto`` and ``channels_last: auto`` come to, beside the best of the four combinations.

    OMP_NUM_THREADS=1 python benchmarks/precision.py

A student's epoch is a training epoch on the labels alone in our own loop, a teacher's the forward passes of a live
teacher over the same batches. The four combinations take turns, an epoch each, and the processor time of this process
is counted, so that other processes on the machine disturb little; ``noise`` is the median over the fastest epoch.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import torch
from torch import nn

from harness import Bench, Loop, Seconds, in_turns, network, random_images, settled
from limbeck.precision import Precision
from limbeck.teachers import LiveTeacher
from limbeck.training import TrainingSettings, decide, in_words, resolve_precision
from limbeck.training.arithmetic import depthwise_share
from record import record

NETWORKS = {
    "resnet20": 32,
    "resnet8x4": 32,
    "wrn_16_2": 32,
    "vgg8": 32,
    "mobilenetv2": 32,
    "shufflenetv1": 32,
    "shufflenetv2": 32,
    "timm:resnet10t": 96,
    "timm:mobilenetv3_small_050": 96,
    "timm:mobilenetv2_050": 96,
    "timm:efficientnet_lite0": 96,
    "timm:mobilenetv4_conv_small_050": 96,
    "timm:convnext_atto": 96,
    "timm:convnext_tiny": 64,
    "timm:mobilevit_s": 64,
    "timm:repvit_m0_9": 64,
    "torchvision:mobilenet_v3_small": 96,
    "torchvision:resnet18": 96,
}
COMBINATIONS: tuple[tuple[Precision, bool], ...] = tuple(product(("fp32", "bf16"), (False, True)))
CLASSES = 100
NOTES = (
    "ms: processor milliseconds a batch, of the fastest epoch. auto / best: of the fastest epochs.",
    "depthwise: the share of multiply-adds, which the rule for a student's precision looks at (above 2 %: fp32).",
    "A teacher only computes forward, where bf16 channels_last is best for nearly every network, and its auto.",
)


def benches(size: int, batch: int, steps: int) -> dict[str, Bench]:
    """Return the same batches in every combination."""
    split = random_images(batch * steps, (3, size, size), CLASSES)
    return {
        in_words(precision, channels_last=layout): Bench(
            split, CLASSES, batch, precision=precision, channels_last=layout, mean=(0.5,) * 3, std=(0.25,) * 3
        )
        for precision, layout in COMBINATIONS
    }


def students(net: nn.Module, made: Mapping[str, Bench]) -> dict[str, Loop]:
    """Return a training epoch in every combination."""
    return {name: bench.loop(copy.deepcopy(net), None, "none") for name, bench in made.items()}


def teachers(net: nn.Module, made: Mapping[str, Bench]) -> dict[str, Loop]:
    """Return the forward passes of a live teacher over an epoch in every combination."""

    def loop(bench: Bench) -> Loop:
        teacher = LiveTeacher(bench.placed(copy.deepcopy(net)), precision=resolve_precision(bench.precision, "cpu"))

        def epoch(number: int) -> None:
            for inputs, labels, indices in bench.views.epoch(number):
                teacher(inputs, labels, indices, number)

        return epoch

    return {name: loop(bench) for name, bench in made.items()}


def auto(role: str, net: nn.Module, size: int) -> str:
    """Name the combination that ``auto`` comes to."""
    decided = decide(TrainingSettings(device="cpu"), net, torch.zeros(2, 3, size, size))
    precision = decided.precision if role == "student" else resolve_precision("auto", "cpu")
    return in_words(precision, channels_last=bool(decided.channels_last))


def row(name: str, role: str, share: float, chosen: str, taken: Seconds, steps: int) -> dict[str, Any]:
    """Put a network's seconds in a row of the table."""
    fastest = {combination: min(seconds) for combination, seconds in taken.items()}
    noise = max(statistics.median(seconds) / min(seconds) for seconds in taken.values())
    return {
        "network": name,
        "role": role,
        "depthwise": f"{share:.1%}",
        **{f"{combination} (ms)": round(1e3 * value / steps, 1) for combination, value in fastest.items()},
        "auto": chosen,
        "auto / best": round(fastest[chosen] / min(fastest.values()), 3),
        "noise": round(noise, 3),
    }


def rows(names: Sequence[str], batch: int, steps: int, rounds: int) -> Iterator[dict[str, Any]]:
    """Measure every network as a student and as a teacher."""
    for name in names:
        size = NETWORKS[name]
        net, made = network(name, classes=CLASSES), benches(size, batch, steps)
        share = depthwise_share(net, torch.zeros(1, 3, size, size))
        for role, loops in (("student", students), ("teacher", teachers)):
            timed = net if role == "student" else settled(copy.deepcopy(net), (3, size, size))
            taken = in_turns(loops(timed, made), rounds, time.process_time)
            yield row(name, role, share, auto(role, net, size), taken, steps)


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="What precision and memory format at auto come to.")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--prefix", default="precision", help="of the results' names")
    return parser.parse_args(words)


def main() -> None:
    """Measure every network and keep the results."""
    args = arguments()
    table = []
    for measured in rows(args.networks, args.batch_size, args.steps, args.rounds):
        print(measured, flush=True)
        table.append(measured)
    title = f"Precision and memory format at auto beside the best of four (batch {args.batch_size}, CPU)"
    record(f"{args.prefix}-cpu", title, table, NOTES)


if __name__ == "__main__":
    main()
