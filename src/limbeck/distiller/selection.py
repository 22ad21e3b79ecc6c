"""Make a selection: over a whole training set, whose every sample is scored once, or among the rows of a batch."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from limbeck.data.batch import Batch
from limbeck.distiller.modes import evaluating
from limbeck.distiller.processes import Gathered
from limbeck.errors import UserError
from limbeck.models import head
from limbeck.randomness.hashing import derived_seed
from limbeck.rows import GroundTruth, Rows, ground_truth
from limbeck.selection import Selection, choose, head_influence, random_scores, shuffled
from limbeck.tasks import MAIN, Task

TeacherTargets = Callable[[Batch], tuple[Tensor, Tensor]]


class TrainingSetLogits(NamedTuple):
    """The logits of student and teacher for every sample, one row each.

    Attributes:
        features: (N, D) inputs of the student's last linear layer; (N, 0) unless they are recorded.
        logits: (N, C) the student's logits.
        teacher_logits: (N, C) the teacher's logits.
        target_logits: (N, C) the teacher's logits after the method's targets.
        labels: (N,) true classes.
        indices: (N,) positions in the training set.
    """

    features: Tensor
    logits: Tensor
    teacher_logits: Tensor
    target_logits: Tensor
    labels: Tensor
    indices: Tensor


def held_out(labels: Tensor, indices: Tensor, share: float, *, seed: int) -> Tensor:
    """Draw the slice of the training set that influence is measured on, the same share of every class.

    Args:
        labels: (N,) true classes.
        indices: (N,) positions in the training set.
        share: The share, in (0, 1).
        seed: The run's seed.

    Returns:
        (N,) bool mask.

    Example:
        >>> int(held_out(torch.arange(10) % 2, torch.arange(10), 0.2, seed=0).sum())
        2
    """
    return choose(random_scores(indices, seed=derived_seed(seed, 1)), share, labels=labels)


@contextmanager
def _recorded_input(layer: nn.Module) -> Iterator[list[Tensor]]:
    recorded: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: recorded.append(inputs[0].detach()))
    try:
        yield recorded
    finally:
        hook.remove()


@torch.no_grad()
def collect(
    student: nn.Module, teacher_targets: TeacherTargets, batches: Iterable[Batch], task: Task, *, with_features: bool
) -> TrainingSetLogits:
    """Run student and teacher once over all batches, the student in eval mode; its modules' modes are put back.

    Args:
        student: The network whose logits are scored.
        teacher_targets: Returns the teacher's logits of a batch, before and after correction.
        batches: Every training sample once.
        task: Turns outputs into rows, one a sample.
        with_features: Whether the inputs of the student's last linear layer are recorded.

    Raises:
        UserError: If there are no samples, or features are to be recorded of a student without a last linear layer.
    """
    with evaluating(student):
        collected = [_batch_logits(student, teacher_targets, batch, task, with_features) for batch in batches]
    if not collected:
        raise UserError("selection: got no samples, expected the training set")
    return TrainingSetLogits(*(torch.cat(column) for column in zip(*collected, strict=True)))


def _batch_logits(
    student: nn.Module, teacher_targets: TeacherTargets, batch: Batch, task: Task, with_features: bool
) -> TrainingSetLogits:
    teacher_logits, target_logits = teacher_targets(batch)
    recording: AbstractContextManager[list[Tensor]] = (
        _recorded_input(head(student, teacher_logits.shape[1])) if with_features else nullcontext([])
    )
    with recording as recorded:
        rows = task.rows(task.call(student, batch.inputs), batch.targets)[MAIN]
    logits = rows.logits.float()
    features = recorded[-1].float() if with_features else logits[:, :0]
    labels = ground_truth(rows.labels, logits).classes
    assert batch.indices is not None
    return TrainingSetLogits(features, logits, teacher_logits.float(), target_logits.float(), labels, batch.indices)


def _influence(selection: Selection, rows: TrainingSetLogits, seed: int) -> Tensor:
    held = held_out(rows.labels, rows.indices, selection.holdout, seed=seed)
    place = torch.where(held, held.cumsum(0) - 1, -1)
    return head_influence(
        rows.features,
        rows.logits,
        rows.target_logits.softmax(dim=1),
        rows.features[held],
        rows.logits[held],
        rows.labels[held],
        damping=selection.damping,
        held_index=place,
    )


def selected_samples(
    selection: Selection,
    task: Task,
    student: nn.Module,
    teacher_targets: TeacherTargets,
    batches: Iterable[Batch | tuple[Any, ...]],
    *,
    seed: int,
) -> Tensor:
    """Score every training sample and choose the share that the teacher supervises.

    A sample of several rows, such as a map, has the mean score of its rows, and is ranked among all samples.

    Args:
        selection: Scorer, ratio and the like.
        task: Turns outputs into rows.
        student: The network whose logits are scored.
        teacher_targets: Returns the teacher's logits of a batch, before and after correction.
        batches: Every training sample once, with its position in the set.
        seed: The run's seed.

    Returns:
        (largest position + 1,) bool mask.

    Raises:
        UserError: If there are no samples, or the scorer needs a last linear layer, or one row a sample, that is not
            there.

    References:
        The data selection of Lan et al., arXiv 2404.03693, is published in outline only; all of this is ours.
    """
    training_set: Iterator[Batch] = (Batch(*batch) for batch in batches)
    first = next(training_set, None)
    if first is None or first.indices is None:
        raise UserError("selection: got no samples with their positions, expected the training set")
    training_set, labels = chain([first], training_set), None
    if task.by_parts:
        scores, indices = _drawn(selection, task, training_set, seed)
    elif _has_several_rows(task, student, first):
        scores, indices = _sample_scores(selection, task, student, teacher_targets, training_set, seed)
    else:
        rows = collect(student, teacher_targets, training_set, task, with_features=selection.needs_training_set)
        labels, indices = rows.labels if selection.per_class else None, rows.indices
        scores = (
            _influence(selection, rows, seed)
            if selection.needs_training_set
            else selection.scores(rows.logits, rows.teacher_logits, rows.labels, indices=indices, seed=seed)
        )
    chosen = choose(scores, selection.ratio, labels=labels)
    if selection.shuffled:
        chosen = shuffled(chosen, indices, seed=seed, labels=labels)
    mask = torch.zeros(int(indices.max()) + 1, dtype=torch.bool, device=indices.device)
    mask[indices] = chosen
    return mask


def _drawn(selection: Selection, task: Task, batches: Iterable[Batch], seed: int) -> tuple[Tensor, Tensor]:
    if selection.scorer != "random":
        got = f"task {task.name!r} has no logits of the training set before training"
        raise UserError(f"selection by {selection.scorer!r}: {got}, expected random")
    indices = torch.cat([batch.indices for batch in batches if batch.indices is not None])
    return random_scores(indices, seed=seed, epoch=0), indices


@torch.no_grad()
def _has_several_rows(task: Task, student: nn.Module, batch: Batch) -> bool:
    with evaluating(student):
        return task.rows(task.call(student, batch.inputs), batch.targets)[MAIN].sample is not None


@torch.no_grad()
def _sample_scores(
    selection: Selection,
    task: Task,
    student: nn.Module,
    teacher_targets: TeacherTargets,
    batches: Iterable[Batch],
    seed: int,
) -> tuple[Tensor, Tensor]:
    scores, indices = [], []
    with evaluating(student):
        for batch in batches:
            rows = task.rows(task.call(student, batch.inputs), batch.targets)[MAIN]
            assert batch.indices is not None
            truth = ground_truth(rows.labels, rows.logits)
            teacher_logits = teacher_targets(batch)[0]
            if len(teacher_logits) != len(rows.logits):
                got = f"got {len(rows.logits)} rows of the student and {len(teacher_logits)} of the teacher"
                raise UserError(f"selection by {selection.scorer!r}: {got}, expected outputs of one size")
            scores.append(_scores_by_sample(selection, rows, teacher_logits, truth, batch.indices, seed, 0))
            indices.append(batch.indices)
    return torch.cat(scores), torch.cat(indices)


def _scores_by_sample(
    selection: Selection,
    rows: Rows,
    teacher_logits: Tensor,
    truth: GroundTruth,
    indices: Tensor,
    seed: int,
    epoch: int,
) -> Tensor:
    """Return (N,) the mean score of each sample's rows."""
    if selection.needs_training_set:
        expected = "expected random, agreement, confidence or el2n"
        raise UserError(f"selection by {selection.scorer!r}: needs samples of one row each, {expected}")
    if selection.scorer == "random":
        return random_scores(indices, seed=seed, epoch=epoch)
    assert rows.sample is not None
    scores = selection.scores(rows.logits.detach(), teacher_logits, truth.classes)
    counted = torch.ones_like(scores) if truth.labeled is None else truth.labeled.to(scores.dtype)
    sums = scores.new_zeros(2, len(indices)).index_add_(1, rows.sample, torch.stack([scores * counted, counted]))
    return sums[0] / sums[1].clamp_min(1)


def batch_weight(
    selection: Selection | None,
    selected: Tensor | None,
    rows: Rows,
    teacher_logits: Tensor,
    truth: GroundTruth,
    indices: Tensor | None,
    seed: int,
    epoch: int,
    *,
    gather: bool = False,
) -> Tensor | None:
    """Return which rows of a batch the teacher supervises, (R,) bool, or None for all.

    Args:
        selection: The method's; None if it has none.
        selected: (samples,) the mask made over the whole training set, if there is one.
        rows: The student's rows of a head.
        teacher_logits: (R, C) the teacher's logits.
        truth: The rows' labels.
        indices: (N,) positions of the samples in the training set.
        seed: Of what is drawn at random.
        epoch: The epoch, from 0.
        gather: Whether the choice is made among the rows of all processes.

    Raises:
        UserError: If positions are missing, or the scorer needs the whole training set.
    """
    if selection is None:
        return None
    if selected is not None:
        if indices is None:
            raise UserError("indices: got None, expected each sample's position, for the selection made by select()")
        mask = selected[indices]
    elif selection.needs_training_set:
        expected = "needs the whole training set, call distiller.select(batches)"
        raise UserError(f"selection by {selection.scorer!r}: {expected}")
    elif rows.sample is None:
        columns = (rows.logits.detach(), teacher_logits, truth.classes)
        mask = _mask_of_rows(selection, columns, indices, seed, epoch, gather=gather)
    else:
        mask = _mask_by_sample(selection, rows, teacher_logits, truth, indices, seed, epoch, gather=gather)
    if truth.labeled is not None:
        # The teacher alone supervises a sample without a label.
        mask = mask | ~_have_labels(rows, truth.labeled, len(mask))
    return mask if rows.sample is None else mask[rows.sample]


def _mask_of_rows(
    selection: Selection,
    columns: tuple[Tensor, Tensor, Tensor],
    indices: Tensor | None,
    seed: int,
    epoch: int,
    *,
    gather: bool,
) -> Tensor:
    if not gather:
        return selection.batch_mask(*columns, indices=indices, seed=seed, epoch=epoch)
    rows = Gathered(columns[0])
    logits, teacher_logits, classes = map(rows.all, columns)
    places = None if indices is None else rows.all(indices)
    return rows.own(selection.batch_mask(logits, teacher_logits, classes, indices=places, seed=seed, epoch=epoch))


def _have_labels(rows: Rows, labeled: Tensor, samples: int) -> Tensor:
    """Return which samples have a row with a label, (samples,) bool."""
    if rows.sample is None:
        return labeled
    return labeled.new_zeros(samples, dtype=torch.int64).index_add(0, rows.sample, labeled.long()) > 0


def _mask_by_sample(
    selection: Selection,
    rows: Rows,
    teacher_logits: Tensor,
    truth: GroundTruth,
    indices: Tensor | None,
    seed: int,
    epoch: int,
    *,
    gather: bool,
) -> Tensor:
    assert rows.sample is not None
    if indices is None:
        samples = int(rows.sample.max()) + 1 if len(rows.sample) else 0
        places = torch.arange(samples, device=rows.sample.device)
    else:
        # Draws belong to the samples, the same in every epoch.
        places, epoch = indices, 0
    scores = _scores_by_sample(selection, rows, teacher_logits, truth, places, seed, epoch)
    samples_of_all = Gathered(scores) if gather else None
    if samples_of_all is not None:
        scores, places = samples_of_all.all(scores), samples_of_all.all(places)
    mask = choose(scores, selection.ratio)
    mask = shuffled(mask, places, seed=seed, epoch=epoch) if selection.shuffled else mask
    return mask if samples_of_all is None else samples_of_all.own(mask)
