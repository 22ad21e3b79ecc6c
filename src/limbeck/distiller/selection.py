"""Make a selection over a whole training set: look at every sample once, score, and keep the best share."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from limbeck.errors import UserError
from limbeck.models import head
from limbeck.models.tracing import modes_kept
from limbeck.randomness.hashing import derived_seed
from limbeck.selection import Selection, choose, head_influence, random_scores, shuffled

TeacherTargets = Callable[[Tensor, Tensor, Tensor, int], tuple[Tensor, Tensor]]


class TrainingSetLogits(NamedTuple):
    """What student and teacher say about every sample; the first dimension of each is the samples.

    Attributes:
        features: (N, D) inputs of the student's last linear layer; (N, 0) unless they were asked for.
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
    seen: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    try:
        yield seen
    finally:
        hook.remove()


@torch.no_grad()
def collect(
    student: nn.Module,
    teacher_targets: TeacherTargets,
    batches: Iterable[tuple[Tensor, Tensor, Tensor]],
    *,
    with_features: bool,
) -> TrainingSetLogits:
    """Run student and teacher once over all batches, the student in eval mode; its modules' modes are put back.

    Raises:
        UserError: If features are wanted and the student has no last linear layer.
    """
    # A compiled network may run without the hook that records its features.
    compiled = getattr(student, "_compiled_call_impl", None) is not None
    with modes_kept(student), torch.compiler.set_stance("force_eager") if compiled else nullcontext():
        student.eval()
        seen = [_batch_logits(student, teacher_targets, *batch, with_features=with_features) for batch in batches]
    if not seen:
        raise UserError("selection: got no samples, expected the training set")
    return TrainingSetLogits(*(torch.cat(column) for column in zip(*seen, strict=True)))


def _batch_logits(
    student: nn.Module,
    teacher_targets: TeacherTargets,
    inputs: Tensor,
    labels: Tensor,
    indices: Tensor,
    *,
    with_features: bool,
) -> TrainingSetLogits:
    teacher_logits, target_logits = teacher_targets(inputs, labels, indices, 0)
    if not with_features:
        logits = student(inputs).float()
        features = logits[:, :0]
    else:
        with _recorded_input(head(student, teacher_logits.shape[1])) as recorded:
            logits = student(inputs).float()
        features = recorded[-1].float()
    return TrainingSetLogits(features, logits, teacher_logits.float(), target_logits.float(), labels, indices)


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


def selected_rows(
    selection: Selection,
    student: nn.Module,
    teacher_targets: TeacherTargets,
    batches: Iterable[tuple[Tensor, Tensor, Tensor]],
    *,
    seed: int,
) -> Tensor:
    """Score every training sample and keep the share that listens to the teacher.

    Args:
        selection: Scorer, ratio and the like.
        student: The network whose view is scored.
        teacher_targets: Returns the teacher's logits for (inputs, labels, indices, epoch), before and after correction.
        batches: Every training sample once: (inputs, labels, positions).
        seed: The run's seed.

    Returns:
        (largest position + 1,) bool mask.

    Raises:
        UserError: If there are no samples, or the scorer needs a last linear layer that is not there.

    References:
        The data selection of Lan et al., arXiv 2404.03693, is known in outline only; all of this is ours.
    """
    influence = selection.needs_training_set
    rows = collect(student, teacher_targets, batches, with_features=influence)
    labels = rows.labels if selection.per_class else None
    if influence:
        scores = _influence(selection, rows, seed)
    else:
        scores = selection.scores(rows.logits, rows.teacher_logits, rows.labels, indices=rows.indices, seed=seed)
    chosen = choose(scores, selection.ratio, labels=labels)
    if selection.shuffled:
        chosen = shuffled(chosen, rows.indices, seed=seed, labels=labels)
    mask = torch.zeros(int(rows.indices.max()) + 1, dtype=torch.bool, device=rows.labels.device)
    mask[rows.indices] = chosen
    return mask
