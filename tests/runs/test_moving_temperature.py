"""Runs whose temperature moves: it is part of the checkpoint, and a composition with it trains."""

import csv

import pytest
import torch
from safetensors.torch import load_file

import limbeck
from limbeck.runs import Reporting


class StopAfter:
    """Interrupts a run once an epoch's checkpoint is written, as Ctrl-C would."""

    def __init__(self, epochs):
        self.epochs = epochs

    def step(self, *_):
        pass

    def epoch(self, row, epochs):
        if row["epoch"] == self.epochs:
            raise KeyboardInterrupt


def losses(folder):
    with (folder / "metrics.csv").open() as file:
        return [row["train.loss"] for row in csv.DictReader(file)]


@pytest.mark.parametrize("method", ["dts", "ctkd", "lskd+dts", "ctkd+dist", "top_k+lskd"])
def test_resumed_equals_never_stopped_bit_for_bit(precise_if_slow, tmp_path, method):
    recipe = {**precise_if_slow, "method": method, "training": {**precise_if_slow["training"], "epochs": 4}}
    whole = limbeck.run(recipe, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(recipe, out=tmp_path / "stopped", reporting=Reporting(progress=StopAfter(2)))
    resumed = limbeck.run(recipe, out=tmp_path / "stopped", resume=True)
    assert losses(resumed.folder) == losses(whole.folder)
    one, other = (load_file(run.folder / "student.safetensors") for run in (whole, resumed))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("method", "name", "start"), [("dts", "temperature", 8.0), ("ctkd", "theta", 1.0)])
def test_the_temperature_moves_and_is_in_the_checkpoint(tiny, tmp_path, method, name, start):
    done = limbeck.run({**tiny, "method": method}, out=tmp_path / "run")
    state = torch.load(done.folder / "checkpoints" / "last" / "state.pt", weights_only=True)
    assert state["distiller"][f"modifiers.0.{name}"] != start
    assert not any("modifiers" in key for key in load_file(done.folder / "student.safetensors"))
