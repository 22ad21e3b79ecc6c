"""A toy dense task that is no image: inputs by name, maps of logits from two heads, and a replayable data set of it."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from limbeck.cache import CacheSpec, LogitStore, Replayed, RowFormat
from limbeck.data import Batch
from limbeck.randomness.hashing import random_bits, random_integers
from limbeck.rows import ABSENT, Rows
from limbeck.tasks import MAIN, Metric, Task
from limbeck.teachers import LiveTeacher

CLASSES, SAMPLES, SIDE = 4, 21, 6
SHAPES = {"out": (CLASSES, SIDE, SIDE), "aux": (CLASSES, SIDE // 2, SIDE // 2)}


@dataclass(frozen=True)
class Rolls:
    """A field rolled to the right by a number of columns; with noise the views are countless."""

    columns: int = 3
    noise: float = 0.0

    @property
    def views(self):
        return None if self.noise else self.columns

    @property
    def countless(self):
        return "noise" if self.noise else None

    @property
    def unaugmented(self):
        return None if self.noise else 0

    def draw(self, indices, *, seed, epoch):
        return random_integers(indices, self.columns, seed=seed, epoch=epoch, stream=901)


@dataclass(frozen=True)
class Fields:
    """Batches of fields of numbers with a depth each; a sample's view depends on (seed, epoch, position) alone."""

    augment: Rolls = Rolls()
    batch_size: int = 8
    seed: int = 0

    def __len__(self):
        return math.ceil(SAMPLES / self.batch_size)

    def epoch(self, epoch):
        order = torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(epoch))
        for indices in order.split(self.batch_size):
            views = self.augment.draw(indices, seed=self.seed, epoch=epoch)
            yield self.batch(indices, views, epoch)

    def batch(self, indices, views, epoch=0):
        generator = torch.Generator().manual_seed(7)
        field = torch.randn(SAMPLES, 2, SIDE, SIDE, generator=generator)[indices]
        depth = torch.rand(SAMPLES, 1, generator=generator)[indices]
        labels = torch.randint(CLASSES, (SAMPLES, SIDE, SIDE), generator=generator)[indices]
        labels[:, 0] = ABSENT
        rolled = [torch.roll(part, int(view), -1) for part, view in zip(field, views, strict=True)]
        noise = random_bits(indices, seed=self.seed, epoch=epoch, stream=902).float() / 2**62 * self.augment.noise
        inputs = {"field": torch.stack(rolled) + noise.view(-1, 1, 1, 1), "depth": depth}
        return Batch(inputs, labels, indices)


@dataclass(frozen=True)
class FieldReplay:
    """Makes the inputs of any slots, as a data set of another kind than images brings it."""

    fields: Fields
    spec: CacheSpec

    def batches(self, slots, *, batch_size):
        for part in slots.split(batch_size):
            indices, views = self.spec.split(part)
            yield Replayed(self.fields.batch(indices, views), 0, part)


class DenseNetwork(nn.Module):
    """Two heads of maps, of two sizes."""

    def __init__(self, seed, width=6):
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Conv2d(2, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.out, self.aux, self.depth = nn.Conv2d(width, CLASSES, 1), nn.Conv2d(width, CLASSES, 3), nn.Linear(1, width)
        self.pool = nn.AdaptiveAvgPool2d(SIDE // 2)

    def forward(self, field, depth):
        features = self.body(field) + self.depth(depth)[:, :, None, None]
        return {"out": self.out(features), "aux": self.pool(self.aux(features))}


class CountingDense(LiveTeacher):
    """A live teacher that counts the samples that it was run on."""

    def __init__(self, network):
        super().__init__(network)
        self.samples = 0

    def answer(self, batch, epoch=0):
        self.samples += batch.size
        return super().answer(batch, epoch)


class Maps(Task):
    """One row a position that has a label, from both heads."""

    name = "maps"
    metrics: ClassVar = (Metric("right", "right positions"),)
    head_weights: ClassVar = {MAIN: 1.0, "aux": 0.4}

    def rows(self, output, targets):
        coarse = None if targets is None else targets[:, ::2, ::2]
        return {MAIN: _positions(output["out"], targets), "aux": _positions(output["aux"], coarse)}

    def evaluator(self):
        raise NotImplementedError


def _positions(maps, targets):
    logits = maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])
    if targets is None:
        return Rows(logits)
    labels = targets.reshape(-1)
    return Rows(logits[labels != ABSENT], labels[labels != ABSENT])


def dense_spec(mode="views", dtype="float32", top_k=None, augment=None, epochs=3):
    rows = RowFormat(SHAPES, dtype, top_k)
    if mode == "views":
        return CacheSpec(mode, SAMPLES, rows, augment or Rolls(), unit="fields")
    return CacheSpec(mode, SAMPLES, rows, augment or Rolls(noise=0.5), epochs=epochs, unit="fields")


def dense_store(tmp_path, spec):
    return LogitStore.open(tmp_path / "logits", spec)


def dense_teacher(seed=0):
    return LiveTeacher(DenseNetwork(seed).eval())
