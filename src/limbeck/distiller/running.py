"""One run of a distiller's student and of its teacher on a batch, with the features that a method compares."""

from typing import Any

from torch import Tensor

from limbeck.data.batch import Batch
from limbeck.distiller.terms import HoldsParts


def run_student(distiller: HoldsParts, inputs: Any, labels: Any) -> tuple[Any, list[Tensor]]:
    """Return the student's output on a batch, and its features, if the method compares some.

    Args:
        distiller: Holds student, task and features.
        inputs: The batch's inputs.
        labels: Its ground truth; None without any.
    """
    if distiller.training and labels is not None:
        inputs = distiller.task.student_inputs(inputs, labels)
    if distiller.feature_pairs is None:
        return distiller.task.call(distiller.student, inputs), []
    return distiller.feature_pairs.run_student(inputs, distiller.task.call)


def run_teacher(distiller: HoldsParts, batch: Batch, output: Any, epoch: int) -> tuple[Any, list[Tensor]]:
    """Return the teacher's output on a batch, and its features, if the method compares some.

    Args:
        distiller: Holds teacher, task and features.
        batch: The batch.
        output: What the student returned for it.
        epoch: The epoch, from 0.
    """
    assert distiller.teacher is not None
    batch = batch._replace(inputs=distiller.task.teacher_inputs(batch.inputs, output))
    if distiller.feature_pairs is None:
        return distiller.teacher.answer(batch, epoch), []
    return distiller.feature_pairs.run_teacher(batch.inputs, distiller.task.call)
