"""What tests of searches share: a tiny recipe of rows of digits with a small forest as the teacher, and its trials."""

import csv


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
