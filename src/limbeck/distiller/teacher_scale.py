"""The numbers that scale a teacher: measured over the training set before the first epoch, and kept in checkpoints."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.data.batch import Batch
from limbeck.distiller.checks import check_finite_logits
from limbeck.distiller.extras import KeptWide
from limbeck.distiller.modes import evaluating
from limbeck.distiller.teacher_logits import label_logits
from limbeck.errors import UserError
from limbeck.methods import Method
from limbeck.randomness.hashing import random_bits
from limbeck.rows import Rows
from limbeck.targets import mean_confidence, tame_logits, taming_temperature
from limbeck.tasks import MAIN, Task
from limbeck.teachers import LabelTeacher, Teacher

# Of a sample of many rows, such as a map, about so many are measured.
ROWS_OF_A_SAMPLE = 64
_ROWS_STREAM = 402


class TeacherScale(KeptWide):
    """A method's numbers that are measured on its teacher: the temperature of ``tame``.

    Args:
        method: The method.
        student: Where it is, the numbers are, in float64 if it is and in fp32 otherwise.

    Attributes:
        temperature: What the teacher's logits are divided by; None until it is measured, and for methods without one.

    Example:
        >>> import limbeck
        >>> scale = TeacherScale(limbeck.methods.create("tame+kd", tau=2.0), nn.Linear(2, 2))
        >>> scale(torch.tensor([[4.0, 0.0]]))
        tensor([[2., 0.]])
    """

    temperature: Tensor | None
    _place: Tensor

    def __init__(self, method: Method, student: nn.Module) -> None:
        super().__init__()
        self.method = method
        weights = next(student.parameters(), torch.empty(0))
        wide = torch.float64 if weights.dtype == torch.float64 else torch.float32
        self.register_buffer("_place", torch.empty(0, device=weights.device, dtype=wide), persistent=False)
        tau = None if method.taming is None else method.taming.tau
        self.register_buffer("temperature", None if tau is None else self._number(tau))

    def _number(self, value: float) -> Tensor:
        return torch.tensor(value, device=self._place.device, dtype=self._place.dtype)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # What was measured when the state was saved takes the place of what is here.
        saved = state_dict.get(f"{prefix}temperature")
        self.temperature = None if saved is None else self._number(0.0)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    @property
    def needs_measuring(self) -> bool:
        """Whether the method has numbers that follow from the teacher."""
        return self.method.taming is not None and self.method.taming.needs_measuring

    def forward(self, teacher_logits: Tensor) -> Tensor:
        """Return the teacher's logits, divided by its temperature where the method tames it.

        Args:
            teacher_logits: (R, C) logits.

        Raises:
            UserError: If the temperature was not measured.
        """
        if self.method.taming is None:
            return teacher_logits
        if self.temperature is None:
            expected = "call distiller.measure_teacher(batches) before training"
            raise UserError(f"method {self.method.name!r}: the teacher's temperature is not measured, {expected}")
        return tame_logits(teacher_logits, self.temperature)

    def measure(self, rows: Iterable[Rows]) -> dict[str, float]:
        """Measure the numbers on the teacher's rows.

        Args:
            rows: The teacher's rows, batch by batch; see :func:`measured_rows`.

        Returns:
            The figures by name: ``tame.confidence``, the teacher's mean largest probability, and those of
            :meth:`figures`.

        Raises:
            UserError: If the method has nothing to measure, or there are no rows.
        """
        taming = self.method.taming
        if taming is None or not self.needs_measuring:
            raise UserError(f"method {self.method.name!r}: has nothing to measure on a teacher, expected tame in it")
        logits = [part.logits.cpu() for part in rows]
        if not sum(map(len, logits)):
            raise UserError("batches: got no rows, expected the training set")
        every = torch.cat(logits)
        self.temperature = self._number(taming_temperature(every, taming.max_confidence))
        return {"tame.confidence": mean_confidence(every), **self.figures()}

    def figures(self) -> dict[str, float]:
        """Return the measured numbers by name, such as ``tame.temperature``."""
        return {} if self.temperature is None else {"tame.temperature": self.temperature.item()}


@torch.no_grad()
def measured_rows(
    task: Task, student: nn.Module, teacher: Teacher, batches: Iterable[Batch | tuple[Any, ...]]
) -> Iterator[Rows]:
    """Run a teacher over unaugmented samples and yield its rows of the main head, about 64 of each sample.

    Args:
        task: Turns outputs into rows.
        student: Run for the labels of rows alone, by teachers whose logits are made from labels.
        teacher: The teacher.
        batches: (inputs, targets, positions in the training set).

    Raises:
        RunError: If a logit of the teacher is nan or infinite.
    """
    with evaluating(student):
        for batch in map(Batch.of, batches):
            rows = _teacher_rows(task, student, teacher, batch)
            check_finite_logits(rows.logits, "the teacher's logits")
            yield _some_of_each_sample(rows)


def _teacher_rows(task: Task, student: nn.Module, teacher: Teacher, batch: Batch) -> Rows:
    if not isinstance(teacher, LabelTeacher):
        return task.rows(teacher.unaugmented(batch), batch.targets)[MAIN]
    rows = {MAIN: task.rows(task.call(student, batch.inputs), batch.targets)[MAIN]}
    return rows[MAIN]._replace(logits=label_logits(teacher, rows, batch.indices, 0)[MAIN])


def _some_of_each_sample(rows: Rows) -> Rows:
    if rows.sample is None or not len(rows.sample):
        return rows
    places = torch.arange(len(rows.sample), device=rows.sample.device)
    drawn = random_bits(places, seed=0, epoch=0, stream=_ROWS_STREAM).double() / 2**63
    kept = drawn * rows.sample.bincount()[rows.sample] < ROWS_OF_A_SAMPLE
    labels = None if rows.labels is None else rows.labels[kept]
    return Rows(rows.logits[kept], labels, None, rows.sample[kept])
