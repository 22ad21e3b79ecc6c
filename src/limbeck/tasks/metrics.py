"""What a task measures: its metrics by name, and what a network reached in them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor


@dataclass(frozen=True)
class Metric:
    """A figure by which networks are compared.

    Attributes:
        name: Its key in records and summaries, such as ``"accuracy"`` of ``test.accuracy``.
        title: Its name in tables and plots, such as ``"accuracy"``.
        higher_is_better: Its direction; None for one that has none, such as a mean confidence.
        share: Whether it lies in [0, 1] and is shown in percent.
        compared: Whether the table of a comparison has a column for it; it always has one for a task's first metric.

    Example:
        >>> Metric("accuracy", "accuracy").text(0.8612), Metric("loss", "NLL", False, share=False).text(0.5)
        ('86.12 %', '0.500')
    """

    name: str
    title: str
    higher_is_better: bool | None = True
    share: bool = True
    compared: bool = True

    @property
    def heading(self) -> str:
        """Its title with the unit, for a table's column or a plot's axis, such as ``"ECE (%)"``."""
        return f"{self.title} (%)" if self.share else self.title

    @property
    def column(self) -> str:
        """Its title as a column of a CSV file, such as ``"error_rate"``."""
        return re.sub(r"\W+", "_", self.title.lower())

    def text(self, value: float) -> str:
        """Write a value of it."""
        return f"{100 * value:.2f} %" if self.share else f"{value:.3f}"


@dataclass(frozen=True)
class Measured:
    """What a network reached on a split.

    Attributes:
        values: A figure for each metric that exists there, by name; also read as attributes (``measured.accuracy``).
        predictions: (N, ...) the predicted classes, or what else a task has as float numbers, in the split's order, on
            the CPU; None where a task has none.
        details: What a page of figures is drawn from beside them, tensors on the CPU by name; what a task has of
            ``confidence``, (N,) of the predicted class, or (N, C) of each class; ``labels``, (N,) or (N, C), negative
            where not known; ``confusion``, (C, C) counts by true and predicted class; ``calibration``, (15, 3): in each
            of 15 equal bins of confidence the number of positions, the sum of confidences, and how many are right.

    Example:
        >>> measured = Measured({"accuracy": 0.9, "loss": 0.3})
        >>> measured.accuracy, measured.numbers()
        (0.9, {'accuracy': 0.9, 'loss': 0.3})
    """

    values: Mapping[str, float] = field(default_factory=dict)
    predictions: Tensor | None = None
    details: Mapping[str, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def numbers(self) -> dict[str, float]:
        """Return the figures by name."""
        return dict(self.values)

    def __getattr__(self, name: str) -> Any:
        # Copying and unpickling look attributes up before ``values`` is there.
        values = self.__dict__.get("values", {})
        if name in values:
            return values[name]
        raise AttributeError(f"no figure {name!r}; there are {', '.join(values) or 'none'}")


def narrowed(predictions: Tensor) -> Tensor:
    """Return predictions as they are stored: masks (uint8) and float numbers as they are, other classes as int32.

    Example:
        >>> narrowed(torch.tensor([3])).dtype, narrowed(torch.tensor([0.5])).dtype
        (torch.int32, torch.float32)
    """
    kept = predictions.dtype == torch.uint8 or predictions.is_floating_point()
    return predictions if kept else predictions.to(torch.int32)


class Evaluator(Protocol):
    """Collects a network's outputs on a split, batch by batch.

    One whose task is trained by several processes is a :class:`GatheringEvaluator` too.
    """

    def update(self, output: Any, targets: Any) -> None:
        """Count one batch: what the network returned, and the ground truth."""

    def compute(self) -> Measured:
        """Return the figures over all batches."""


@runtime_checkable
class GatheringEvaluator(Evaluator, Protocol):
    """An evaluator that several processes share, each with the part of the split behind that of the one before it."""

    def gather(self) -> None:
        """Add what the other processes have counted."""
