"""``Distiller``: a student, a teacher and a method as one module, for the engine and for anybody's own loop."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limbeck import methods
from limbeck.distiller.extras import ExtraModules
from limbeck.distiller.features import FeatureOptions, FeaturePairs
from limbeck.distiller.selection import selected_rows
from limbeck.errors import RunError, UserError
from limbeck.losses import AdversarialLoss
from limbeck.losses._module import LossModule
from limbeck.methods import Method, Term
from limbeck.methods.method import free_name
from limbeck.modifiers import Modified, Modifier
from limbeck.rows import check_labels, check_logits, full
from limbeck.teachers import LiveTeacher, Teacher, VirtualTeacher

_NEEDED = {
    "any": "pass teacher=, a trained network",
    "live": "pass teacher=, a trained network",
    "self": "pass teacher=, a trained copy of the student",
    "lightweight": "pass teacher=LightweightTeacher(train_lightweight(num_classes)) from limbeck.teachers",
}


class Output(NamedTuple):
    """What one forward of a :class:`Distiller` returns.

    Attributes:
        loss: The scalar to differentiate: the sum of ``parts``.
        parts: Every weighted part by name, ``"ce"`` for the ground truth.
        logits: (N, C) the student's logits.
    """

    loss: Tensor
    parts: dict[str, Tensor]
    logits: Tensor


class Distiller(nn.Module):
    """Compute a method's loss for a batch, given a student and a teacher.

    The teacher is frozen, in eval mode, and no part of this module's parameters, buffers or ``state_dict``; it follows
    the module to another device, and must share nothing with the student. ``distiller.student`` stays the plain module
    that came in. ``state_dict`` holds the student, what the method trains beside it, and the selection made by
    :meth:`select`. What is trained beside the student (a discriminator, adapters, a temperature) is made where the
    student is, in float64 if it is and in fp32 otherwise, and is never lowered to half precision.

    Args:
        student: The network to train; its output is (N, C) logits.
        teacher: A network, a :class:`limbeck.teachers.Teacher`, or None for methods that need none. It is ignored by a
            method that has no teacher (``none``), so that methods can be compared by changing one word.
        method: A name, a composition such as ``"revise+select+dist"``, or a :class:`limbeck.methods.Method`.
        num_classes: Number of classes; needed by methods with trainable parts of their own (``lw_kd``) or a virtual
            teacher (``tf_kd_reg``) when the student does not end in a linear layer that tells.
        seed: Seed of what a selection draws at random.
        epochs: How many epochs the training will have; needed by methods whose temperature follows them (``dts``,
            ``ctkd``).
        check_finite: Look at every batch's logits, the student's and the teacher's, and raise a :class:`RunError` that
            says whose have nan or inf, and in how many rows. Waits for the device once a step (twice with a teacher).
        student_layers: Names of the student's layers whose features are compared, by methods that compare features
            (``fitnet``, ...; others ignore this and the next three); :func:`limbeck.models.feature_layers` lists what
            there is. By default the last stages of both networks, as many as both have.
        teacher_layers: Names of the teacher's layers, one for each of the student's.
        example: A batch of inputs (its values do not matter), from which such a method learns the features' shapes.
        num_samples: Number of training samples; needed by methods that remember each (``crd``).

    Raises:
        UserError: If the method is unknown or lacks the teacher or the layers it needs, or the teacher shares modules
            or parameters with the student.

    Example:
        >>> student, teacher = nn.Linear(8, 3), nn.Linear(8, 3)
        >>> distiller = Distiller(student, teacher, method="dist")
        >>> out = distiller(torch.randn(16, 8), torch.randint(3, (16,)))
        >>> sorted(out.parts), out.logits.shape
        (['ce', 'dist'], torch.Size([16, 3]))
        >>> out.loss.backward()
        >>> teacher.weight.grad is None, "student.weight" in distiller.state_dict()
        (True, True)
    """

    selected: Tensor | None
    teacher: Teacher | None
    feature_pairs: FeaturePairs | None

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module | None = None,
        method: str | Method = "kd",
        *,
        num_classes: int | None = None,
        seed: int = 0,
        epochs: int | None = None,
        check_finite: bool = False,
        student_layers: Sequence[str] | None = None,
        teacher_layers: Sequence[str] | None = None,
        example: Tensor | None = None,
        num_samples: int | None = None,
    ) -> None:
        super().__init__()
        self.check_finite = check_finite
        self.method = methods.create(method) if isinstance(method, str) else method
        self.student, self.seed, self.epochs = student, seed, epochs
        # Set around nn.Module's bookkeeping: a registered teacher would enter state_dict, parameters() and DDP, and the
        # extractors' student would be there twice.
        self.__dict__["teacher"] = self._teacher(teacher, num_classes)
        sources = FeatureOptions(student_layers, teacher_layers, example, num_samples)
        self.__dict__["feature_pairs"] = self._feature_pairs(sources)
        self.losses = ExtraModules(student, (self._loss(term, num_classes) for term in self.method.terms))
        self.modifiers = ExtraModules(student, (build() for build in self.method.modifiers))
        self.register_buffer("selected", None)

    @property
    def _changes_with_epochs(self) -> bool:
        moving = any(isinstance(modifier, Modifier) and modifier.follows_epochs for modifier in self.modifiers)
        return moving or any(term.warmup for term in self.method.terms)

    @property
    def _ddp_params_and_buffers_to_ignore(self) -> list[str]:
        # DistributedDataParallel looks for this name. It would copy a memory as large as the training set at each step.
        modules = self.named_modules()
        return [f"{path}.{name}" for path, module in modules for name in getattr(module, "kept_equal", ())]

    def _teacher(self, teacher: nn.Module | None, num_classes: int | None) -> Teacher | None:
        needed = self.method.teacher
        if needed is None:
            return None
        if teacher is None and needed == "virtual":
            return VirtualTeacher(_classes(num_classes, self.student))
        if teacher is None:
            raise UserError(f"method {self.method.name!r}: needs a teacher, {_NEEDED[needed]}")
        _check_apart(self.student, teacher)
        return teacher if isinstance(teacher, Teacher) else LiveTeacher(teacher)

    def _feature_pairs(self, sources: FeatureOptions) -> FeaturePairs | None:
        compares = any(term.features for term in self.method.terms)
        return FeaturePairs(self.method, self.student, self.teacher, sources) if compares else None

    def _loss(self, term: Term, num_classes: int | None) -> nn.Module:
        if self.feature_pairs is not None and term.features:
            return self.feature_pairs.build(term)
        return term.build(_classes(num_classes, self.student) if term.per_class else 0)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        if self.teacher is not None:
            self.teacher._apply(fn, recurse)  # type: ignore[no-untyped-call]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        if f"{prefix}listeners" in state_dict:
            # Its name in version 0.1.
            state_dict[f"{prefix}selected"] = state_dict.pop(f"{prefix}listeners")
        # The mask of a selection is as long as the training set that it was made on: the saved one takes its place.
        mask = state_dict.get(f"{prefix}selected")
        device = next(self.student.parameters()).device
        self.selected = None if mask is None else torch.empty_like(mask, device=device)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def student_parameters(self) -> Iterator[nn.Parameter]:
        """Iterate over the student's parameters."""
        return self.student.parameters()

    def extra_parameters(self) -> Iterator[nn.Parameter]:
        """Iterate over what the method trains beside the student, such as LW-KD's discriminator or FitNet's regressor.

        One optimizer over ``distiller.parameters()`` trains both; two optimizers may share the one backward.
        """
        return chain(self.losses.parameters(), self.modifiers.parameters())

    def adversary_parameters(self) -> Iterator[nn.Parameter]:
        """Iterate over those of the extra parameters that play against the student: discriminators."""
        adversaries = [loss for loss in self.losses if isinstance(loss, AdversarialLoss)]
        return chain.from_iterable(loss.parameters() for loss in adversaries)

    def forward(
        self, inputs: Tensor, labels: Tensor, indices: Tensor | None = None, epoch: int | None = None
    ) -> Output:
        """Run student and teacher on a batch and compute the loss.

        Args:
            inputs: The batch, as the student takes it.
            labels: (N,) true classes.
            indices: (N,) positions in the training set; needed by a selection made over the whole training set, and
                used by teachers whose targets are a function of the sample.
            epoch: The epoch, from 0; needed by methods that change with it (``dts``, ``ctkd``, a ``warmup``), and used
                by teachers whose targets do.

        Returns:
            The loss to differentiate, its weighted parts, and the student's logits.

        Raises:
            UserError: If the outputs are no (N, C) logits of one shape, labels or indices do not fit, or the epoch is
                missing.
            RunError: If ``check_finite`` is on and logits are not finite.
        """
        if epoch is None and self._changes_with_epochs:
            raise UserError(f"epoch: got None, expected the epoch, from 0: method {self.method.name!r} changes with it")
        logits, features = (
            (self.student(inputs), []) if self.feature_pairs is None else self.feature_pairs.run_student(inputs)
        )
        check_logits(logits, "the student's output")
        if self.check_finite:
            _check_finite(logits, "the student's logits")
        labels = check_labels(labels, logits).long()
        parts = self._ground_truth(logits, labels)
        if self.teacher is not None:
            parts.update(self._teacher_terms(logits, features, inputs, labels, indices, epoch or 0))
        return Output(torch.stack(list(parts.values())).sum(), parts, logits)

    def _ground_truth(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        if not self.method.ce_weight:
            return {}
        # A mean over no rows is nan; a sum is a zero that is tied to the graph.
        reduction = "mean" if len(labels) else "sum"
        smoothing = self.method.label_smoothing
        loss = F.cross_entropy(full(logits), labels, label_smoothing=smoothing, reduction=reduction)
        return {"ce": self.method.ce_weight * loss}

    def teacher_targets(
        self, inputs: Tensor, labels: Tensor, indices: Tensor | None = None, epoch: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Ask the teacher about a batch, without a graph.

        Returns:
            (N, C) the teacher's logits, and the same after the method's targets have corrected them.

        Raises:
            UserError: If the method has no teacher.
        """
        if self.teacher is None:
            raise UserError(f"method {self.method.name!r}: has no teacher to ask")
        with torch.no_grad():
            teacher_logits = self.teacher(inputs, labels, indices, epoch)
        return teacher_logits, self._target_logits(teacher_logits, labels)

    @torch.no_grad()
    def _target_logits(self, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        for target in self.method.targets:
            teacher_logits = target(teacher_logits, labels)
        return teacher_logits

    def _teacher_answers(
        self, inputs: Tensor, labels: Tensor, indices: Tensor | None, epoch: int
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        if self.feature_pairs is None:
            return *self.teacher_targets(inputs, labels, indices, epoch), []
        teacher_logits, features = self.feature_pairs.run_teacher(inputs)
        return teacher_logits, self._target_logits(teacher_logits, labels), features

    def _teacher_terms(
        self,
        logits: Tensor,
        features: list[Tensor],
        inputs: Tensor,
        labels: Tensor,
        indices: Tensor | None,
        epoch: int,
    ) -> dict[str, Tensor]:
        teacher_logits, target_logits, known = self._teacher_answers(inputs, labels, indices, epoch)
        if self.check_finite:
            _check_finite(teacher_logits, "the teacher's logits")
        weight = self._selection_weight(logits, teacher_logits, labels, indices, epoch)
        share = self._share(weight, full(logits[:0]).dtype)
        rows = self._modified(logits, target_logits, labels, epoch)
        parts: dict[str, Tensor] = {}
        for term, loss in zip(self.method.terms, self.losses, strict=True):
            factor: Tensor | float = 1.0
            if self.feature_pairs is not None and term.features:
                own, other = self.feature_pairs.of(term, features), self.feature_pairs.of(term, known)
                value = loss(own, other, labels, weight, indices)
            else:
                value, factor = _compared(term, loss, rows, labels, weight)
            parts[term.name] = term.weight_at(epoch) * share * factor * value
            if isinstance(loss, AdversarialLoss):
                own_part = loss.auxiliary_loss(rows.student, rows.teacher, labels, weight)
                parts[free_name("discriminator", parts)] = own_part
        return parts

    def _modified(self, logits: Tensor, target_logits: Tensor, labels: Tensor, epoch: int) -> Modified:
        rows = Modified(logits, target_logits)
        for modifier in self.modifiers:
            if modifier.follows_epochs and self.epochs is None:
                raise UserError(f"method {self.method.name!r}: follows the epochs, pass epochs= to Distiller")
            before = Modified(*rows.undivided) if modifier.ignores_scale else rows
            after = modifier(before.student, before.teacher, labels, epoch / (self.epochs or 1))
            factor, temperature = before.factor * after.factor, before.temperature * after.temperature
            rows = Modified(after.student, after.teacher, factor, temperature)
        return rows

    def _share(self, weight: Tensor | None, dtype: torch.dtype) -> Tensor | float:
        """Return what a loss that divides by the selected rows is multiplied by, to divide by all rows if so set."""
        selection = self.method.selection
        if weight is None or selection is None or selection.divide_by == "selected":
            return 1.0
        return weight.to(dtype).sum() / max(len(weight), 1)

    def _selection_weight(
        self, logits: Tensor, teacher_logits: Tensor, labels: Tensor, indices: Tensor | None, epoch: int
    ) -> Tensor | None:
        selection = self.method.selection
        if selection is None:
            return None
        if self.selected is not None:
            if indices is None:
                raise UserError(
                    "indices: got None, expected each sample's position, for the selection made by select()"
                )
            return self.selected[indices]
        if selection.needs_training_set:
            raise UserError(
                f"selection by {selection.scorer!r}: needs the whole training set, call distiller.select(batches)"
            )
        return selection.batch_mask(
            logits.detach(), teacher_logits, labels, indices=indices, seed=self.seed, epoch=epoch
        )

    def select(self, batches: Iterable[tuple[Tensor, Tensor, Tensor]], *, proxy: nn.Module | None = None) -> Tensor:
        """Decide, over the whole training set, which samples listen to the teacher from now on.

        Args:
            batches: Every training sample once, without augmentation: (inputs, labels, positions in the set).
            proxy: The network whose view is scored; the student as it stands if None.

        Returns:
            (samples,) the mask, which :meth:`forward` then looks up by ``indices``.

        Raises:
            UserError: If the method selects nothing, or the scorer needs a last linear layer that is not there.

        Example:
            >>> distiller = Distiller(nn.Linear(8, 2), nn.Linear(8, 2), method="lr_ds")
            >>> data = torch.randn(40, 8), torch.randint(2, (40,)), torch.arange(40)
            >>> mask = distiller.select([data])
            >>> int(mask.sum())
            32
            >>> out = distiller(*data)
        """
        if self.method.selection is None or self.teacher is None:
            raise UserError(f"method {self.method.name!r}: has no selection to make")
        self.selected = selected_rows(
            self.method.selection, proxy or self.student, self._unaugmented_targets, batches, seed=self.seed
        )
        return self.selected

    @torch.no_grad()
    def _unaugmented_targets(
        self, inputs: Tensor, labels: Tensor, indices: Tensor, epoch: int
    ) -> tuple[Tensor, Tensor]:
        assert self.teacher is not None
        teacher_logits = self.teacher.unaugmented(inputs, labels, indices, epoch)
        return teacher_logits, self._target_logits(teacher_logits, labels)


def _compared(
    term: Term, loss: nn.Module, rows: Modified, labels: Tensor, weight: Tensor | None
) -> tuple[Tensor, Tensor | float]:
    """Return a loss of logits, and what it is multiplied by for the temperature in front of it."""
    if term.takes_temperature:
        return loss(*rows.undivided, labels, weight, rows.temperature), 1.0
    divided = {"divided_by": rows.temperature} if isinstance(loss, LossModule) else {}
    value = loss(rows.student, rows.teacher, labels, weight, **divided)
    return value, rows.factor if term.scales_with_temperature else 1.0


def _check_finite(logits: Tensor, whose: str) -> None:
    rows = (~logits.detach().isfinite()).any(dim=1).nonzero()[:, 0].tolist()
    if rows:
        listed = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
        raise RunError(f"{whose}: nan or inf in {len(rows)} of the batch's {len(logits)} rows ({listed})")


def _check_apart(student: nn.Module, teacher: nn.Module) -> None:
    expected = "expected another network or a copy (copy.deepcopy)"
    if teacher is student:
        raise UserError(f"teacher: got the student itself, {expected}")
    own = {id(part) for part in chain(student.modules(), student.parameters(), student.buffers())}
    parts = chain(teacher.named_modules(), teacher.named_parameters(), teacher.named_buffers())
    shared = next((name for name, part in parts if id(part) in own), None)
    if shared is not None:
        what = f"shares {shared!r} with the student" if shared else "is a part of the student"
        raise UserError(f"teacher: {what}, which would be frozen with it; {expected}")


def _classes(num_classes: int | None, student: nn.Module) -> int:
    if num_classes is not None:
        return num_classes
    linear = [module for module in student.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise UserError("num_classes: not given, and the student has no linear layer that tells")
    return linear[-1].out_features
