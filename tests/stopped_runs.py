"""What tests of stopped runs share: stopping after an epoch, and comparing what is left."""

import csv

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
