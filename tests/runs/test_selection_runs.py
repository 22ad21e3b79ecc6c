"""Runs of methods that select samples: its settings in a recipe, and its lines in the log."""

import csv

import limbeck


def run(tiny, folder, **settings):
    method = {"name": "select+kd", "scorer": "confidence", "ratio": 0.5, "per_class": False, **settings}
    done = limbeck.run({**tiny, "method": method, "training": {**tiny["training"], "epochs": 1}}, out=folder)
    with (folder / "metrics.csv").open() as file:
        return (folder / "log.txt").read_text(), next(csv.DictReader(file)), done


def test_a_recipe_sets_the_divisor_of_a_selection_and_its_control(tiny, tmp_path):
    log, every, _ = run(tiny, tmp_path / "all")
    assert "selection by confidence: 30 of 60 training samples" in log
    _, selected, _ = run(tiny, tmp_path / "selected", divide_by="selected")
    assert float(every["train.kd"]) < 0.75 * float(selected["train.kd"])
    log, control, _ = run(tiny, tmp_path / "control", shuffled=True)
    assert "selection by confidence, shuffled: 30 of 60 training samples" in log
    assert control["train.kd"] != every["train.kd"]
    assert control["selected"] == every["selected"]
