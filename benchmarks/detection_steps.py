"""What distillation costs a step of detection, against torchvision's own step and one forward of the teacher.

    OMP_NUM_THREADS=1 python benchmarks/detection_steps.py

Networks have random weights, images are generated. Seconds are those of the process, without what others computed.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

import limbeck
from harness import Loop, in_turns, middle, ratios, span
from limbeck.data.batch import Batch
from limbeck.data.boxes.shapes import drawn_boxes
from limbeck.tasks import Detection
from record import record

OWN, FORWARD, BOTH = "torchvision's own step", "the teacher's forward", "both"
_STEPS, _BATCH, _SIDE, _REGIONS = 2, 2, 128, 128
NOTES = (
    "Generated images of 128x128, batches of 2, 128 regions an image, ResNet-18 taught live by ResNet-34, float32.",
    "A step with a teacher is divided by torchvision's own step and a forward of the teacher in eval mode, together.",
)
_METHODS = ("kd", "dist", "dist+mimic")


def detection_rows(rounds: int) -> list[dict[str, Any]]:
    """Measure Faster R-CNN and RetinaNet on ResNet-18, taught by ResNet-34, fp32."""
    data = drawn_boxes(train=_STEPS * _BATCH, test=1, side=_SIDE)
    batches = list(data.batches(data.train, batch_size=_BATCH).epoch(0))
    rows = []
    for name, stages in (("fasterrcnn", 2), ("retinanet", 1)):
        rows += _measured(name, Detection(3, stages=stages), batches, rounds)
    return rows


def _network(name: str, backbone: str) -> nn.Module:
    torch.manual_seed(0)
    options: dict[str, Any] = {"backbone": backbone, "min_size": _SIDE, "max_size": _SIDE}
    if name == "fasterrcnn":
        options |= {"box_batch_size_per_image": _REGIONS, "rpn_post_nms_top_n_test": _REGIONS}
    return limbeck.models.create(name, num_classes=3, **options)


def _measured(name: str, task: Detection, batches: Sequence[Batch], rounds: int) -> list[dict[str, Any]]:
    loops = {OWN: _own_step(name, batches), FORWARD: _forward(name, batches)}
    loops |= {method: _distilled(name, method, task, batches) for method in ("none", *_METHODS)}
    taken = in_turns(loops, rounds, time.process_time)
    taken[BOTH] = [own + forward for own, forward in zip(taken[OWN], taken[FORWARD], strict=True)]
    # A step without a teacher is one of torchvision's; any other has a forward of the teacher beside it.
    compared = {OWN: OWN, "none": OWN, FORWARD: BOTH, BOTH: BOTH, **dict.fromkeys(_METHODS, BOTH)}
    return [
        {
            "task": f"detection, {name}",
            "step": step,
            "ms": middle([1e3 * one / len(batches) for one in taken[step]], 2),
            "ratio": middle(ratios(taken, step, other), 3),
            "range": span(ratios(taken, step, other), 2),
        }
        for step, other in compared.items()
    ]


def _stepping(network: nn.Module, loss: Callable[[Batch], torch.Tensor], batches: Sequence[Batch]) -> Loop:
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4)

    def epoch(_: int) -> None:
        for batch in batches:
            optimizer.zero_grad()
            torch.autograd.backward(loss(batch))
            optimizer.step()

    return epoch


def _own_step(name: str, batches: Sequence[Batch]) -> Loop:
    network = _network(name, "resnet18").train()
    return _stepping(network, lambda batch: sum(network(batch.inputs["images"], batch.targets).values()), batches)


def _forward(name: str, batches: Sequence[Batch]) -> Loop:
    network = _network(name, "resnet34").eval()

    @torch.no_grad()
    def epoch(_: int) -> None:
        for batch in batches:
            network(batch.inputs["images"])

    return epoch


def _distilled(name: str, method: str, task: Detection, batches: Sequence[Batch]) -> Loop:
    student, teacher = _network(name, "resnet18"), None if method == "none" else _network(name, "resnet34")
    example = {"images": [torch.zeros(3, _SIDE, _SIDE)] * 2}
    distiller = limbeck.Distiller(student, teacher, method, task=task, example=example).train()
    return _stepping(distiller, lambda batch: distiller(*batch, 0).loss, batches)


def main(words: Sequence[str] | None = None) -> None:
    """Measure and keep the result."""
    parser = argparse.ArgumentParser(description="What distillation costs a step of detection.")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args(words)
    torch.set_num_threads(1)
    record(
        "detection-steps",
        "The cost of distillation a step of detection, one thread",
        detection_rows(args.rounds),
        NOTES,
    )


if __name__ == "__main__":
    main()
