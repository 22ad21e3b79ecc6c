"""Teacher logits that follow from labels, and how a method's targets correct teacher logits."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from limbeck.data.batch import Batch
from limbeck.rows import GroundTruth, Rows, ground_truth
from limbeck.tasks import MAIN, Task
from limbeck.teachers import LabelTeacher, Teacher

Target = Callable[[Tensor, Tensor], Tensor]


@torch.no_grad()
def label_logits(
    teacher: LabelTeacher, heads: Mapping[str, Rows], indices: Tensor | None, epoch: int
) -> dict[str, Tensor]:
    """Return logits that follow from the rows' labels alone, for every head.

    Args:
        teacher: Makes logits of labels.
        heads: The student's rows by head.
        indices: (N,) positions of the samples in the training set; the rows of a sample share its position.
        epoch: The epoch, from 0.

    Example:
        >>> from limbeck.teachers import VirtualTeacher
        >>> rows = {"main": Rows(torch.zeros(2, 3), torch.tensor([0, 1]))}
        >>> label_logits(VirtualTeacher(3), rows, None, 0)["main"].shape
        torch.Size([2, 3])
    """
    logits = {}
    for head, rows in heads.items():
        places = indices if indices is None or rows.sample is None else indices[rows.sample]
        logits[head] = teacher.logits(None, ground_truth(rows.labels, rows.logits).classes, places, epoch)
    return logits


def main_rows(task: Task, output: Any, teacher: Teacher, batch: Batch) -> Rows:
    """Return the main head's rows of a teacher's output; that of a teacher of labels is rows already.

    Example:
        >>> from limbeck.tasks import Classification
        >>> from limbeck.teachers import VirtualTeacher
        >>> batch = Batch(None, torch.tensor([0, 1]))
        >>> main_rows(Classification(), torch.zeros(2, 3), VirtualTeacher(3), batch).labels
        tensor([0, 1])
    """
    return Rows(output, batch.targets) if isinstance(teacher, LabelTeacher) else task.rows(output, batch.targets)[MAIN]


@torch.no_grad()
def corrected(targets: Sequence[Target], teacher_logits: Tensor, truth: GroundTruth) -> Tensor:
    """Return teacher logits as a method's targets correct them; rows without a label stay as they are.

    Args:
        targets: Functions of (R, C) logits and (R,) true classes, applied in order.
        teacher_logits: (R, C) logits.
        truth: The rows' labels, from :func:`limbeck.rows.ground_truth`.

    Returns:
        (R, C) logits.

    Example:
        >>> from limbeck.targets import rectify_logits
        >>> logits = torch.tensor([[0., 1.], [0., 1.]])
        >>> corrected([rectify_logits], logits, ground_truth(torch.tensor([0, -100]), logits))
        tensor([[1., 0.],
                [0., 1.]])
    """
    target_logits = teacher_logits
    for target in targets:
        target_logits = target(target_logits, truth.classes)
    if truth.labeled is None or not targets:
        return target_logits
    return torch.where(truth.labeled[:, None], target_logits, teacher_logits)
