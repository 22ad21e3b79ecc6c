"""What distillation costs a step of segmentation, text and tables, with the teacher's logits cached.

    OMP_NUM_THREADS=1 python benchmarks/tasks.py

Each loop is a training's own epoch over the same unaugmented batches; the plain one has labels alone. The logits were
stored before the clock started. Seconds are those of the process, without what others computed.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import limbeck
from harness import Loop, in_turns, middle, ratios, span
from limbeck.cache import CachedTeacher, CacheSpec, LogitStore, RowFormat
from limbeck.data import Data
from limbeck.data.batch import Batch
from limbeck.data.masks.shapes import drawn_shapes
from limbeck.methods import create
from limbeck.tasks import Classification, Segmentation, Task
from limbeck.teachers import LiveTeacher
from limbeck.training import Engine, OptimizerSettings, ScheduleSettings, TrainingSettings, make_fabric
from record import record

PLAIN = "plain"
NOTES = (
    "Random weights; segmentation in bf16 where the CPU has it, the others in float32. Ratios within a round, medians.",
    "segmentation: generated maps of 240x240, batches of 8, logits at a quarter of that size; 512: positions an image.",
)


@dataclass(frozen=True)
class Case:
    """A task with its data and networks.

    Attributes:
        name: Its name in the table.
        data: The data.
        student: Makes the student.
        teacher: Makes the teacher.
        task: Makes the task, with as many positions an image as are compared.
        batch_size: Of the training.
        precision: Of the training.
        methods: The rows: a method, and how many positions an image are compared.
    """

    name: str
    data: Data
    student: Callable[[], nn.Module]
    teacher: Callable[[], nn.Module]
    task: Callable[[int | None], Task]
    batch_size: int
    precision: str
    methods: tuple[tuple[str, int | None], ...]


class Fixed:
    """Batches that were made before, so that only the step is measured."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, _: int) -> Iterator[Batch]:
        """Return the same batches for any epoch."""
        return iter(self.batches)


def built(name: str, data: Data, **options: Any) -> Callable[[], nn.Module]:
    """Return what makes a network for some data."""
    return lambda: limbeck.models.create(name, num_classes=len(data.classes), facts=data.facts, **options)


def cases() -> tuple[Case, ...]:
    """List the tasks."""
    maps = drawn_shapes(train=64, test=8, side=240)
    texts = limbeck.data.load("intents_sample", train_limit=1024)
    rows = limbeck.data.load("digits")
    of_maps = tuple(
        Case(
            f"segmentation, width {width}",
            maps,
            built("small_segmenter", maps, width=width),
            built("small_segmenter", maps, width=32, blocks=6),
            lambda positions: Segmentation(len(maps.classes), positions=positions),
            8,
            "auto",
            (("kd", None), ("dist", None), ("dist", 512)),
        )
        for width in (12, 32)
    )

    def of_samples(name: str, data: Data, student: str, teacher: str) -> Case:
        plain = (("kd", None), ("dist", None), ("dkd", None))
        made = built(student, data), built(teacher, data)
        return Case(name, data, *made, lambda _: Classification(len(data.classes)), 64, "fp32", plain)

    return (
        *of_maps,
        of_samples("text, text_cnn", texts, "text_cnn", "bag_of_embeddings"),
        of_samples("text, text_transformer", texts, "text_transformer", "bag_of_embeddings"),
        of_samples("table, mlp", rows, "mlp", "mlp"),
    )


def cached(case: Case, batches: Sequence[Batch], folder: Path) -> CachedTeacher:
    """Return a teacher whose output for all batches is stored."""
    live, first = LiveTeacher(case.teacher()), batches[0]
    rows = RowFormat.of(live.answer(first), dtype="float16")
    teacher = CachedTeacher(live, LogitStore.open(folder, CacheSpec("views", len(case.data.train), rows)))
    for batch in batches:
        teacher.answer(batch)
    return teacher


def loop(case: Case, batches: Fixed, method: str, positions: int | None, folder: Path) -> Loop:
    """Return a training's epoch."""
    precision: Any = case.precision
    settings = TrainingSettings(
        device="cpu",
        precision=precision,
        batch_size=case.batch_size,
        optimizer=OptimizerSettings(name="sgd", lr=0.01),
        schedule=ScheduleSettings(name="constant"),
    )
    torch.manual_seed(0)
    teacher = None if method == "none" else cached(case, batches.batches, folder)
    distiller = limbeck.Distiller(case.student(), teacher, create(method), task=case.task(positions))
    distiller.to(memory_format=torch.channels_last)
    engine = Engine(distiller, batches, settings, fabric=make_fabric(settings), splits={}, log=print)
    return lambda epoch: engine.train_epoch(epoch).means()


def rows_of(case: Case, rounds: int, folder: Path) -> list[dict[str, Any]]:
    """Measure every method of a task."""
    made = case.data.batches(case.data.train, batch_size=case.batch_size, drop_last=True)
    batches = Fixed(list(made.epoch(0)))
    loops = {PLAIN: loop(case, batches, "none", None, folder)}
    for method, positions in case.methods:
        name = f"{method}, cached" + (f", {positions} positions" if positions else "")
        loops[name] = loop(case, batches, method, positions, folder / case.name.replace(" ", "_"))
    taken = in_turns(loops, rounds, time.process_time)
    return [
        {
            "task": case.name,
            "step": name,
            "ms": middle([1e3 * one / len(batches) for one in seconds], 2),
            "times the plain step": middle(ratios(taken, name, PLAIN), 3),
            "range": span(ratios(taken, name, PLAIN), 2),
        }
        for name, seconds in taken.items()
    ]


def main(words: Sequence[str] | None = None) -> None:
    """Measure and keep the result."""
    parser = argparse.ArgumentParser(description="What distillation costs a step of each task.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="", help="with what the tasks' names begin")
    args = parser.parse_args(words)
    torch.set_num_threads(1)
    chosen = [case for case in cases() if case.name.startswith(args.only)]
    with tempfile.TemporaryDirectory() as folder:
        measured = [row for case in chosen for row in rows_of(case, args.rounds, Path(folder))]
    record("tasks", "The cost of distillation a step, by task, one thread", measured, NOTES)


if __name__ == "__main__":
    main()
