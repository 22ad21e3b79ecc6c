"""What tests of stopped runs share: stopping after an epoch, and comparing what is left."""

import csv
import json

import torch
from safetensors.torch import load_file

from limbeck.runs import Reporting

TIMES = ("seconds", "samples_per_second")


class StopAfter:
    """Interrupts the trainings of some epochs once a checkpoint is written, as Ctrl-C would.

    Args:
        epoch: After which epoch.
        of: Only a training of so many epochs; any if None.
    """

    def __init__(self, epoch, of=None):
        self.after, self.of = epoch, of

    def step(self, position, meter):
        pass

    def epoch(self, row, epochs):
        if row["epoch"] == self.after and self.of in (None, epochs):
            raise KeyboardInterrupt


def stopping(epoch, of=None, log=lambda _: None):
    return Reporting(log, StopAfter(epoch, of))


class StopAt:
    """Interrupts a training in the middle of an epoch, where a checkpoint may have been written.

    Args:
        epoch: The epoch, from 0.
        step: The updates of it that are done.
        of: Only a training of so many epochs; any if None.
    """

    def __init__(self, epoch, step, of=None):
        self.place, self.of = (epoch, step), of

    def step(self, position, meter):
        if (position.epoch, position.step) == self.place and self.of in (None, position.epochs):
            raise KeyboardInterrupt

    def epoch(self, row, epochs):
        pass


def stopping_at(epoch, step, of=None, log=lambda _: None):
    return Reporting(log, StopAt(epoch, step, of))


def metrics(folder):
    with (folder / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]


def log(folder):
    return (folder / "log.txt").read_text()


def assert_same_files(one, other):
    first, second = load_file(one), load_file(other)
    assert list(first) == list(second)
    assert all(torch.equal(first[name], second[name]) for name in first)


def assert_same_run(one, other):
    assert metrics(one) == metrics(other)
    assert_same_files(one / "student.safetensors", other / "student.safetensors")


def summary(folder):
    """What ``summary.json`` has but times."""
    values = json.loads((folder / "summary.json").read_text())
    return {key: value for key, value in values.items() if not key.endswith("seconds")}


def assert_equal_runs(one, other):
    """Compare two complete runs: all but times is equal, bit for bit."""
    assert_same_run(one, other)
    assert_same_files(one / "predictions.safetensors", other / "predictions.safetensors")
    assert summary(one) == summary(other)
