"""The losses against the teacher: targets, selection, modifiers and losses on the rows of every head."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from limbeck.distiller.checks import check_finite_logits
from limbeck.distiller.extras import ExtraModules
from limbeck.distiller.features import FeaturePairs
from limbeck.distiller.processes import labeled_count
from limbeck.distiller.selection import batch_weight
from limbeck.distiller.supervised import SupervisedRows
from limbeck.distiller.teacher_logits import corrected
from limbeck.distiller.teacher_scale import TeacherScale
from limbeck.errors import UserError
from limbeck.losses import AdversarialLoss
from limbeck.losses.modules import LossModule
from limbeck.methods import Method, Term
from limbeck.methods.method import free_name
from limbeck.modifiers import Modified, Modifier
from limbeck.rows import GroundTruth, Rows, check_logits, ground_truth
from limbeck.tasks import MAIN, Task
from limbeck.teachers import Teacher


class HoldsParts(Protocol):
    """What is read of a distiller here."""

    student: nn.Module
    method: Method
    task: Task
    teacher: Teacher | None
    feature_pairs: FeaturePairs | None
    losses: ExtraModules
    modifiers: ExtraModules
    selected: Tensor | None
    teacher_scale: TeacherScale
    seed: int
    epochs: int | None
    check_finite: bool
    observer: Callable[[str, Tensor], None] | None
    training: bool

    @property
    def gathers(self) -> bool:
        """Whether losses and choices are those of the rows of all processes."""


class Context(NamedTuple):
    """A batch's values beside its rows.

    Attributes:
        indices: (N,) positions of the samples in the training set; None without any.
        epoch: The epoch, from 0.
        total: What sums over rows are divided by, instead of their number.
        counts: Receives what each part that is a mean over rows is divided by; None where nobody needs it.
    """

    indices: Tensor | None
    epoch: int
    total: Tensor | float | None = None
    counts: dict[str, Tensor] | None = None


class Features(NamedTuple):
    """Both networks' features, one tensor a layer."""

    student: list[Tensor]
    teacher: list[Tensor]


def as_heads(
    rows: Tensor | Rows | Mapping[str, Tensor | Rows],
    labels: Tensor | None = None,
    weight: Tensor | None = None,
    *,
    whose: str = "student",
) -> dict[str, Rows]:
    """Write rows of logits of any form as rows by head, and check them.

    Args:
        rows: (R, C) logits, rows, or either by head.
        labels: Labels that take the place of the rows' own.
        weight: Weights that take the place of the rows' own.
        whose: ``"student"`` or ``"teacher"``, for an error's line.

    Raises:
        UserError: If there is no main head, logits are no float (R, C), or weights no (R,).

    Example:
        >>> import torch
        >>> as_heads(torch.zeros(2, 3), torch.tensor([0, 1]))["main"].labels
        tensor([0, 1])
    """
    heads = rows if isinstance(rows, Mapping) else {MAIN: rows}
    if MAIN not in heads:
        listed = ", ".join(heads) or "none"
        raise UserError(f"the {whose}'s rows: have the heads {listed}, expected {MAIN!r} among them")
    columns = {key: value for key, value in (("labels", labels), ("weight", weight)) if value is not None}
    checked = {}
    for head, entry in heads.items():
        part = (entry if isinstance(entry, Rows) else Rows(entry))._replace(**columns)
        check_logits(part.logits, f"the {whose}'s output" if head == MAIN else f"the {whose}'s output {head!r}")
        if part.weight is not None and part.weight.shape != part.logits.shape[:1]:
            raise UserError(f"weight: got {tuple(part.weight.shape)}, expected one a row, ({len(part.logits)},)")
        checked[head] = part
    return checked


def part_name(name: str, head: str) -> str:
    """Return the name of a head's part: of another head than the main one, it ends in the head's name.

    Example:
        >>> part_name("kd", "main"), part_name("kd", "aux")
        ('kd', 'kd.aux')
    """
    return name if head == MAIN else f"{name}.{head}"


def label_parts(
    distiller: HoldsParts,
    output: Any,
    heads: Mapping[str, Rows],
    total: Tensor | float | None,
    counts: dict[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Return a distiller's weighted losses with the ground truth, by name.

    The method's weight of the cross-entropy is that of the heads' losses, which stand beside losses with the teacher; a
    task's other losses, such as those of boxes, count whole.

    Args:
        distiller: Holds method and task.
        output: What the student returned; None where only its rows are known.
        heads: The student's rows by head.
        total: What sums over rows are divided by, instead of their number.
        counts: As for :class:`Context`.
    """
    weight = distiller.method.ce_weight
    if not weight and not distiller.task.by_parts:
        return {}
    smoothing = distiller.method.label_smoothing
    losses = distiller.task.ground_truth(output, heads, label_smoothing=smoothing, total=total)
    of_heads = {part_name("ce", head): weight * loss for head, loss in losses.items() if head in heads and weight}
    if counts is not None and not distiller.task.by_parts:
        counts |= {part_name("ce", head): labeled_count(heads[head]) for head in losses if head in heads and weight}
    return of_heads | {name: loss for name, loss in losses.items() if name not in heads}


def teacher_parts(
    distiller: HoldsParts,
    heads: Mapping[str, Rows],
    teacher: Mapping[str, Tensor],
    context: Context,
    features: Features | None = None,
) -> dict[str, Tensor]:
    """Return a distiller's weighted losses against its teacher, by name.

    Args:
        distiller: Holds method, losses, modifiers and the selection.
        heads: The student's rows by head.
        teacher: The teacher's logits by head, as many rows as the student's; heads that it lacks are left out.
        context: The batch's indices and epoch.
        features: Both networks' features, for methods that compare them.
    """
    parts: dict[str, Tensor] = {}
    for head, logits in teacher.items():
        if distiller.check_finite:
            check_finite_logits(logits, "the teacher's logits")
        if distiller.observer is not None:
            distiller.observer(head, logits)
        rows, teacher_logits = heads[head], logits
        if context.total is None:
            # A sum that is divided by a number from outside needs all of its rows.
            rows, teacher_logits = distiller.task.taught(rows, logits, context.indices, context.epoch)
        counts: dict[str, Tensor] = {}
        losses = _head_parts(distiller, head, rows, teacher_logits, context._replace(counts=counts), features)
        if context.counts is not None:
            context.counts.update({part_name(name, head): count for name, count in counts.items()})
        parts |= {part_name(name, head): distiller.task.weighted(head, loss) for name, loss in losses.items()}
    return parts


def _head_parts(
    distiller: HoldsParts,
    head: str,
    rows: Rows,
    teacher_logits: Tensor,
    context: Context,
    features: Features | None,
) -> dict[str, Tensor]:
    truth = ground_truth(rows.labels, rows.logits)
    target_logits = corrected(distiller.method.targets, distiller.teacher_scale(teacher_logits), truth)
    supervised = _supervised(distiller, rows, teacher_logits, truth, context)
    modified = _modified(distiller, rows.logits, target_logits, truth, context.epoch, moving=head == MAIN)
    by_labels = distiller.teacher is not None and distiller.teacher.needs_labels
    parts: dict[str, Tensor] = {}
    for term, loss in zip(distiller.method.terms, distiller.losses, strict=True):
        weight = supervised.weight_for(loss, needs_labels=by_labels)
        factor: Tensor | float = 1.0
        if not term.features:
            temperature = distiller.teacher_scale.temperature_of(term)
            value, factor = _compared(term, loss, modified, truth, weight, temperature)
        elif features is not None and head == MAIN:
            value = _compared_features(distiller, term, loss, features, rows, truth, weight, context)
        else:
            continue
        value = term.weight_at(context.epoch) * supervised.share(weight) * factor * value
        parts[term.name] = supervised.factor * value
        _count(context, term.name, loss, supervised, weight)
        if isinstance(loss, AdversarialLoss):
            auxiliary, name = (
                loss.auxiliary_loss(modified.student, modified.teacher, truth.classes, weight),
                "discriminator",
            )
            parts[name := free_name(name, parts)] = auxiliary
            _count(context, name, loss, supervised, weight, of_mean=True)
    return parts


def _count(
    context: Context,
    name: str,
    loss: nn.Module,
    supervised: SupervisedRows,
    weight: Tensor | None,
    *,
    of_mean: bool = False,
) -> None:
    """Note what a part is divided by, unless it is computed over the rows of all processes as it is."""
    is_gathered = isinstance(loss, LossModule) and loss.settings.get("gather") and not supervised.by_all
    if context.counts is not None and not is_gathered:
        context.counts[name] = supervised.count(weight, of_mean=of_mean)


def _supervised(
    distiller: HoldsParts, rows: Rows, teacher_logits: Tensor, truth: GroundTruth, context: Context
) -> SupervisedRows:
    selection = distiller.method.selection
    places, seed = context.indices, distiller.seed
    selected = batch_weight(
        selection,
        distiller.selected,
        rows,
        teacher_logits,
        truth,
        places,
        seed,
        context.epoch,
        gather=distiller.gathers,
    )
    by_all = selection is not None and selection.divide_by == "all"
    taught = distiller.teacher_scale.weights_of(context.indices)
    if taught is None:
        return SupervisedRows(rows, truth, selected, by_all, context.total, distiller.teacher_scale.weight)
    taught = taught if rows.sample is None else taught[rows.sample]
    return SupervisedRows(rows, truth, taught if selected is None else selected * taught, True, context.total)


def _modified(
    distiller: HoldsParts, logits: Tensor, target_logits: Tensor, truth: GroundTruth, epoch: int, *, moving: bool
) -> Modified:
    rows, epochs = Modified(logits, target_logits), distiller.epochs
    for modifier in distiller.modifiers:
        assert isinstance(modifier, Modifier)
        if modifier.follows_epochs and epochs is None:
            raise UserError(f"method {distiller.method.name!r}: follows the epochs, pass epochs= to Distiller")
        before = Modified(*rows.undivided) if modifier.ignores_scale else rows
        progress = epoch / (epochs or 1)
        after = modifier(before.student, before.teacher, truth.labels, progress)
        if moving and distiller.training:
            modifier.update(before.student, before.teacher, truth.labels, progress)
        factor, temperature = before.factor * after.factor, before.temperature * after.temperature
        rows = Modified(after.student, after.teacher, factor, temperature)
    return rows


def _compared_features(
    distiller: HoldsParts,
    term: Term,
    loss: nn.Module,
    features: Features,
    rows: Rows,
    truth: GroundTruth,
    weight: Tensor | None,
    context: Context,
) -> Tensor:
    pairs, labels = distiller.feature_pairs, truth.classes if rows.sample is None else None
    assert pairs is not None
    if rows.sample is not None:
        # Features belong to a sample, not to a row.
        weight = _weight_of_samples(distiller, context.indices)
    student_features, teacher_features = pairs.of(term, features.student), pairs.of(term, features.teacher)
    value: Tensor = loss(student_features, teacher_features, labels, weight, context.indices)
    return value


def _weight_of_samples(distiller: HoldsParts, indices: Tensor | None) -> Tensor | None:
    taught = distiller.teacher_scale.weights_of(indices)
    if distiller.selected is None or indices is None:
        return taught
    return distiller.selected[indices] if taught is None else distiller.selected[indices] * taught


def _compared(
    term: Term,
    loss: nn.Module,
    rows: Modified,
    truth: GroundTruth,
    weight: Tensor | None,
    temperature: Tensor | float,
) -> tuple[Tensor, Tensor | float]:
    """Return a loss of logits, its own temperature times the given one, and its factor for that in front of it."""
    if term.takes_temperature:
        return loss(*rows.undivided, truth.classes, weight, rows.temperature * temperature), 1.0
    divided = {"temperature": temperature, "divided_by": rows.temperature} if isinstance(loss, LossModule) else {}
    value = loss(rows.student, rows.teacher, truth.classes, weight, **divided)
    return value, rows.factor if term.scales_with_temperature else 1.0
