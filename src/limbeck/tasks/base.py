"""The contract of a task: how its outputs become rows of logits, and by what networks are measured."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from limbeck.errors import UserError
from limbeck.losses.cross_entropy import cross_entropy
from limbeck.models.calling import call_network
from limbeck.rows import Rows, check_logits, ground_truth
from limbeck.tasks.metrics import Evaluator, Metric

MAIN = "main"
"""The head whose logits are a distiller's ``out.logits``."""


class Task(ABC):
    """Turns a network's outputs into rows of logits, so that every method works on them.

    Subclasses set :attr:`name` and :attr:`metrics` and implement :meth:`rows` and :meth:`evaluator`; the other methods
    have defaults. A task holds settings alone: it can be copied and pickled with a distiller.

    Args:
        num_classes: Number of classes; None where it is taken from the outputs.

    Attributes:
        name: Its name in recipes.
        metrics: What is measured; the first is the one that networks are compared by.
        head_weights: The heads of an output, each with the weight of its losses; ``"main"`` is one of them.
        several_rows: Whether a sample always has several rows, so that a selection by influence is refused early.
        class_names: The classes' names; empty where they are not known.
        stores_maps: Whether a teacher's stored output has other shapes than (N, C), which are then taken from it.
        by_parts: Whether networks in training are run part by part, and the teacher on what the student found: then its
            output can be neither stored nor measured beforehand, and the student is not compiled as a whole.

    Example:
        >>> from limbeck.tasks import Classification
        >>> class Sentences(Classification):
        ...     def rows(self, output, targets):
        ...         return {"main": Rows(output["logits"], targets)}
        >>> Sentences().rows({"logits": torch.zeros(2, 3)}, torch.tensor([0, 2]))["main"].logits.shape
        torch.Size([2, 3])
    """

    name: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]]
    head_weights: Mapping[str, float] = {MAIN: 1.0}
    several_rows: ClassVar[bool] = False
    class_names: tuple[str, ...] = ()
    stores_maps: ClassVar[bool] = False
    by_parts: ClassVar[bool] = False

    def __init__(self, num_classes: int | None = None) -> None:
        self.num_classes = num_classes

    @property
    def primary(self) -> Metric:
        """The metric that networks are compared by."""
        return self.metrics[0]

    @property
    def row_classes(self) -> int | None:
        """The number of logits of a row: the classes, unless a task has rows of its own kind; None if not known."""
        return self.num_classes

    def check_targets(self, targets: Any, data: str) -> None:  # noqa: B027 - a task may have nothing to check
        """Check before a run that the ground truth of a data set is this task's; by default nothing is.

        Args:
            targets: The ground truth of some samples.
            data: The data's name.

        Raises:
            UserError: If it is not.
        """

    def call(self, network: nn.Module, inputs: Any) -> Any:
        """Run a network on a batch's inputs; see :func:`limbeck.models.calling.call_network`."""
        return call_network(network, inputs)

    def student_inputs(self, inputs: Any, targets: Any) -> Any:  # noqa: ARG002 - for tasks that need it
        """Return what the student is run on in train mode: a batch's inputs, or more, such as its ground truth.

        Raises:
            UserError: If the ground truth is not this task's.
        """
        return inputs

    def check_teacher(self, student: nn.Module, teacher: nn.Module) -> None:  # noqa: B027 - a task may take any
        """Check that a teacher can be paired with the student; by default any can.

        Args:
            student: The student.
            teacher: A network, or a :class:`limbeck.teachers.Teacher`.

        Raises:
            UserError: If it cannot.
        """

    def teacher_inputs(self, inputs: Any, student_output: Any) -> Any:  # noqa: ARG002 - for tasks that need it
        """Return what the teacher is run on: the student's inputs, or more, such as the student's regions."""
        return inputs

    @abstractmethod
    def rows(self, output: Any, targets: Any) -> Mapping[str, Rows]:
        """Turn an output into rows, by head.

        Args:
            output: What a network returned.
            targets: The batch's ground truth; None without any.

        Returns:
            The rows of each head. Positions without supervision are left out, the same ones for student and teacher.
        """

    def supervised_rows(self, targets: Any, samples: int) -> Tensor | int:  # noqa: ARG002 - for tasks that count rows
        """Return how many rows the ground truth of a batch supervises, by which batches of one update are weighed.

        Args:
            targets: The batch's ground truth.
            samples: How many samples it has, which is the answer by default.
        """
        return samples

    def measured_rows(self, output: Any, targets: Any) -> Iterator[Rows]:
        """Yield the main head's rows as the figures count them, in pieces that fit into memory; by default all rows.

        Args:
            output: What a network returned in eval mode.
            targets: The batch's ground truth.
        """
        yield self.rows(output, targets)[MAIN]

    def aligned(self, output: Any, paired: Any) -> Any:  # noqa: ARG002 - for tasks that need it
        """Return a teacher's output as it pairs with the student's, such as maps in the student's size.

        Args:
            output: The output of one network, such as the teacher's.
            paired: That of the other, on the same batch.
        """
        return output

    def taught(
        self,
        rows: Rows,
        logits: Tensor,
        indices: Tensor | None,  # noqa: ARG002 - for tasks that choose rows
        epoch: int,  # noqa: ARG002
    ) -> tuple[Rows, Tensor]:
        """Return the rows that the losses against the teacher see, and the teacher's logits of these; by default all.

        Args:
            rows: The student's rows of a head.
            logits: (R, C) the teacher's logits of them.
            indices: (N,) positions of the samples in the training set; None where they are not known.
            epoch: The epoch, from 0.
        """
        return rows, logits

    def pair(self, student: Mapping[str, Rows], teacher: Mapping[str, Rows]) -> dict[str, tuple[Rows, Tensor]]:
        """Return, for each head that both networks have, the student's rows and the teacher's logits.

        Raises:
            UserError: If the teacher lacks the main head, or has no rows of logits.
        """
        if MAIN not in teacher:
            raise UserError(f"the teacher's output: has the heads {', '.join(teacher)}, expected {MAIN!r} among them")
        pairs = {head: (rows, teacher[head].logits) for head, rows in student.items() if head in teacher}
        for head, (_, logits) in pairs.items():
            check_logits(logits, "the teacher's output" if head == MAIN else f"the teacher's output {head!r}")
        return pairs

    def ground_truth(
        self,
        output: Any,  # noqa: ARG002 - for tasks with losses of their own
        rows: Mapping[str, Rows],
        *,
        label_smoothing: float = 0.0,
        total: Tensor | float | None = None,
    ) -> dict[str, Tensor]:
        """Return the losses with the ground truth, by head, each times its head's weight; by default cross-entropies.

        Args:
            output: The student's output; None where only its rows are known.
            rows: The student's rows by head.
            label_smoothing: The share of a label that is spread over all classes.
            total: What a sum over rows is divided by, instead of their number.
        """
        losses = {}
        for head, part in rows.items():
            loss = cross_entropy(
                part.logits, part.labels, weight=part.weight, label_smoothing=label_smoothing, total=total
            )
            losses[head] = self.weighted(head, loss)
        return losses

    def weighted(self, head: str, loss: Tensor) -> Tensor:
        """Multiply a loss by the weight of its head."""
        weight = self.head_weights.get(head, 1.0)
        return loss if weight == 1 else weight * loss

    @torch.no_grad()
    def figures(self, rows: Mapping[str, Rows]) -> dict[str, Tensor]:
        """Return what a training reports of a batch beside its losses, each a sum over the batch's samples.

        By default the primary metric is taken for the share of the main head's labeled rows whose largest logit is the
        true class; a task with another primary metric overrides this, or returns nothing.

        Args:
            rows: The student's rows by head.
        """
        logits, labels, _, sample = rows[MAIN]
        truth = ground_truth(labels, logits)
        right = logits.argmax(dim=1) == truth.classes
        if truth.labeled is None and sample is None:
            return {self.primary.name: right.sum()}
        labeled = torch.ones_like(right) if truth.labeled is None else truth.labeled
        samples = len(right) if sample is None or not len(sample) else int(sample.max()) + 1
        return {self.primary.name: samples * (right & labeled).sum() / labeled.sum().clamp_min(1)}

    def check_mixed(self) -> None:
        """Check that ground truth of this task can be mixed, as mixup and CutMix do.

        Raises:
            UserError: If it cannot, as by default.
        """
        raise UserError(f"training.mix: got one, but the ground truth of task {self.name!r} cannot be mixed")

    def mixed(self, targets: Any, share: float) -> Any:  # noqa: ARG002 - for tasks that can
        """Mix the ground truth of sample i of N with that of sample N - 1 - i.

        Args:
            targets: A batch's ground truth.
            share: How much of each sample is its own, from 0 to 1.

        Raises:
            UserError: If that is not possible, as by default.
        """
        self.check_mixed()

    @abstractmethod
    def evaluator(self) -> Evaluator:
        """Return what collects a network's outputs on a split."""

    def check(self, output: Any, num_classes: int, role: str, data: str) -> None:
        """Check before a run that a network's output fits the data.

        Args:
            output: What the network returned for an example batch.
            num_classes: The number of classes of the data.
            role: The network, at the beginning of an error's line.
            data: The data's name.

        Raises:
            UserError: If it does not fit.
        """
        logits = self.rows(output, None)[MAIN].logits
        if logits.shape[1] != num_classes:
            mapped = role.startswith("teacher") and logits.shape[1] > num_classes
            columns = ", or the column of each as teacher.classes" if mapped else ""
            raise UserError(f"{role}: gives {logits.shape[1]} classes, expected the {num_classes} of {data}{columns}")
