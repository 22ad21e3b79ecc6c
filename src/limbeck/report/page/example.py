"""Small results in memory, which the examples and the tests of a page's sections are made of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.report.page.about import About
from limbeck.report.page.parts import Part
from limbeck.report.page.reading import Results, StoredRun

_LABELS = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, -100])
_TEACHER = np.array([0, 0, 1, 1, 1, 2, 2, 2, 0, 0])
_MADE: Mapping[str, tuple[tuple[int, ...], ...]] = {
    "none": ((0, 1, 2, 1, 1, 2, 2, 0, 0, 1), (0, 0, 2, 1, 2, 2, 2, 0, 0, 1)),
    "kd": ((0, 0, 1, 1, 1, 2, 2, 2, 0, 0), (0, 0, 0, 1, 1, 2, 2, 2, 0, 0)),
}


def example_part(methods: tuple[str, ...] = ("none", "kd"), classes: tuple[str, ...] = ("cat", "dog", "owl")) -> Part:
    """Return a comparison of two seeds on ten samples, of which one has no label.

    Args:
        methods: Some of ``none`` and ``kd``.
        classes: The names of the three classes.

    Example:
        >>> part = example_part()
        >>> part.complete, part.baseline, round(part.mean("kd"), 3)
        (['none', 'kd'], 'none', 0.722)
    """
    about = About.of({"classes": classes, "unit": "images"}, _recipe("none", 0), {})
    runs = tuple(_run(about, method, seed) for method in methods for seed in range(2))
    results = Results(
        title="a student on ten images",
        folders=(Path("runs/example"),),
        methods=methods,
        runs=runs,
        recipe=_recipe(methods[0], 0),
        teachers={"teacher": {"accuracy": 6 / 9, "ece": 0.1}},
        teacher={"teacher": _TEACHER, "teacher.confidence": np.full(10, 0.9, dtype=np.float32)},
        notes=("figures of the last epoch",),
        compared=True,
    )
    return Part(results)


def _recipe(method: str, seed: int) -> dict[str, Any]:
    return {"data": {"name": "example"}, "student": {"name": "resnet8"}, "method": {"name": method}, "seed": seed}


def _run(about: About, method: str, seed: int) -> StoredRun:
    made = np.array(_MADE[method][seed])
    accuracy = float((made == _LABELS)[_LABELS >= 0].mean())
    summary = {"epoch": 2, "training.seconds": 3.0 + seed, "test.accuracy": accuracy, "test.ece": 0.2}
    confidence = np.linspace(0.4, 0.95, 10, dtype=np.float32)
    tensors = {"test": made, "test.confidence": confidence, "test.labels": _LABELS}
    return StoredRun(
        folder=Path(f"runs/example/{method}/seed-{seed}"),
        method=method,
        seed=seed,
        summary=summary,
        epochs=[{"epoch": 1, "train.accuracy": 0.5}, {"epoch": 2, "train.accuracy": 0.6, "test.accuracy": accuracy}],
        recipe=_recipe(method, seed),
        tensors={**tensors, "selected": np.array([[3.0, 4.0], [4.0, 4.0], [0.0, 0.0]])} if method == "kd" else tensors,
        about=about,
    )
