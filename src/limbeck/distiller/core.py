"""``Distiller``: a student, a teacher and a method as one module, for the engine and for a user's own loop."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Self

import torch
from torch import Tensor, nn

from limbeck import methods, tasks
from limbeck.data.batch import Batch
from limbeck.distiller.checks import check_student_rows, class_count
from limbeck.distiller.extras import ExtraModules
from limbeck.distiller.features import FeaturePairs
from limbeck.distiller.given_teacher import given_teacher
from limbeck.distiller.measuring import Proxies
from limbeck.distiller.output import Output
from limbeck.distiller.processes import over_all_processes
from limbeck.distiller.running import run_student, run_teacher
from limbeck.distiller.selection import selected_samples
from limbeck.distiller.teacher_logits import corrected, label_logits, main_rows
from limbeck.distiller.teacher_scale import TeacherScale
from limbeck.distiller.terms import Context, Features, as_heads, label_parts, teacher_parts
from limbeck.errors import UserError
from limbeck.losses import AdversarialLoss
from limbeck.methods import Method, Term
from limbeck.modifiers import Modifier
from limbeck.ranks import are_several
from limbeck.rows import Rows, ground_truth
from limbeck.tasks import MAIN, Task
from limbeck.teachers import LabelTeacher, Teacher

Heads = Tensor | Rows | Mapping[str, Tensor | Rows]


class Distiller(nn.Module):
    """Compute a method's loss for a batch, given a student and a teacher.

    The teacher is frozen, in eval mode, and no part of this module's parameters, buffers or ``state_dict``; it follows
    the module to another device, and must share nothing with the student. ``distiller.student`` stays the plain module
    that came in. ``state_dict`` holds the student, what the method trains beside it, the selection made by
    :meth:`select`, and what :meth:`measure_teacher` measured. What is trained beside the student (a discriminator,
    adapters, a temperature) is made where the student is, in float64 if it is and in fp32 otherwise, and is never
    lowered to half precision.

    Args:
        student: The network to train.
        teacher: A network, a :class:`limbeck.teachers.Teacher`, or None for methods that need none. It is ignored by a
            method that has no teacher (``none``), so that methods can be compared by changing one word.
        method: A name, a composition such as ``"revise+select+dist"``, or a :class:`limbeck.methods.Method`.
        task: The task by name, or a :class:`limbeck.tasks.Task`: how outputs become rows of logits.
        num_classes: Number of classes; needed by methods with trainable parts of their own (``lw_kd``) or a virtual
            teacher (``tf_kd_reg``) when neither the task nor a last linear layer of the student has it.
        seed: Seed of what a selection draws at random.
        epochs: How many epochs the training will have; needed by methods whose temperature follows them (``dts``,
            ``ctkd``).
        check_finite: Check every batch's logits, the student's and the teacher's, and raise a :class:`RunError` that
            names those with nan or inf, and the rows. Waits for the device once a step (twice with a teacher).
        student_layers: Names of the student's layers whose features are compared, by methods that compare features
            (``fitnet``, ...; others ignore this and the next three); :func:`limbeck.models.feature_layers` lists what
            there is. By default the last stages of both networks, as many as both have.
        teacher_layers: Names of the teacher's layers, one for each of the student's.
        example: A batch of inputs (its values do not matter), from which such a method learns the features' shapes.
        num_samples: Number of training samples; needed by methods that remember each (``crd``).
        gather: Whether losses are means over the rows of all processes, and a selection chooses among these, so that N
            processes train as one with all their rows; None for where there are several. They must take their steps
            together. Losses that relate samples (``rkd``, ``sp``, ``pkt``) relate those of a process.

    Attributes:
        observer: Called with the head's name and the teacher's logits of every batch; None for nothing.

    Raises:
        UserError: If the method or task is unknown, or the method lacks the teacher or the layers it needs, or the
            teacher shares modules or parameters with the student.

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
        task: str | Task = "classification",
        num_classes: int | None = None,
        seed: int = 0,
        epochs: int | None = None,
        check_finite: bool = False,
        student_layers: Sequence[str] | None = None,
        teacher_layers: Sequence[str] | None = None,
        example: Any = None,
        num_samples: int | None = None,
        gather: bool | None = None,
    ) -> None:
        super().__init__()
        self.method = methods.create(method) if isinstance(method, str) else method
        self.method.check(num_classes)
        self.task = tasks.create(task, num_classes)
        self.student, self.seed, self.epochs, self.check_finite = student, seed, epochs, check_finite
        self.gather = gather
        self.observer: Callable[[str, Tensor], None] | None = None
        # Around nn.Module's bookkeeping: a registered teacher would enter state_dict, parameters() and DDP.
        self.__dict__["teacher"] = given_teacher(self.method, teacher, self.task, student, num_classes)
        pairs = None
        if any(term.features for term in self.method.terms):
            arguments = {"student_layers": student_layers, "teacher_layers": teacher_layers, "example": example}
            pairs = FeaturePairs(self.method, student, self.teacher, **arguments, num_samples=num_samples)
        self.__dict__["feature_pairs"] = pairs
        self.losses = ExtraModules(student, (self._loss(term, num_classes) for term in self.method.terms))
        self.modifiers = ExtraModules(student, (build() for build in self.method.modifiers))
        self.teacher_scale = TeacherScale(self.method, student)
        self.register_buffer("selected", None)

    @property
    def _changes_with_epochs(self) -> bool:
        moving = any(isinstance(modifier, Modifier) and modifier.follows_epochs for modifier in self.modifiers)
        return moving or any(term.warmup for term in self.method.terms)

    @property
    def gathers(self) -> bool:
        """Whether losses and choices are those of the rows of all processes: in training, where there are several."""
        return self.training and self.gather is not False and are_several()

    @property
    def _ddp_params_and_buffers_to_ignore(self) -> list[str]:
        # DistributedDataParallel looks for this name. It would copy a memory as large as the training set at each step.
        return [f"{path}.{name}" for path, part in self.named_modules() for name in getattr(part, "kept_equal", ())]

    def _loss(self, term: Term, num_classes: int | None) -> nn.Module:
        if self.feature_pairs is not None and term.features:
            return self.feature_pairs.build(term)
        return term.build(class_count(num_classes, self.task, self.student) if term.per_class else 0)

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
        """Iterate over the extra parameters that are trained against the student: those of discriminators."""
        return chain.from_iterable(loss.parameters() for loss in self.losses if isinstance(loss, AdversarialLoss))

    def forward(
        self, inputs: Any, labels: Any = None, indices: Tensor | None = None, epoch: int | None = None
    ) -> Output:
        """Run student and teacher on a batch and compute the loss.

        Args:
            inputs: The batch, as the student takes it; a mapping is passed as keyword arguments.
            labels: The ground truth, as the task takes it: in classification (N,) true classes, -100 for a sample
                without one, or (N, C) probabilities. In eval mode it may be missing: the student alone is then run.
            indices: (N,) positions in the training set; needed by a selection made over the whole training set, and
                used by teachers whose targets are a function of the sample.
            epoch: The epoch, from 0; needed by methods that change with it (``dts``, ``ctkd``, a ``warmup``), and used
                by teachers whose targets do.

        Returns:
            The loss to differentiate, its weighted parts, and the student's rows and logits.

        Raises:
            UserError: If the outputs do not become logits of one shape, labels or indices do not fit, or the epoch is
                missing.
            RunError: If ``check_finite`` is on and logits are not finite.
        """
        if labels is None and self.training:
            raise UserError("labels: got None in train mode, expected the ground truth (-100 where there is none)")
        if labels is not None:
            self._check_epoch(epoch)
        output, features = run_student(self, inputs, labels)
        rows = self.task.rows(output, labels)
        if labels is None:
            return Output(rows[MAIN].logits.new_zeros(()), {}, rows)
        heads = as_heads(rows)
        batch = Batch(inputs, labels, indices)
        counts: dict[str, Tensor] | None = {} if self.gathers else None
        context = Context(indices, epoch or 0, counts=counts)
        check_student_rows(heads, check_finite=self.check_finite)
        parts = label_parts(self, output, heads, None, counts)
        if self.teacher is not None:
            logits, teacher_features = self._teacher_heads(batch, output, heads, context.epoch)
            parts |= teacher_parts(self, heads, logits, context, Features(features, teacher_features))
        return self._summed(over_all_processes(parts, counts or {}), rows)

    def match(
        self,
        student_rows: Heads,
        teacher_rows: Heads | None = None,
        labels: Tensor | None = None,
        *,
        weight: Tensor | None = None,
        total: Tensor | float | None = None,
        indices: Tensor | None = None,
        epoch: int | None = None,
    ) -> Output:
        """Compute the loss from rows of logits, for callers that ran the networks already; neither is run here.

        Args:
            student_rows: (R, C) logits, :class:`limbeck.rows.Rows`, or either by head.
            teacher_rows: The teacher's, of the same shapes; None for methods without a teacher, and for teachers whose
                logits follow from the labels.
            labels: (R,) true classes, -100 where there is none, or (R, C) probabilities; None if the rows have theirs.
            weight: (R,) how much each row counts in every part; None if the rows have theirs, or all count alike.
            total: What sums over rows are divided by, instead of the number (the weight) of rows that were given: with
                the number of all steps' and processes' rows the loss does not depend on how they are split. Where
                processes average their gradients, divide it by the number of processes.
            indices: (N,) positions of the samples in the training set, as for :meth:`forward`.
            epoch: As for :meth:`forward`.

        Returns:
            As :meth:`forward`.

        Raises:
            UserError: If the method compares features, which are not given here, or as for :meth:`forward`.

        Example:
            >>> distiller = Distiller(nn.Linear(8, 3), nn.Linear(8, 3), method="lr+dist")
            >>> out = distiller.match(torch.randn(16, 3), torch.randn(16, 3), torch.randint(3, (16,)))
            >>> sorted(out.parts)
            ['ce', 'dist']
        """
        if self.feature_pairs is not None:
            raise UserError(f"method {self.method.name!r}: compares features, call the distiller with inputs instead")
        self._check_epoch(epoch)
        heads = as_heads(student_rows, labels, weight)
        check_student_rows(heads, check_finite=self.check_finite)
        counts: dict[str, Tensor] | None = {} if self.gathers and total is None else None
        parts = label_parts(self, None, heads, total, counts)
        if self.teacher is not None:
            context = Context(indices, epoch or 0, total, counts)
            parts |= teacher_parts(self, heads, self._given_heads(teacher_rows, heads, context), context)
        return self._summed(over_all_processes(parts, counts or {}), heads)

    def _check_epoch(self, epoch: int | None) -> None:
        if epoch is None and self._changes_with_epochs:
            raise UserError(f"epoch: got None, expected the epoch, from 0: method {self.method.name!r} changes with it")

    def _summed(self, parts: dict[str, Tensor], rows: Mapping[str, Rows]) -> Output:
        # Without any part a zero that is tied to the graph.
        losses = list(parts.values()) or [rows[MAIN].logits.sum() * 0]
        return Output(torch.stack(losses).sum(), parts, rows)

    @torch.no_grad()
    def _teacher_heads(
        self, batch: Batch, output: Any, heads: Mapping[str, Rows], epoch: int
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Return the teacher's logits by head, paired with the student's, and its features."""
        assert self.teacher is not None
        if isinstance(self.teacher, LabelTeacher):
            return label_logits(self.teacher, heads, batch.indices, epoch), []
        teacher_output, features = run_teacher(self, batch, output, epoch)
        return self._paired(heads, self.task.rows(self.task.aligned(teacher_output, output), batch.targets)), features

    def _given_heads(
        self, teacher_rows: Heads | None, heads: Mapping[str, Rows], context: Context
    ) -> dict[str, Tensor]:
        if isinstance(self.teacher, LabelTeacher):
            return label_logits(self.teacher, heads, context.indices, context.epoch)
        if teacher_rows is None:
            raise UserError(f"teacher_rows: got None, expected the teacher's logits for method {self.method.name!r}")
        return self._paired(heads, as_heads(teacher_rows, whose="teacher"))

    def _paired(self, heads: Mapping[str, Rows], teacher_heads: Mapping[str, Rows]) -> dict[str, Tensor]:
        return {head: logits for head, (_, logits) in self.task.pair(heads, teacher_heads).items()}

    @torch.no_grad()
    def teacher_targets(
        self, inputs: Any, labels: Any, indices: Tensor | None = None, epoch: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Return what the student's main head is compared with on a batch, without a graph.

        Args:
            inputs: The batch's inputs.
            labels: Its ground truth.
            indices: (N,) positions in the training set.
            epoch: The epoch, from 0.

        Returns:
            (R, C) the teacher's logits, and the same after the method's targets have corrected them.

        Raises:
            UserError: If the method has no teacher.
        """
        if self.teacher is None:
            raise UserError(f"method {self.method.name!r}: has no teacher")
        batch = Batch(inputs, labels, indices)
        return self._with_targets(self.teacher.answer(batch, epoch), batch)

    def _with_targets(self, output: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        assert self.teacher is not None
        rows = main_rows(self.task, output, self.teacher, batch)
        truth = ground_truth(rows.labels, rows.logits)
        return rows.logits, corrected(self.method.targets, self.teacher_scale(rows.logits), truth)

    def measure_teacher(
        self,
        batches: Iterable[Batch | tuple[Any, ...]],
        *,
        proxies: tuple[nn.Module, nn.Module] | None = None,
        half: Tensor | None = None,
    ) -> dict[str, float]:
        """Measure what the method has to know of its teacher before training: for ``tame``, for ``weigh``.

        Args:
            batches: Training samples without augmentation, each once: (inputs, labels, positions in the set). Some
                thousands at random are enough, but for ``weigh.by_row``; their logits are in memory together, of a map
                about 64 positions each.
            proxies: For ``weigh``, and for ``tame`` with ``max_confidence="auto"``: two students that were trained with
                labels alone for as long as the student will be, the first on the samples of ``half``, then the others.
            half: (samples,) bool by position, such as from :func:`limbeck.selection.halves`.

        Returns:
            The figures by name, such as ``tame.temperature``; :meth:`forward` uses them from now on.

        Raises:
            UserError: If the method has nothing to measure, or samples, positions or proxies are missing.
            RunError: If a logit is nan or infinite.

        Example:
            >>> from limbeck.methods import create
            >>> method = create("tame+kd", max_confidence=0.6)
            >>> distiller = Distiller(nn.Linear(8, 2), nn.Linear(8, 2), method=method)
            >>> data = torch.randn(40, 8), torch.randint(2, (40,))
            >>> distiller.measure_teacher([data])["tame.temperature"] >= 1
            True
            >>> out = distiller(*data)
        """
        if self.teacher is None:
            raise UserError(f"method {self.method.name!r}: has no teacher")
        given = None if proxies is None or half is None else Proxies(*proxies, half)
        return self.teacher_scale.measure(self.task, self.student, self.teacher, batches, given, seed=self.seed)

    def select(self, batches: Iterable[Batch | tuple[Any, ...]], *, proxy: nn.Module | None = None) -> Tensor:
        """Decide, over the whole training set, which samples the teacher supervises from now on.

        Args:
            batches: Every training sample once, without augmentation: (inputs, labels, positions in the set).
            proxy: The network whose logits are scored; the student as it is if None.

        Returns:
            (samples,) the mask, which :meth:`forward` then looks up by ``indices``.

        Raises:
            UserError: If the method selects nothing, or the scorer needs what student or task do not have: a last
                linear layer, one row a sample.

        Example:
            >>> distiller = Distiller(nn.Linear(8, 2), nn.Linear(8, 2), method="select+lr")
            >>> data = torch.randn(40, 8), torch.randint(2, (40,)), torch.arange(40)
            >>> mask = distiller.select([data])
            >>> int(mask.sum())
            32
            >>> out = distiller(*data)
        """
        if self.method.selection is None or self.teacher is None:
            raise UserError(f"method {self.method.name!r}: has no selection to make")
        self.selected = selected_samples(
            self.method.selection, self.task, proxy or self.student, self._unaugmented_targets, batches, seed=self.seed
        )
        return self.selected

    @torch.no_grad()
    def _unaugmented_targets(self, batch: Batch) -> tuple[Tensor, Tensor]:
        assert self.teacher is not None
        return self._with_targets(self.teacher.unaugmented(batch), batch)
