"""Measure a network on a split by the metrics of a task."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from limbeck.data.batch import Batch
from limbeck.errors import UserError
from limbeck.tasks import Classification, Measured, Task
from limbeck.tasks.metrics import GatheringEvaluator

__all__ = ["Measured", "measure", "measure_outputs"]


@torch.no_grad()
def measure(
    network: nn.Module,
    batches: Iterable[Batch],
    task: Task | int,
    *,
    precision: AbstractContextManager[object] | None = None,
    gather: bool = False,
) -> Measured:
    """Run ``network`` in eval mode over ``batches``; its former mode is put back afterwards.

    Args:
        network: What the task calls.
        batches: Every sample once, on the network's device.
        task: The task, with its number of classes; a number C stands for classification with C classes.
        precision: An autocast context, or None for fp32.
        gather: Whether the batches are this process's part of the samples, in the order of the processes.

    Returns:
        The figures, over all samples.

    Raises:
        UserError: If the outputs are not the task's, or it lacks its number of classes.

    Example:
        >>> batch = Batch(torch.eye(3), torch.tensor([0, 1, 1]), torch.arange(3))
        >>> round(measure(nn.Identity(), [batch], 3).accuracy, 3)
        0.667
    """
    task = Classification(task) if isinstance(task, int) else task
    mode = network.training
    network.eval()
    try:
        outputs = ((task.call(network, batch.inputs), batch.targets) for batch in batches)
        return measure_outputs(outputs, task, precision=precision, gather=gather)
    finally:
        network.train(mode)


@torch.no_grad()
def measure_outputs(
    outputs: Iterable[tuple[Any, Any]],
    task: Task,
    *,
    precision: AbstractContextManager[object] | None = None,
    gather: bool = False,
) -> Measured:
    """Measure outputs, for callers that run the network themselves.

    Args:
        outputs: What a network returned for each batch, and the batch's targets.
        task: The task.
        precision: An autocast context in which they are computed and counted, or None.
        gather: As for :func:`measure`.

    Returns:
        The figures, over all samples.

    Raises:
        UserError: If the parts of several processes are to be added up, and the task's evaluator cannot do that.

    Example:
        >>> measure_outputs([(torch.eye(2), torch.tensor([0, 1]))], Classification(2)).accuracy
        1.0
    """
    evaluator = gathering_evaluator(task) if gather else task.evaluator()
    with precision or nullcontext():
        for output, targets in outputs:
            evaluator.update(output, targets)
    if isinstance(evaluator, GatheringEvaluator) and gather:
        evaluator.gather()
    return evaluator.compute()


def gathering_evaluator(task: Task) -> GatheringEvaluator:
    """Return a task's evaluator for several processes.

    Raises:
        UserError: If it cannot add up what they have counted.

    Example:
        >>> isinstance(gathering_evaluator(Classification(3)), GatheringEvaluator)
        True
    """
    evaluator = task.evaluator()
    if isinstance(evaluator, GatheringEvaluator):
        return evaluator
    expected = "expected a method gather(), or one process"
    raise UserError(f"task {task.name!r}: its evaluator cannot add up what several processes count, {expected}")
