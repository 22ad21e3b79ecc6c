"""The rows of a teacher, and of proxies, over a training set: what a teacher's scale is measured on."""

from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from limbeck.data.batch import Batch
from limbeck.distiller.checks import check_finite_logits
from limbeck.distiller.modes import evaluating
from limbeck.distiller.teacher_logits import label_logits
from limbeck.errors import UserError
from limbeck.randomness.hashing import random_bits
from limbeck.rows import ABSENT, Rows, ground_truth
from limbeck.tasks import MAIN, Task
from limbeck.teachers import LabelTeacher, Teacher

# Of a sample of many rows, such as a map, about so many are measured.
ROWS_OF_A_SAMPLE = 64
_ROWS_STREAM = 402


class Proxies(NamedTuple):
    """Two students that were trained with labels alone, each on half of the training set.

    Attributes:
        first: Trained on the samples of ``half``.
        second: Trained on the others.
        half: (samples,) bool by position in the training set; see :func:`limbeck.selection.halves`.
    """

    first: nn.Module
    second: nn.Module
    half: Tensor


class TeacherRows(NamedTuple):
    """A teacher's rows of the main head, on the CPU.

    Attributes:
        logits: (R, C) the teacher's logits.
        classes: (R,) true classes, -100 where there is none.
        indices: (R,) positions of the rows' samples in the training set; (0,) without any.
        proxy_logits: (R, C) those of the proxy that was trained without the row's sample; (0, C) without proxies.
        half: (R,) bool, which half a row is in; (0,) without proxies.
    """

    logits: Tensor
    classes: Tensor
    indices: Tensor
    proxy_logits: Tensor
    half: Tensor


@torch.no_grad()
def teacher_rows(
    task: Task,
    student: nn.Module,
    teacher: Teacher,
    batches: Iterable[Batch | tuple[Any, ...]],
    proxies: Proxies | None,
) -> TeacherRows:
    """Run a teacher over unaugmented samples and collect its rows of the main head, about 64 of each sample.

    Args:
        task: Turns outputs into rows.
        student: Run for the labels of rows alone, by teachers whose logits are made from labels.
        teacher: The teacher.
        batches: (inputs, targets, positions in the training set).
        proxies: Run too, if there are some.

    Raises:
        UserError: If there are no rows, or positions are missing beside proxies.
        RunError: If a logit of a network is nan or infinite.
    """
    with ExitStack() as stack:
        for network in (student, *(proxies or ())[:2]):
            stack.enter_context(evaluating(network))
        collected = [_rows_of(task, student, teacher, Batch.of(batch), proxies) for batch in batches]
    if not sum(len(part.logits) for part in collected):
        raise UserError("batches: got no rows, expected the training set")
    return TeacherRows(*(torch.cat(column) for column in zip(*collected, strict=True)))


def _rows_of(task: Task, student: nn.Module, teacher: Teacher, batch: Batch, proxies: Proxies | None) -> TeacherRows:
    output = None if isinstance(teacher, LabelTeacher) else teacher.unaugmented(batch)
    rows = _of_teacher(task, student, teacher, batch, output)
    check_finite_logits(rows.logits, "the teacher's logits")
    truth = ground_truth(rows.labels, rows.logits)
    classes = truth.classes if truth.labeled is None else torch.where(truth.labeled, truth.classes, ABSENT)
    samples = torch.arange(batch.size, device=classes.device) if rows.sample is None else rows.sample
    places = classes[:0] if batch.indices is None else batch.indices.to(classes.device)[samples]
    proxy_logits, half = rows.logits[:0], classes[:0].bool()
    if proxies is not None:
        proxy_logits, half = _of_proxies(task, batch, proxies, places, output)
    kept = _some_of_each_sample(rows)
    columns = (rows.logits, classes, places, proxy_logits, half)
    return TeacherRows(*((column[kept] if len(column) else column).cpu() for column in columns))


def _of_teacher(task: Task, student: nn.Module, teacher: Teacher, batch: Batch, output: Any) -> Rows:
    if not isinstance(teacher, LabelTeacher):
        return task.rows(output, batch.targets)[MAIN]
    rows = {MAIN: _of_network(task, student, batch)}
    return rows[MAIN]._replace(logits=label_logits(teacher, rows, batch.indices, 0)[MAIN])


def _of_network(task: Task, network: nn.Module, batch: Batch, paired: Any = None) -> Rows:
    output = task.call(network, batch.inputs)
    return task.rows(output if paired is None else task.aligned(output, paired), batch.targets)[MAIN]


def _of_proxies(
    task: Task, batch: Batch, proxies: Proxies, places: Tensor, teacher_output: Any
) -> tuple[Tensor, Tensor]:
    """Return the logits of the proxy that was trained without each row's sample, and which half each row is in."""
    if batch.indices is None:
        raise UserError("batches: got no positions in the training set, expected (inputs, targets, positions)")
    if len(places) and int(places.max()) >= len(proxies.half):
        got = f"{len(proxies.half)} samples, and a position of {int(places.max())}"
        raise UserError(f"half: got {got}, expected the half of each sample of the training set")
    first, second = (_of_network(task, network, batch, teacher_output).logits for network in proxies[:2])
    for logits in (first, second):
        check_finite_logits(logits, "a proxy's logits")
    half = proxies.half.to(places.device)[places]
    return torch.where(half[:, None], second, first), half


def _some_of_each_sample(rows: Rows) -> Tensor:
    places = torch.arange(len(rows.logits), device=rows.logits.device)
    if rows.sample is None or not len(places):
        return places
    drawn = random_bits(places, seed=0, epoch=0, stream=_ROWS_STREAM).double() / 2**63
    return places[drawn * rows.sample.bincount()[rows.sample] < ROWS_OF_A_SAMPLE]
