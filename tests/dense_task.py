"""A dense task of the tests alone: dict inputs, maps of logits, ignored positions, two heads, an error rate."""

import math

import torch
from torch import nn

from limbeck.data import Batch
from limbeck.rows import pixels
from limbeck.tasks import MAIN, Measured, Metric, Task

CLASSES, SIDE, SAMPLES, IGNORED = 3, 5, 24, 255


class Fields(Task):
    """Which of three kinds of soil lies at each position of a field, measured by the share of wrong positions."""

    name = "fields"
    metrics = (Metric("error", "wrong positions", higher_is_better=False), Metric("loss", "NLL", False, share=False))
    head_weights = {MAIN: 1.0, "aux": 0.4}  # noqa: RUF012 - a constant

    def rows(self, output, targets):
        maps = {MAIN: output["out"], "aux": output["aux"]} if "aux" in output else {MAIN: output["out"]}
        return {head: pixels(logits, targets, ignore_index=IGNORED) for head, logits in maps.items()}

    def figures(self, rows):
        _, labels, _, sample = rows[MAIN]
        wrong = (rows[MAIN].logits.argmax(dim=1) != labels).sum() / max(len(labels), 1)
        return {"error": wrong * (int(sample.max()) + 1 if len(sample) else 0)}

    def evaluator(self):
        return FieldsEvaluator(self)


class FieldsEvaluator:
    def __init__(self, task):
        self.task, self.wrong, self.loss, self.count, self.predictions = task, 0, 0.0, 0, []

    def update(self, output, targets):
        rows = self.task.rows(output, targets)[MAIN]
        self.wrong += int((rows.logits.argmax(dim=1) != rows.labels).sum())
        self.loss += float(nn.functional.cross_entropy(rows.logits.float(), rows.labels, reduction="sum"))
        self.count += len(rows.labels)
        self.predictions.append(output["out"].argmax(dim=1).cpu())

    def compute(self):
        values = {"error": self.wrong / self.count, "loss": self.loss / self.count}
        return Measured(values, torch.cat(self.predictions))


class FieldNet(nn.Module):
    """Called with named inputs; the second scales the first."""

    def __init__(self, width=6, seed=0, aux=True):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.body = nn.Sequential(nn.Conv2d(4, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
            self.head, self.side = nn.Conv2d(width, CLASSES, 1), nn.Conv2d(width, CLASSES, 1) if aux else None

    def forward(self, *, soil, scale):
        features = self.body(soil * scale[:, None, None, None])
        maps = {"out": self.head(features)}
        return maps if self.side is None else {**maps, "aux": self.side(features)}


class FieldBatches:
    """An epoch of batches: nothing but a length and ``epoch(e)``."""

    def __init__(self, batch_size=8, seed=0, shuffle=True, samples=SAMPLES):
        generator = torch.Generator().manual_seed(7)
        self.soil = torch.randn(samples, 4, SIDE, SIDE, generator=generator)
        self.scale = 0.5 + torch.rand(samples, generator=generator)
        self.targets = self.soil[:, :CLASSES].argmax(dim=1)
        self.targets[torch.rand(self.targets.shape, generator=generator) < 0.2] = IGNORED
        self.batch_size, self.seed, self.shuffle = batch_size, seed, shuffle

    def __len__(self):
        return math.ceil(len(self.soil) / self.batch_size)

    def epoch(self, epoch):
        order = torch.arange(len(self.soil))
        if self.shuffle:
            order = torch.randperm(len(self.soil), generator=torch.Generator().manual_seed(self.seed + 100 * epoch))
        for rows in order.split(self.batch_size):
            yield Batch({"soil": self.soil[rows], "scale": self.scale[rows]}, self.targets[rows], rows)
