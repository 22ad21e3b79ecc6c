"""The default of ``min_spread``: what a bound of nearly constant logits' gradients does to a student.

    OMP_NUM_THREADS=1 python benchmarks/spread.py --methods none,dist    # 15 core minutes
    OMP_NUM_THREADS=1 python benchmarks/spread.py --methods lskd,cmkd --seeds 2 --out runs/spread-rows \\
        --name spread-rows-cpu    # 10 core minutes
    OMP_NUM_THREADS=1 python benchmarks/spread.py --sets letters --seeds 1 --limit 5

Each method that has the setting trains a small student at several values of it, with SGD and with Adam, from PyTorch's
own head and from one that is zero, on few samples. A teacher is trained once a data set, on more samples. The table
shows a validation split: training samples that neither of the two learned from. Runs of one seed see the same batches,
and begin with the same student but for its head. Needs LIMBECK_SHARED. A stopped command resumes where it was.
"""

import argparse
import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import limbeck
from harness import cifar100_root, shared_data
from limbeck.data import ImageSet
from limbeck.errors import UserError
from limbeck.teachers import Teacher
from record import record

SPREADS = {"none": (0.0,), "dist": (0.0, 0.25, 0.5, 1.0, 2.0), "cmkd": (0.0, 0.5, 1.0), "lskd": (0.0, 0.5, 1.0)}
OPTIMIZERS, HEADS = ("sgd", "adam"), ("default", "zero")
BATCH, TEACHER_EPOCHS = 64, 4


@dataclass(frozen=True)
class Samples:
    """The samples of one data set, in floats.

    Attributes:
        inputs: Of all splits.
        labels: The classes.
        train: How many, from the first, the student learns from; the teacher learns from all but the last.
        validation: How many, at the end, are held out.
        epochs: Of a student.
    """

    inputs: Tensor
    labels: Tensor
    train: int
    validation: int
    epochs: int


@dataclass(frozen=True)
class Run:
    """One student."""

    data: str
    method: str
    min_spread: float
    optimizer: str
    head: str
    seed: int


class Stored(Teacher):
    """A teacher whose logits of the training samples, as they are, were computed before."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.kept = logits

    def logits(
        self,
        inputs: Tensor,  # noqa: ARG002
        labels: Tensor,  # noqa: ARG002
        indices: Tensor | None = None,
        epoch: int = 0,  # noqa: ARG002
    ) -> Tensor:
        """Return the logits of these samples."""
        assert indices is not None
        return self.kept[indices]


def shared() -> Path:
    """Return the folder of real data."""
    found = shared_data()
    if found is None:
        raise UserError("LIMBECK_SHARED: expected a folder with data/fashion-mnist, data/cifar100-* and data/letter")
    return found


def images(name: str, root: Path, count: int, **sizes: int) -> Samples:
    """Read the first training images."""
    split = limbeck.data.load(name, root=root).train
    assert isinstance(split, ImageSet)
    pixels = split.images[:count].float()
    mean, std = pixels.mean((0, 2, 3), keepdim=True), pixels.std((0, 2, 3), keepdim=True)
    return Samples((pixels - mean) / std, split.labels[:count].long(), **sizes)


def letters() -> Samples:
    """Read the letters' first 16,000 rows."""
    table = np.loadtxt(shared() / "letter" / "letter.csv", delimiter=",", skiprows=1, max_rows=16_000, dtype=str)
    labels = torch.tensor([ord(letter) - ord("A") for letter in table[:, 0]])
    numbers = torch.from_numpy(table[:, 1:].astype(np.float32))
    return Samples((numbers - numbers.mean(0)) / numbers.std(0), labels, train=3000, validation=3000, epochs=15)


def shirts() -> Samples:
    """Read the two classes of Fashion-MNIST that are most alike, T-shirts and shirts."""
    found = images("fashion_mnist", shared() / "fashion-mnist", 45_000, train=3000, validation=3000, epochs=11)
    chosen = (found.labels == 0) | (found.labels == 6)
    return replace(found, inputs=found.inputs[chosen], labels=(found.labels[chosen] == 6).long())


def load(name: str, out: Path) -> Samples:
    """Read a data set."""
    if name == "letters":
        return letters()
    if name == "shirts":
        return shirts()
    if name == "fashion":
        return images("fashion_mnist", shared() / "fashion-mnist", 15_000, train=3000, validation=3000, epochs=11)
    with cifar100_root(None, keep=out / "data") as root:
        return images("cifar100", root, 28_000, train=6000, validation=3000, epochs=11)


def network(inputs: Tensor, classes: int, width: int) -> nn.Sequential:
    """Make a convolutional network of three layers for images, or one of two hidden layers for a table."""
    if inputs.ndim == 2:
        hidden = 4 * width
        layers = [nn.Linear(inputs.shape[1], hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(hidden, classes))
    layers, channels = [], inputs.shape[1]
    for outputs in (width, 2 * width, 4 * width):
        layers += [nn.Conv2d(channels, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        channels = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def optimizer_of(name: str, module: nn.Module, steps: int) -> tuple[torch.optim.Optimizer, Any]:
    """Make an optimizer and its schedule, half a cosine."""
    if name == "sgd":
        made: Any = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    else:
        made = torch.optim.Adam(module.parameters(), lr=4e-3)
    return made, torch.optim.lr_scheduler.CosineAnnealingLR(made, steps)


def batches(count: int, epochs: int, seed: int) -> Iterator[tuple[int, Tensor]]:
    """Yield epochs and positions, the last few left out."""
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(epochs):
        order = torch.randperm(count, generator=generator)
        for positions in torch.split(order[: count - count % BATCH], BATCH):
            yield epoch, positions


@torch.no_grad()
def logits_of(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return a network's logits."""
    return torch.cat([model.eval()(part) for part in torch.split(inputs, 500)])


def teacher_logits(name: str, samples: Samples, out: Path) -> Tensor:
    """Train the data set's teacher on all but the validation samples, once, and return all logits."""
    path = out / f"teacher-{name}.pt"
    if path.is_file():
        kept: Tensor = torch.load(path, weights_only=True)
        return kept
    count = len(samples.labels) - samples.validation
    torch.manual_seed(0)
    model = network(samples.inputs, int(samples.labels.max()) + 1, 48)
    epochs = TEACHER_EPOCHS if samples.inputs.ndim == 4 else 4 * TEACHER_EPOCHS
    optimizer, schedule = optimizer_of("sgd", model, epochs * (count // BATCH))
    for _, at in batches(count, epochs, 0):
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(model(samples.inputs[at]), samples.labels[at]))
        optimizer.step()
        schedule.step()
    made = logits_of(model, samples.inputs)
    torch.save(made, path)
    return made


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the share of right rows."""
    return (logits.argmax(1) == labels).double().mean().item()


def student_of(run: Run, samples: Samples) -> nn.Sequential:
    """Make the student."""
    torch.manual_seed(run.seed)
    model = network(samples.inputs, int(samples.labels.max()) + 1, 8)
    if run.head == "zero":
        for parameter in model[-1].parameters():
            nn.init.zeros_(parameter)
    return model


def train(run: Run, samples: Samples, teacher: Tensor) -> float:
    """Train a student, and return its accuracy on the validation split."""
    settings = {} if run.method == "none" else {"min_spread": run.min_spread}
    method = limbeck.methods.create(run.method, **settings)
    student = student_of(run, samples)
    distiller = limbeck.Distiller(student, Stored(teacher), method, epochs=samples.epochs)
    optimizer, schedule = optimizer_of(run.optimizer, student, samples.epochs * (samples.train // BATCH))
    for epoch, at in batches(samples.train, samples.epochs, run.seed):
        optimizer.zero_grad()
        torch.autograd.backward(distiller(samples.inputs[at], samples.labels[at], at, epoch).loss)
        optimizer.step()
        schedule.step()
    held_out = slice(-samples.validation, None)
    return accuracy(logits_of(student, samples.inputs[held_out]), samples.labels[held_out])


def plan(args: argparse.Namespace) -> list[Run]:
    """List the runs, of a method seed by seed, so that a table that is stopped early compares like with like."""
    rows = product(args.methods, range(args.seeds), args.sets, OPTIMIZERS, HEADS)
    return [
        Run(data, method, spread, optimizer, head, seed)
        for method, seed, data, optimizer, head in rows
        for spread in SPREADS[method]
    ]


def shown(values: Sequence[float]) -> str:
    """Show a mean and its standard deviation in percent."""
    if not values:
        return ""
    spread = f" +- {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.fmean(values):.1f}{spread}"


def table(done: dict[Run, float], args: argparse.Namespace) -> list[dict[str, str]]:
    """Make a line for each method, data set, optimizer and head, with a column for each value of the setting."""
    lines = []
    for method, data, optimizer, head in product(args.methods, args.sets, OPTIMIZERS, HEADS):
        line = {"method": method, "data": data, "optimizer": optimizer, "head": head}
        for spread in SPREADS["dist"]:
            runs = [Run(data, method, spread, optimizer, head, seed) for seed in range(args.seeds)]
            line[f"d = {spread:g}"] = shown([done[run] for run in runs if run in done])
        lines.append(line)
    return lines


def read(path: Path) -> dict[Run, float]:
    """Read what is done."""
    entries = [json.loads(text) for text in path.read_text().splitlines()] if path.is_file() else []
    return {Run(**entry["run"]): entry["accuracy"] for entry in entries}


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="The default of min_spread.")
    parser.add_argument(
        "--sets", type=lambda word: word.split(","), default=["shirts", "letters", "fashion", "cifar100"]
    )
    parser.add_argument("--methods", type=lambda word: word.split(","), default=list(SPREADS))
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--limit", type=int, help="how many runs at most, to try the script")
    parser.add_argument("--out", type=Path, default=Path("runs/spread"), help="the folder of the runs")
    parser.add_argument("--name", default="spread-cpu", help="of the result")
    return parser.parse_args(words)


def main() -> None:
    """Train what is not done, and write the table after each run."""
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    path, runs = args.out / "runs.jsonl", plan(args)[: args.limit]
    sets = {name: load(name, args.out) for name in args.sets}
    teachers = {name: teacher_logits(name, samples, args.out) for name, samples in sets.items()}
    done = read(path)
    notes = []
    for name, samples in sets.items():
        held_out = slice(-samples.validation, None)
        reached = accuracy(teachers[name][held_out], samples.labels[held_out])
        sizes = f"{samples.train:,} training and {samples.validation:,} validation samples, {samples.epochs} epochs"
        notes.append(f"{name}: {sizes}; the teacher reaches {reached:.1%}")
    for run in [run for run in runs if run not in done]:
        done[run] = train(run, sets[run.data], teachers[run.data])
        with path.open("a") as file:
            file.write(json.dumps({"run": asdict(run), "accuracy": done[run]}) + "\n")
        print(f"{len(done)}/{len(runs)} {run}: {done[run]:.2%}", flush=True)
        lines = [*notes, f"{len(done)} of {len(runs)} runs; validation accuracy in percent over {args.seeds} seeds"]
        record(args.name, "The least spread of logits that a relation follows", table(done, args), lines, show=False)


if __name__ == "__main__":
    main()
