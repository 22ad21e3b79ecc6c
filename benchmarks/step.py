"""What our training loop costs above the same step written by hand in plain PyTorch, as a ratio within one run.

    OMP_NUM_THREADS=1 python benchmarks/step.py

Both loops take the same batches from the same views, with the same networks, precision and fused optimizer; they take
turns, an epoch each, so that a machine whose speed drifts treats both alike.
"""

import copy
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

import limbeck
from limbeck.data import Augment, ImageSet, Views
from limbeck.training import Engine, OptimizerSettings, ScheduleSettings, TrainingSettings, make_fabric
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


def _views(shape: tuple[int, int, int], classes: int) -> Views:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (BATCH * STEPS, *shape), dtype=torch.uint8, generator=generator)
    split = ImageSet(images, torch.randint(classes, (BATCH * STEPS,), generator=generator))
    mean, std, augment = [0.5] * shape[0], [0.25] * shape[0], Augment(crop=4, flip=True)
    return Views(split, batch_size=BATCH, mean=mean, std=std, augment=augment, shuffle=True, channels_last=True)


def _networks(student: tuple[str, float], teacher: tuple[str, float], channels: int) -> tuple[nn.Module, nn.Module]:
    nets = [
        limbeck.models.create(name, num_classes=100, in_channels=channels, width=width)
        for name, width in (student, teacher)
    ]
    one, other = (net.to(memory_format=torch.channels_last) for net in nets)
    return one, other


def ours(views: Views, student: nn.Module, teacher: nn.Module, method: str) -> Callable[[int], None]:
    """Return our loop over one epoch."""
    optimizer = OptimizerSettings(name="sgd", lr=0.01, momentum=0.9)
    settings = TrainingSettings(device="cpu", optimizer=optimizer, schedule=ScheduleSettings(name="constant"))
    distiller = limbeck.Distiller(student, teacher, method=method)
    engine = Engine(distiller, views, settings, fabric=make_fabric(settings), splits={}, num_classes=100)

    def epoch(number: int) -> None:
        engine.train_epoch(number).means()

    return epoch


def by_hand(views: Views, student: nn.Module, teacher: nn.Module, method: str) -> Callable[[int], None]:
    """Return the same loop in plain PyTorch."""
    teacher.eval().requires_grad_(False)
    student.train()
    optimizer = torch.optim.SGD(student.parameters(), lr=0.01, momentum=0.9, fused=True)

    def epoch(number: int) -> None:
        total = torch.zeros(())
        for inputs, labels, _ in views.epoch(number):
            with torch.autocast("cpu", torch.bfloat16):
                logits = student(inputs).float()
                loss = F.cross_entropy(logits, labels)
                if method == "kd":
                    with torch.no_grad():
                        said = teacher(inputs).float()
                    soft = F.kl_div(F.log_softmax(logits / 4, 1), F.softmax(said / 4, 1), reduction="batchmean")
                    loss = 0.1 * loss + 0.9 * 16 * soft
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            total += loss.detach()
        total.item()

    return epoch


def _seconds(loop: Callable[[int], None], epoch: int) -> float:
    start = time.perf_counter()
    loop(epoch)
    return time.perf_counter() - start


def main() -> None:
    """Measure every case and keep the result."""
    rows = []
    for title, method, student, teacher, shape in CASES:
        views = _views(shape, 100)
        one, other = _networks(student, teacher, shape[0])
        loops = ours(views, copy.deepcopy(one), copy.deepcopy(other), method), by_hand(views, one, other, method)
        for loop in loops:
            loop(0)
        pairs = [tuple(_seconds(loop, epoch) for loop in loops) for epoch in range(1, ROUNDS + 1)]
        ratios = [a / b for a, b in pairs]
        ours_ms, hand_ms = (1e3 * statistics.median(column) / STEPS for column in zip(*pairs, strict=True))
        rows.append(
            {
                "step": title,
                "ours (ms)": round(ours_ms, 2),
                "by hand (ms)": round(hand_ms, 2),
                "ratio (median)": round(statistics.median(ratios), 3),
                "ratio (range)": f"{min(ratios):.3f} to {max(ratios):.3f}",
            }
        )
    record("step-cpu", "A training step: our loop against the same step by hand (batch 64, bf16)", rows)


if __name__ == "__main__":
    main()
