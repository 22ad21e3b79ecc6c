"""The losses against the teacher: targets, selection, modifiers and losses on the rows of every head."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor, nn

from limbeck.distiller.answers import corrected
from limbeck.distiller.checks import check_finite_logits
from limbeck.distiller.selection import batch_weight
from limbeck.distiller.supervised import SupervisedRows
from limbeck.errors import UserError
from limbeck.losses import AdversarialLoss
from limbeck.losses._module import LossModule
from limbeck.methods import Term
from limbeck.methods.method import free_name
from limbeck.modifiers import Modified, Modifier
from limbeck.rows import GroundTruth, Rows, check_logits, ground_truth
from limbeck.tasks import MAIN

if TYPE_CHECKING:
    from limbeck.distiller.core import Distiller


class Context(NamedTuple):
    """What is known of a batch beside its rows.

    Attributes:
        indices: (N,) positions of the samples in the training set, if known.
        epoch: The epoch, from 0.
        total: What sums over rows are divided by, instead of their number.
    """

    indices: Tensor | None
    epoch: int
    total: Tensor | float | None = None


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
        raise UserError(
            f"the {whose}'s rows: have the heads {', '.join(heads) or 'none'}, expected {MAIN!r} among them"
        )
    given = {key: value for key, value in (("labels", labels), ("weight", weight)) if value is not None}
    named = {head: (part if isinstance(part, Rows) else Rows(part))._replace(**given) for head, part in heads.items()}
    for head, part in named.items():
        check_logits(part.logits, f"the {whose}'s output" if head == MAIN else f"the {whose}'s output {head!r}")
        if part.weight is not None and part.weight.shape != part.logits.shape[:1]:
            raise UserError(f"weight: got {tuple(part.weight.shape)}, expected one a row, ({len(part.logits)},)")
    return named


class TeacherTerms:
    """Computes a distiller's losses against its teacher.

    Args:
        distiller: Holds method, losses, modifiers and the selection.
    """

    def __init__(self, distiller: "Distiller") -> None:
        self.distiller, self.method = distiller, distiller.method

    def parts(
        self,
        heads: Mapping[str, Rows],
        teacher: Mapping[str, Tensor],
        context: Context,
        features: Features | None = None,
    ) -> dict[str, Tensor]:
        """Return the weighted losses by name.

        Args:
            heads: The student's rows by head.
            teacher: The teacher's logits by head, as many rows as the student's; heads that it lacks are left out.
            context: The batch's indices and epoch.
            features: Both networks' features, for methods that compare them.
        """
        parts: dict[str, Tensor] = {}
        for head, teacher_logits in teacher.items():
            if self.distiller.check_finite:
                check_finite_logits(teacher_logits, "the teacher's logits")
            found = self._head(head, heads[head], teacher_logits, context, features)
            for name, loss in found.items():
                weighted = self.distiller.task.weighted(head, loss)
                parts[name if head == MAIN else f"{name}.{head}"] = weighted
        return parts

    def _head(
        self, head: str, rows: Rows, teacher_logits: Tensor, context: Context, features: Features | None
    ) -> dict[str, Tensor]:
        truth = ground_truth(rows.labels, rows.logits)
        target_logits = corrected(self.method.targets, teacher_logits, truth)
        supervised = self._supervised(rows, teacher_logits, truth, context)
        modified = self._modified(rows.logits, target_logits, truth, context.epoch, moving=head == MAIN)
        by_labels = self.distiller.teacher is not None and self.distiller.teacher.needs_labels
        parts: dict[str, Tensor] = {}
        for term, loss in zip(self.method.terms, self.distiller.losses, strict=True):
            if term.features and (features is None or head != MAIN):
                continue
            weight = supervised.weight_for(loss, needs_labels=by_labels)
            factor: Tensor | float = 1.0
            if term.features:
                assert features is not None
                value = self._compare_features(term, loss, features, rows, truth, weight, context)
            else:
                value, factor = _compared(term, loss, modified, truth, weight)
            parts[term.name] = term.weight_at(context.epoch) * supervised.share(weight) * factor * value
            if isinstance(loss, AdversarialLoss):
                auxiliary = loss.auxiliary_loss(modified.student, modified.teacher, truth.classes, weight)
                parts[free_name("discriminator", parts)] = auxiliary
        return parts

    def _supervised(self, rows: Rows, teacher_logits: Tensor, truth: GroundTruth, context: Context) -> SupervisedRows:
        distiller, selection = self.distiller, self.method.selection
        selected = batch_weight(
            selection, distiller.selected, rows, teacher_logits, truth, context.indices, distiller.seed, context.epoch
        )
        return SupervisedRows.of(rows, truth, selected, selection, context.total)

    def _modified(
        self, logits: Tensor, target_logits: Tensor, truth: GroundTruth, epoch: int, *, moving: bool
    ) -> Modified:
        rows, epochs = Modified(logits, target_logits), self.distiller.epochs
        for modifier in self.distiller.modifiers:
            assert isinstance(modifier, Modifier)
            if modifier.follows_epochs and epochs is None:
                raise UserError(f"method {self.method.name!r}: follows the epochs, pass epochs= to Distiller")
            before = Modified(*rows.undivided) if modifier.ignores_scale else rows
            progress = epoch / (epochs or 1)
            after = modifier(before.student, before.teacher, truth.labels, progress)
            if moving and self.distiller.training:
                modifier.update(before.student, before.teacher, truth.labels, progress)
            factor, temperature = before.factor * after.factor, before.temperature * after.temperature
            rows = Modified(after.student, after.teacher, factor, temperature)
        return rows

    def _compare_features(
        self,
        term: Term,
        loss: nn.Module,
        features: Features,
        rows: Rows,
        truth: GroundTruth,
        weight: Tensor | None,
        context: Context,
    ) -> Tensor:
        pairs, selected = self.distiller.feature_pairs, self.distiller.selected
        assert pairs is not None
        student_features, teacher_features = pairs.of(term, features.student), pairs.of(term, features.teacher)
        labels: Tensor | None = truth.classes
        if rows.sample is not None:
            # Features are a sample's, not a row's.
            weight = None if selected is None or context.indices is None else selected[context.indices]
            labels = None
        compared: Tensor = loss(student_features, teacher_features, labels, weight, context.indices)
        return compared


def _compared(
    term: Term, loss: nn.Module, rows: Modified, truth: GroundTruth, weight: Tensor | None
) -> tuple[Tensor, Tensor | float]:
    """Return a loss of logits, and what it is multiplied by for the temperature in front of it."""
    if term.takes_temperature:
        return loss(*rows.undivided, truth.classes, weight, rows.temperature), 1.0
    divided = {"divided_by": rows.temperature} if isinstance(loss, LossModule) else {}
    value = loss(rows.student, rows.teacher, truth.classes, weight, **divided)
    return value, rows.factor if term.scales_with_temperature else 1.0
