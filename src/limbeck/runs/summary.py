"""What a run reports: the figures of ``summary.json``."""

from typing import Any

import torch

from limbeck.build.measured_teacher import MeasuredTeacher
from limbeck.build.networks import parameter_count
from limbeck.recipes.schema import Recipe
from limbeck.runs.folder import RunFolder
from limbeck.runs.machine import versions
from limbeck.training import Engine, Scaling


def summarize(
    recipe: Recipe,
    folder: RunFolder,
    engine: Engine,
    teacher: MeasuredTeacher | None,
    seconds: float,
    scaling: Scaling | None = None,
) -> dict[str, Any]:
    """Return what ``summary.json`` holds of a run.

    Args:
        recipe: The run's recipe.
        folder: The run's folder.
        engine: The run's engine after the last epoch.
        teacher: The figures of the teacher, if it was measured.
        seconds: How long the run took.
        scaling: The student's temperature, if one was fitted.
    """
    summary: dict[str, Any] = {"name": recipe.name, "method": recipe.method.name, "seed": recipe.seed}
    summary["epoch"] = int(engine.record[-1]["epoch"])
    for name, measured in engine.measured.items():
        summary |= {f"{name}.{key}": value for key, value in measured.numbers().items()}
    summary |= engine.keeping.summary(engine.record)
    summary |= scaling.summary() if scaling else {}
    row, trained = engine.keeping.chosen(engine.record), f"train.{engine.task.primary.name}"
    summary |= {name: row[name] for name in (trained, "selected") if name in row}
    summary["student.parameters"] = parameter_count(engine.distiller.student)
    summary["teacher"] = recipe.source() or "none"
    summary |= teacher.summary() if teacher else {}
    summary |= engine.distiller.teacher_scale.figures()
    summary |= {"training.extended_from": epochs} if (epochs := folder.extended_from()) else {}
    summary["seconds"] = seconds
    summary["training.seconds"] = sum(row["seconds"] for row in engine.record)
    summary["threads"] = torch.get_num_threads()
    summary["device"] = str(engine.fabric.device)
    summary["precision"] = engine.fabric.strategy.precision.precision
    return summary | {f"versions.{name}": text for name, text in versions().items()}
