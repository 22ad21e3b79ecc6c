"""What runs store for the pages that are made of them: details of predictions, and what the numbers mean."""

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from limbeck.data import Data
from limbeck.data.boxes.splits import BoxSet
from limbeck.tasks import Measured, Task
from limbeck.tasks.metrics import narrowed

_SELECTED = "selected"


def about_data(data: Data, task: Task) -> dict[str, Any]:
    """Return what the numbers of a run mean: the class names, what a sample is called, and the task's metrics.

    Example:
        >>> from limbeck.data import load
        >>> from limbeck.tasks import Classification
        >>> about = about_data(load("fashion_mnist_sample", train_limit=10), Classification(10))
        >>> about["unit"], about["metrics"][0]["title"], len(about["classes"])
        ('images', 'accuracy', 10)
    """
    metrics = [asdict(metric) for metric in task.metrics]
    return {
        "task": task.name,
        "data": data.name,
        "description": list(data.description),
        "unit": data.unit,
        "classes": list(data.classes),
        "metrics": metrics,
    }


def details_of_run(
    student: Measured, teacher: Measured | None, data: Data, selected: Tensor | None
) -> dict[str, Tensor]:
    """Return what is stored beside a run's predictions of the test split.

    Args:
        student: What the student reached on the test split.
        teacher: What its teacher reached there; None where it was not measured there.
        data: The run's data.
        selected: (N,) which training samples the teacher supervised, or how much it counted for each; None for all.

    Returns:
        The student's details as ``test.NAME``, the teacher's predictions as ``teacher`` and its details as
        ``teacher.NAME``, and ``selected``, (C, 2): for each class how many samples were selected, and how many it has.

    Example:
        >>> from limbeck.data import load
        >>> details = {"confidence": torch.ones(2)}
        >>> sorted(details_of_run(Measured({}, torch.tensor([1, 0]), details), None, load("iris"), None))
        ['test.confidence']
    """
    tensors = named_tensors("test", student, predictions=False)
    tensors |= {} if teacher is None else named_tensors("teacher", teacher)
    return tensors if selected is None else {**tensors, _SELECTED: _by_class(selected.cpu(), data)}


def named_tensors(name: str, measured: Measured, *, predictions: bool = True) -> dict[str, Tensor]:
    """Return predictions as ``name`` and details as ``name.DETAIL``.

    Args:
        name: Whose they are.
        measured: What the network reached.
        predictions: Whether the predictions are among them.

    Example:
        >>> sorted(named_tensors("live", Measured({}, torch.tensor([1]), {"confidence": torch.ones(1)})))
        ['live', 'live.confidence']
    """
    made = {} if measured.predictions is None or not predictions else {name: narrowed(measured.predictions)}
    return {**made, **{f"{name}.{key}": tensor.contiguous() for key, tensor in measured.details.items()}}


def _by_class(selected: Tensor, data: Data) -> Tensor:
    labels = data.train.labels.cpu()
    # Samples without labels stand behind the labeled ones.
    mask = selected[: len(labels)].double()
    # Classes of boxes begin at 1, as 0 is their background.
    numbers = torch.arange(len(data.classes)) + isinstance(data.train, BoxSet)
    # A sample of several classes counts for each of them.
    belongs = (labels[:, None] == numbers if labels.ndim == 1 else labels == 1).double()
    return torch.stack([mask @ belongs, belongs.sum(dim=0)], dim=1)
