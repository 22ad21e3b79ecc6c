"""What the numbers of stored runs mean: metrics, class names, what a sample is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from limbeck.tasks import Metric, registry


@dataclass(frozen=True)
class About:
    """What the numbers of a run mean.

    Attributes:
        task: The task's name.
        data: The data's name.
        description: Lines on the data: counts, shape, notes.
        unit: What samples are called.
        classes: The class names; empty where they are not stored.
        metrics: The task's metrics, the primary one first.

    Example:
        >>> About.of({}, {"task": {"name": "classification"}, "data": {"name": "mnist"}}, {"test.accuracy": 0.5}).unit
        'samples'
    """

    task: str
    data: str
    description: tuple[str, ...]
    unit: str
    classes: tuple[str, ...]
    metrics: tuple[Metric, ...]

    @classmethod
    def of(
        cls,
        stored: Mapping[str, Any],
        recipe: Mapping[str, Any],
        summary: Mapping[str, Any],
        network: Mapping[str, Any] | None = None,
    ) -> About:
        """Return what is stored with a run; for a run of an earlier version what its other files have of it.

        Args:
            stored: The metadata of its predictions.
            recipe: Its recipe.
            summary: Its figures.
            network: The metadata of its student.
        """
        task = str(stored.get("task") or _name(recipe, "task", "classification"))
        metrics = tuple(Metric(**entry) for entry in stored.get("metrics", ()))
        return cls(
            task=task,
            data=str(stored.get("data") or _name(recipe, "data", "data")),
            description=tuple(stored.get("description", ())),
            unit=str(stored.get("unit", "samples")),
            classes=tuple(map(str, stored.get("classes") or (network or {}).get("classes", ()))),
            metrics=metrics or _known_metrics(task, summary),
        )

    @property
    def primary(self) -> Metric:
        """The metric that methods are compared by."""
        return self.metrics[0]

    @property
    def shown(self) -> tuple[Metric, ...]:
        """The metrics that tables show."""
        return self.primary, *(metric for metric in self.metrics[1:] if metric.compared)


def _name(recipe: Mapping[str, Any], group: str, default: str) -> str:
    entry = recipe.get(group, default)
    return str(entry.get("name", default)) if isinstance(entry, Mapping) else str(entry)


def _known_metrics(task: str, summary: Mapping[str, Any]) -> tuple[Metric, ...]:
    # A task of the user's own code is not imported for a page.
    if task in ("classification", "detection", "multilabel", "segmentation"):
        return registry.REGISTRY.get(task).metrics
    names = [key.removeprefix("test.") for key in summary if key.startswith("test.")]
    shares = {name: 0 <= float(summary[f"test.{name}"]) <= 1 for name in names}
    return tuple(Metric(name, name.replace("_", " "), share=shares[name]) for name in names)
