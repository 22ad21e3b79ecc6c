"""What an exported file reaches on the test split."""

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from limbeck.export.deployed import Plan, Result
from limbeck.export.subject import Subject
from limbeck.tasks import Measured, MultiLabel
from limbeck.training.evaluate import measure_outputs

# Far enough apart that a softmax gives the class all of the probability.
_CERTAIN = 50.0


def measured(subject: Subject, plan: Plan, output: Callable[[Any], Tensor]) -> Measured:
    """Measure something that computes a plan's output, on the whole test split of the run.

    Args:
        subject: The student and its run.
        plan: What was exported.
        output: Returns the output for a batch's inputs of the network.

    Returns:
        The task's figures. Class outputs have no probabilities: their loss and calibration mean nothing.

    Raises:
        UserError: If the data are not there.
    """

    def outputs() -> Iterator[tuple[Tensor, Any]]:
        classes = len(subject.student.classes)
        is_multilabel = isinstance(subject.student.task, MultiLabel)
        for batch in subject.test_batches():
            yield as_logits(output(batch.inputs), plan.result, classes, is_multilabel=is_multilabel), batch.targets

    return measure_outputs(outputs(), subject.student.task)


def as_logits(output: Tensor, result: Result, classes: int, *, is_multilabel: bool = False) -> Tensor:
    """Return logits that a task's figures can be computed from.

    Args:
        output: What a file gave.
        result: What that is.
        classes: The number of classes.
        is_multilabel: Whether each probability stands on its own.

    Example:
        >>> import torch
        >>> as_logits(torch.tensor([1]), "classes", 2)
        tensor([[ 0., 50.]])
        >>> as_logits(torch.tensor([[0.5, 0.5]]), "probabilities", 2, is_multilabel=True)
        tensor([[0., 0.]])
    """
    if result == "classes":
        return _CERTAIN * F.one_hot(output.long(), classes).movedim(-1, 1).float()
    if result == "probabilities":
        # Float64 keeps those near 1 apart from it.
        return output.double().logit().float() if is_multilabel else output.log()
    return output
