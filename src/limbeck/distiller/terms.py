"""The losses against the teacher: targets, selection, modifiers and losses on the rows of every head."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from limbeck.distiller.checks import check_finite_logits
from limbeck.distiller.selection import batch_weight
from limbeck.errors import UserError
from limbeck.losses import AdversarialLoss
from limbeck.losses._module import LossModule
from limbeck.methods import Term
from limbeck.methods.method import free_name
from limbeck.modifiers import Modified, Modifier
from limbeck.rows import GroundTruth, Rows, check_logits, full, ground_truth
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


class _Supervised(NamedTuple):
    """The rows of a head that the teacher supervises.

    Attributes:
        truth: Their labels.
        weight: (R,) how much each row counts; None for all alike.
        share: What losses are multiplied by, so that they are divided as the selection and ``total`` ask for.
    """

    truth: GroundTruth
    weight: Tensor | None
    share: Tensor | float


def as_heads(
    rows: Tensor | Rows | Mapping[str, Tensor | Rows], labels: Tensor | None = None, weight: Tensor | None = None
) -> dict[str, Rows]:
    """Write rows of logits of any form as rows by head, and check them.

    Args:
        rows: (R, C) logits, rows, or either by head.
        labels: Labels that take the place of the rows' own.
        weight: Weights that take the place of the rows' own.

    Raises:
        UserError: If logits are no float (R, C), or weights no (R,).

    Example:
        >>> as_heads(torch.zeros(2, 3), torch.tensor([0, 1]))["main"].labels
        tensor([0, 1])
    """
    heads = rows if isinstance(rows, Mapping) else {MAIN: rows}
    named = {head: part if isinstance(part, Rows) else Rows(part) for head, part in heads.items()}
    given = {key: value for key, value in (("labels", labels), ("weight", weight)) if value is not None}
    for head, part in named.items():
        check_logits(part.logits, "the student's output" if head == MAIN else f"the student's output {head!r}")
        part_weight = part._replace(**given).weight
        if part_weight is not None and part_weight.shape != part.logits.shape[:1]:
            raise UserError(f"weight: got {tuple(part_weight.shape)}, expected one a row, ({len(part.logits)},)")
    return {head: part._replace(**given) for head, part in named.items()} if given else named


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
        target_logits = self.distiller.target_logits(teacher_logits, truth)
        supervised = self._supervised(rows, teacher_logits, truth, context)
        modified = self._modified(rows.logits, target_logits, truth, context.epoch, moving=head == MAIN)
        parts: dict[str, Tensor] = {}
        for term, loss in zip(self.method.terms, self.distiller.losses, strict=True):
            if term.features:
                if features is None or head != MAIN:
                    continue
                value: Tensor = self._compare_features(term, loss, features, supervised, rows, context)
                factor: Tensor | float = 1.0
            else:
                value, factor = _compared(term, loss, modified, supervised)
            parts[term.name] = term.weight_at(context.epoch) * supervised.share * factor * value
            if isinstance(loss, AdversarialLoss):
                weight = _labeled_weight(supervised)
                auxiliary = loss.auxiliary_loss(modified.student, modified.teacher, truth.classes, weight)
                parts[free_name("discriminator", parts)] = auxiliary
        return parts

    def _supervised(self, rows: Rows, teacher_logits: Tensor, truth: GroundTruth, context: Context) -> _Supervised:
        distiller, selection = self.distiller, self.method.selection
        weight = batch_weight(
            selection, distiller.selected, rows, teacher_logits, truth, context.indices, distiller.seed, context.epoch
        )
        dtype = full(rows.logits[:0]).dtype
        share = self._share(weight, rows.weight, len(rows.logits), dtype, context.total)
        if rows.weight is not None:
            weight = rows.weight if weight is None else weight.to(dtype) * rows.weight
        if truth.labeled is not None and distiller.teacher is not None and distiller.teacher.needs_labels:
            # Such a teacher knows nothing about a row without a label.
            weight = truth.labeled if weight is None else weight * truth.labeled
        return _Supervised(truth, weight, share)

    def _share(
        self,
        selected: Tensor | None,
        weight: Tensor | None,
        count: int,
        dtype: torch.dtype,
        total: Tensor | float | None,
    ) -> Tensor | float:
        """Return what a loss that divides by the weights of its rows is multiplied by, to divide by all rows."""
        selection = self.method.selection
        by_all = selected is not None and selection is not None and selection.divide_by == "all"
        if not by_all:
            return 1.0 if total is None else (count if weight is None else weight.to(dtype).sum()) / total
        assert selected is not None
        kept = selected.to(dtype) if weight is None else selected.to(dtype) * weight
        everything: Tensor | float = max(count, 1) if weight is None else weight.to(dtype).sum()
        return kept.sum() / (everything if total is None else total)

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
        self, term: Term, loss: nn.Module, features: Features, supervised: _Supervised, rows: Rows, context: Context
    ) -> Tensor:
        pairs = self.distiller.feature_pairs
        assert pairs is not None
        student_features, teacher_features = pairs.of(term, features.student), pairs.of(term, features.teacher)
        labels = supervised.truth.classes if rows.sample is None else None
        weight = supervised.weight if rows.sample is None else self._sample_weight(context)
        compared: Tensor = loss(student_features, teacher_features, labels, weight, context.indices)
        return compared

    def _sample_weight(self, context: Context) -> Tensor | None:
        selected = self.distiller.selected
        return None if selected is None or context.indices is None else selected[context.indices]


def _labeled_weight(supervised: _Supervised) -> Tensor | None:
    """Return the rows' weights for a loss that needs their labels: without one a row counts nothing."""
    labeled, weight = supervised.truth.labeled, supervised.weight
    if labeled is None:
        return weight
    return labeled if weight is None else weight * labeled


def _compared(term: Term, loss: nn.Module, rows: Modified, supervised: _Supervised) -> tuple[Tensor, Tensor | float]:
    """Return a loss of logits, and what it is multiplied by for the temperature in front of it."""
    labels, weight = supervised.truth.classes, supervised.weight
    if getattr(loss, "needs_labels", False):
        weight = _labeled_weight(supervised)
    if term.takes_temperature:
        return loss(*rows.undivided, labels, weight, rows.temperature), 1.0
    divided = {"divided_by": rows.temperature} if isinstance(loss, LossModule) else {}
    value = loss(rows.student, rows.teacher, labels, weight, **divided)
    return value, rows.factor if term.scales_with_temperature else 1.0
