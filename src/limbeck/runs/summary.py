"""What a run reports: the figures of ``summary.json``, and a line an epoch."""

from collections.abc import Mapping
from typing import Any

import torch

from limbeck.build.measured_teacher import MeasuredTeacher
from limbeck.build.networks import parameter_count
from limbeck.recipes.schema import Recipe
from limbeck.runs.folder import RunFolder
from limbeck.runs.provenance import versions
from limbeck.training import Engine


def summarize(
    recipe: Recipe, folder: RunFolder, engine: Engine, teacher: MeasuredTeacher | None, seconds: float
) -> dict[str, Any]:
    """Return what ``summary.json`` holds of a run.

    Args:
        recipe: The run's recipe.
        folder: The run's folder.
        engine: The run's engine after the last epoch.
        teacher: The figures of the teacher, if it was measured.
        seconds: How long the run took.
    """
    summary: dict[str, Any] = {"name": recipe.name, "method": recipe.method.name, "seed": recipe.seed}
    summary["epoch"] = int(engine.record[-1]["epoch"])
    for name, measured in engine.measured.items():
        summary |= {f"{name}.{key}": value for key, value in measured.numbers().items()}
    summary["train.accuracy"] = engine.record[-1]["train.accuracy"]
    if "selected" in engine.record[-1]:
        summary["selected"] = engine.record[-1]["selected"]
    summary["student.parameters"] = parameter_count(engine.distiller.student)
    summary["teacher"] = recipe.source() or "none"
    summary |= teacher.summary() if teacher else {}
    summary |= {"training.extended_from": epochs} if (epochs := folder.extended_from()) else {}
    summary["seconds"] = seconds
    summary["training.seconds"] = sum(row["seconds"] for row in engine.record)
    summary["threads"] = torch.get_num_threads()
    summary["device"] = str(engine.fabric.device)
    summary["precision"] = engine.fabric.strategy.precision.precision
    return summary | {f"versions.{name}": text for name, text in versions().items()}


def epoch_line(row: Mapping[str, float], epochs: int) -> str:
    """Write the figures of an epoch in one line.

    Example:
        >>> epoch_line({"epoch": 1, "train.loss": 0.5, "train.accuracy": 0.9, "images_per_second": 99, "seconds": 2}, 3)
        'epoch 1/3  loss 0.5000  train 90.00 %  99 images/s  2.0 s'
    """
    parts = [f"epoch {row['epoch']}/{epochs}", f"loss {row['train.loss']:.4f}"]
    named = {k.removeprefix("train."): v for k, v in row.items() if k.startswith("train.")}
    losses = {name: value for name, value in named.items() if name not in ("loss", "accuracy")}
    if len(losses) > 1:
        parts.append("(" + " ".join(f"{name} {value:.4f}" for name, value in losses.items()) + ")")
    parts.append(f"train {row['train.accuracy']:.2%}".replace("%", " %"))
    for split in ("validation", "test"):
        if f"{split}.accuracy" in row:
            parts.append(f"{split} {row[f'{split}.accuracy']:.2%}".replace("%", " %"))
    return "  ".join([*parts, f"{row['images_per_second']:.0f} images/s", f"{row['seconds']:.1f} s"])
