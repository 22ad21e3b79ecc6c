"""One tiny search, done once: rows of digits, a small forest as the teacher, four epochs."""

import csv

import pytest

import limbeck


def recipe_in(folder):
    return {
        "name": "tiny",
        "data": {"name": "digits", "train_limit": 100, "test_limit": 50},
        "teacher": {"name": "sklearn:ExtraTreesClassifier", "options": {"n_estimators": 5}, "training": {}},
        "student": {"name": "mlp", "options": {"hidden": 8}},
        "training": {
            "epochs": 4,
            "batch_size": 20,
            "optimizer": {"name": "adamw", "lr": 0.01},
            "precision": "fp32",
            "device": "cpu",
        },
        "search": {"methods": ["kd", "dist"], "runs": 5, "seeds": 1},
        "output": {"root": str(folder / "runs"), "cache": str(folder / "cache")},
    }


def trials(folder):
    """The lines of ``trials.csv`` by stage, without what the clock decides."""
    lines = [{key: cell for key, cell in line.items() if key != "seconds"} for line in csv.DictReader(folder.open())]
    return {name: [line for line in lines if line["stage"] == name] for name in ("trials", "random")}


@pytest.fixture
def recipe(tmp_path):
    return recipe_in(tmp_path)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A whole search with its recipe, lines and ticks."""
    folder, lines, ticks = tmp_path_factory.mktemp("searched"), [], []
    done = limbeck.search(
        recipe_in(folder),
        out=folder / "s",
        jobs=1,
        reporting=limbeck.runs.Reporting(lines.append),
        tick=lambda *tick: ticks.append(tick),
    )
    return done, recipe_in(folder), lines, ticks
