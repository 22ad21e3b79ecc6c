"""A task without images: inputs and outputs are dictionaries, and its primary metric is better when it is lower."""

import torch
from torch import nn

from limbeck.rows import Rows
from limbeck.tasks import Measured, Metric, Task

FEATURES, CLASSES = 6, 4


class ErrorRate(Task):
    name = "error_rate"
    metrics = (
        Metric("error", "error rate", higher_is_better=False),
        Metric("margin", "mean margin", share=False),
        Metric("rows", "rows", higher_is_better=None, share=False, compared=False),
    )

    def rows(self, output, targets):
        return {"main": Rows(output["scores"], targets)}

    def figures(self, rows):
        return {"error": (rows["main"].logits.argmax(dim=1) != rows["main"].labels).sum()}

    def evaluator(self):
        return Counter()


class Counter:
    def __init__(self):
        self.wrong, self.margin, self.rows = 0, 0.0, 0

    def update(self, output, targets):
        best = output["scores"].topk(2, dim=1)
        self.wrong += int((best.indices[:, 0] != targets).sum())
        self.margin += float((best.values[:, 0] - best.values[:, 1]).sum())
        self.rows += len(targets)

    def compute(self):
        return Measured({"error": self.wrong / self.rows, "margin": self.margin / self.rows, "rows": self.rows})


class Net(nn.Module):
    """Takes its inputs by name, as language models do."""

    def __init__(self, seed=0, width=8):
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Linear(FEATURES, width), nn.ReLU(), nn.Linear(width, CLASSES))

    def forward(self, values, mask):
        return {"scores": self.body(values * mask)}


class Lists:
    """An epoch of batches that are plain tuples in a list, the other way round in every second epoch."""

    def __init__(self, batches):
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def epoch(self, epoch):
        return iter(self.batches if epoch % 2 == 0 else self.batches[::-1])


def batches_of(count=3, size=16, seed=0):
    """Return (inputs, targets, indices); the class is where a feature is largest, so that it can be learned."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for number in range(count):
        values = torch.randn(size, FEATURES, generator=generator)
        inputs = {"values": values, "mask": (torch.rand(size, FEATURES, generator=generator) > 0.1).float()}
        found.append((inputs, values[:, :CLASSES].argmax(dim=1), torch.arange(size) + number * size))
    return found
