"""Images a second at ImageNet's size: our loop with the teacher live and cached, and a plain PyTorch loop.

    python benchmarks/throughput.py --device cuda --batch-size 256

ResNet-34 -> ResNet-18 with random weights, random pixels of 3x224x224 and 1,000 classes, bf16, channels_last, DIST. All
loops take the same batches, cut and flipped on the device, so that neither files nor decoding count: what is compared
is the step. The plain loop computes in the same precision and memory format.
"""

import argparse
import copy
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness import Bench, Loop, in_turns, middle, network, random_images, ratios, records, settled, span
from limbeck.data import Augment, Views
from record import record

PAIR = ("torchvision:resnet34", "torchvision:resnet18")
PLAIN = "plain PyTorch loop, live"
NOTES = (
    "Random weights and pixels. bf16, channels_last, SGD with momentum, DIST (beta = gamma = 2, T = 1).",
    "cached: every row was stored before the clock started. recorded: an epoch's step as a CUDA graph.",
)


def plain_dist(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """Compute cross-entropy and DIST in the fewest operations of PyTorch."""
    loss, one, other = F.cross_entropy(student, labels), student.softmax(1), teacher.softmax(1)
    for dim in (1, 0):
        centered = one - one.mean(dim, keepdim=True), other - other.mean(dim, keepdim=True)
        loss = loss + 2 * (1 - F.cosine_similarity(*centered, dim=dim).mean())
    return loss


def plain_loop(views: Views, student: nn.Module, teacher: nn.Module) -> Loop:
    """Return a loop as a person would write it for speed."""
    student.train()
    device = next(student.parameters()).device
    optimizer = torch.optim.SGD(student.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, fused=True)

    def epoch(number: int) -> None:
        for inputs, labels, _ in views.epoch(number):
            with torch.autocast(device.type, torch.bfloat16):
                with torch.no_grad():
                    target = teacher(inputs)
                logits = student(inputs)
            loss = plain_dist(logits.float(), target.float(), labels)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()

    return epoch


def loops(bench: Bench, teacher: nn.Module, cached: Any, classes: int) -> dict[str, Loop]:
    """Return every loop over one epoch, each with networks of its own."""

    def pair() -> tuple[nn.Module, nn.Module]:
        return bench.placed(network(PAIR[1], classes=classes)), bench.placed(copy.deepcopy(teacher))

    student, live = pair()
    made = {PLAIN: plain_loop(bench.views, student, live)}
    benches = {"": bench} | ({", recorded": replace(bench, cuda_graph=True)} if records(bench.device) else {})
    for way, one in benches.items():
        for source in ("live", "cached"):
            student, live = pair()
            made[f"limbeck, {source}{way}"] = one.loop(student, live if source == "live" else cached, "dist")
    return made


def rows(args: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Measure every loop."""
    size, images = args.size, args.batch_size * args.steps
    bench = Bench(
        random_images(images, (3, size, size), args.classes),
        classes=args.classes,
        batch_size=args.batch_size,
        precision="bf16",
        channels_last=True,
        device=args.device,
        augment=Augment(crop=4, flip=True),
    )
    # Small images give the norms their statistics too, in a fraction of the time.
    teacher = settled(network(PAIR[0], classes=args.classes), (3, 64, 64))
    cached = bench.cached(copy.deepcopy(teacher), folder, args.rounds + 1)
    taken = in_turns(loops(bench, teacher, cached, args.classes), args.rounds)
    return [
        {
            "by": name,
            "images/s": round(images / middle(seconds, 6)),
            "ms a step": middle([1e3 * one / args.steps for one in seconds], 2),
            "times the plain loop's speed": middle(ratios(taken, PLAIN, name), 2),
            "range": span(ratios(taken, PLAIN, name), 2),
        }
        for name, seconds in taken.items()
    ]


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Images a second at ImageNet's size.")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20, help="steps a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--classes", type=int, default=1000)
    return parser.parse_args(words)


def main() -> None:
    """Measure and keep the result."""
    args = arguments()
    with tempfile.TemporaryDirectory() as folder:
        measured = rows(args, Path(folder))
    title = f"ResNet-34 -> ResNet-18, 3x{args.size}x{args.size}, batches of {args.batch_size}, {args.device}"
    record(f"throughput-{args.device}", title, measured, NOTES)


if __name__ == "__main__":
    main()
