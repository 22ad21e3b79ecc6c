"""The numbers that scale a teacher: measured over the training set before the first epoch, and kept in checkpoints."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.data.batch import Batch
from limbeck.distiller.extras import KeptWide
from limbeck.distiller.measuring import Proxies, TeacherRows, teacher_rows
from limbeck.errors import UserError
from limbeck.methods import Method, Term
from limbeck.rows import ABSENT
from limbeck.selection import (
    calibrated_probabilities,
    informed_probabilities,
    loss_temperature,
    row_weights,
    shuffled,
    teacher_share,
)
from limbeck.targets import mean_confidence, tame_logits, taming_temperature
from limbeck.tasks import Task
from limbeck.teachers import Teacher

_SAVED = ("temperature", "share", "row_weight", "loss_temperature")


class TeacherScale(KeptWide):
    """A method's numbers that are measured on its teacher: the temperature of ``tame``, the weight of ``weigh``.

    Args:
        method: The method.
        student: Where it is, the numbers are, in float64 if it is and in fp32 otherwise.

    Attributes:
        temperature: What the teacher's logits are divided by; None until it is measured, and for methods without one.
        share: The share of labels that the teacher explains better than a student without it; None as before.
        loss_temperature: The temperature of losses that have a measured one; None as before.
        row_weight: (samples,) how much the teacher counts for each training sample; None unless ``by_row``.

    Example:
        >>> import limbeck
        >>> scale = TeacherScale(limbeck.methods.create("tame+weigh+kd", tau=2.0, weight=0.5), nn.Linear(2, 2))
        >>> scale(torch.tensor([[4.0, 0.0]])), scale.weight
        (tensor([[2., 0.]]), 0.5)
    """

    temperature: Tensor | None
    share: Tensor | None
    row_weight: Tensor | None
    loss_temperature: Tensor | None
    _place: Tensor

    def __init__(self, method: Method, student: nn.Module) -> None:
        super().__init__()
        self.method = method
        weights = next(student.parameters(), torch.empty(0))
        wide = torch.float64 if weights.dtype == torch.float64 else torch.float32
        self.register_buffer("_place", torch.empty(0, device=weights.device, dtype=wide), persistent=False)
        tau = None if method.taming is None else method.taming.tau
        self.register_buffer("temperature", None if tau is None else self._here(torch.tensor(tau)))
        self.register_buffer("share", None)
        self.register_buffer("row_weight", None)
        self.register_buffer("loss_temperature", None)

    def _here(self, values: Tensor) -> Tensor:
        return values.to(self._place)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # What was measured when the state was saved takes the place of what is here.
        for name in _SAVED:
            saved = state_dict.get(f"{prefix}{name}")
            setattr(self, name, None if saved is None else self._here(torch.empty_like(saved)))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    @property
    def _tames(self) -> bool:
        return self.method.taming is not None and self.method.taming.needs_measuring

    @property
    def _weighs(self) -> bool:
        return self.method.weighing is not None and self.method.weighing.needs_measuring

    @property
    def needs_measuring(self) -> bool:
        """Whether the method has numbers that follow from the teacher."""
        return self._tames or self._weighs

    def needs_proxies(self, teacher: Teacher) -> bool:
        """Whether these numbers follow from students that were trained with labels alone, too."""
        by_accuracy = self.method.taming is not None and self.method.taming.needs_proxies
        return by_accuracy or (self._weighs and not teacher.needs_labels)

    def forward(self, teacher_logits: Tensor) -> Tensor:
        """Return the teacher's logits, divided by its temperature where the method tames it.

        Args:
            teacher_logits: (R, C) logits.

        Raises:
            UserError: If the temperature was not measured.
        """
        if self.method.taming is None:
            return teacher_logits
        return tame_logits(teacher_logits, self._measured(self.temperature, "temperature"))

    @property
    def weight(self) -> Tensor | float:
        """What the losses against the teacher are multiplied by; the mean of the rows' weights if these have their own.

        Raises:
            UserError: If it was not measured.
        """
        weighing = self.method.weighing
        if weighing is None:
            return 1.0
        if not isinstance(weighing.weight, str):
            return weighing.weight
        return weighing.scale * self._measured(self.share, "weight") ** 2

    def temperature_of(self, term: Term) -> Tensor | float:
        """Return what the temperature of a loss is multiplied by: the measured one where it has none of its own.

        Args:
            term: One of the method's.

        Raises:
            UserError: If it was not measured.
        """
        return self._measured(self.loss_temperature, "temperature") if term.measured_temperature else 1.0

    def weights_of(self, indices: Tensor | None) -> Tensor | None:
        """Return how much the teacher counts for samples of the training set; None if it counts alike for all.

        Args:
            indices: (N,) positions in the training set.

        Raises:
            UserError: If the weights were not measured, or positions are missing.
        """
        weighing = self.method.weighing
        if weighing is None or not (weighing.by_row and weighing.needs_measuring):
            return None
        weights = self._measured(self.row_weight, "weight")
        if indices is None:
            raise UserError("indices: got None, expected each sample's position, for the weights of weigh.by_row")
        return weighing.scale * weights[indices]

    def _measured(self, number: Tensor | None, what: str) -> Tensor:
        if number is None:
            expected = "call distiller.measure_teacher(batches) before training"
            raise UserError(f"method {self.method.name!r}: the teacher's {what} is not measured, {expected}")
        return number

    def measure(
        self,
        task: Task,
        student: nn.Module,
        teacher: Teacher,
        batches: Iterable[Batch | tuple[Any, ...]],
        proxies: Proxies | None = None,
        *,
        seed: int = 0,
    ) -> dict[str, float]:
        """Measure the numbers on a teacher's rows.

        Args:
            task: Turns outputs into rows.
            student: Run for the labels of rows alone, by teachers whose logits are made from labels.
            teacher: The teacher.
            batches: Training samples without augmentation: (inputs, targets, positions in the training set).
            proxies: Needed if :meth:`needs_proxies`.
            seed: Of the order of ``shuffled`` weights.

        Returns:
            The figures by name: ``tame.confidence``, the teacher's mean largest probability, ``tame.max_confidence``,
            what it is lowered to, and those of :meth:`figures`.

        Raises:
            UserError: If the method has nothing to measure, or samples, labels, positions or proxies are missing.
            RunError: If a logit is nan or infinite.
        """
        if not self.needs_measuring:
            got = "has nothing to measure on a teacher"
            raise UserError(f"method {self.method.name!r}: {got}, expected tame or weigh in it")
        needs_proxies = self.needs_proxies(teacher)
        if needs_proxies and proxies is None:
            expected = "pass proxies=, two students trained with labels alone on half of the samples each, and half="
            raise UserError(f"method {self.method.name!r}: measures its teacher beside students without it, {expected}")
        rows = teacher_rows(task, student, teacher, batches, proxies if needs_proxies else None)
        confidence = self._tame(rows) if self._tames else {}
        if self._weighs:
            self._weigh(rows, of_labels=teacher.needs_labels, seed=seed)
        return {**confidence, **self.figures()}

    def _tame(self, rows: TeacherRows) -> dict[str, float]:
        taming = self.method.taming
        assert taming is not None
        accuracies = _accuracies(rows) if taming.needs_proxies else None
        most = taming.confidence(accuracies, rows.logits.shape[1])
        tau = taming_temperature(rows.logits, most, sharpen=taming.sharpen)
        self.temperature = self._here(torch.tensor(tau, dtype=torch.float64))
        return {"tame.confidence": mean_confidence(rows.logits), "tame.max_confidence": most}

    def _weigh(self, rows: TeacherRows, *, of_labels: bool, seed: int) -> None:
        weighing = self.method.weighing
        assert weighing is not None
        teacher, student, indices = _explained(rows, of_labels=of_labels, corrected=self.method.corrects)
        share = 1.0 if of_labels else teacher_share(teacher, student)
        self.share = self._here(torch.tensor(share, dtype=torch.float64))
        # Corrections put the true class first: what stands beside it is still that of the teacher as it is.
        uncorrected = not of_labels and self.method.corrects
        as_it_is = teacher_share(*_explained(rows, of_labels=False, corrected=False)[:2]) if uncorrected else share
        self.loss_temperature = self._here(torch.tensor(loss_temperature(as_it_is)))
        if weighing.by_row:
            weights = torch.ones_like(teacher) if of_labels else row_weights(teacher, student)
            by_sample = _means(weights, indices, otherwise=share**2)
            places = torch.arange(len(by_sample))
            self.row_weight = self._here(shuffled(by_sample, places, seed=seed) if weighing.shuffled else by_sample)

    def figures(self) -> dict[str, float]:
        """Return the numbers by name, such as ``tame.temperature`` and ``weigh.share``."""
        figures = {} if self.temperature is None else {"tame.temperature": self.temperature.item()}
        if self.share is not None:
            figures["weigh.share"] = self.share.item()
        if self.method.weighing is not None and not (self._weighs and self.share is None):
            figures["weigh.weight"] = float(self.weight)
        if self.loss_temperature is not None and any(term.measured_temperature for term in self.method.terms):
            figures["weigh.temperature"] = self.loss_temperature.item()
        return figures


def _accuracies(rows: TeacherRows) -> tuple[float, float]:
    """Return the accuracy of the proxies on the samples that they were not trained on, and the teacher's there."""
    labeled = rows.classes != ABSENT
    if not labeled.any():
        raise UserError("batches: got no labels, expected the training set with its labels")
    right = (logits.argmax(dim=1) == rows.classes for logits in (rows.proxy_logits, rows.logits))
    student, teacher = (float(of_one[labeled].double().mean()) for of_one in right)
    return student, teacher


def _explained(rows: TeacherRows, *, of_labels: bool, corrected: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return the probability of each label under teacher and proxies, and the positions of the rows' samples."""
    labeled = rows.classes != ABSENT
    if not labeled.any():
        raise UserError("batches: got no labels, expected the training set with its labels")
    classes, indices = rows.classes[labeled], rows.indices[labeled] if len(rows.indices) else rows.indices
    if of_labels:
        return torch.ones(len(classes), dtype=torch.float64), torch.ones(len(classes), dtype=torch.float64), indices
    # A corrected teacher may be wrong: the information in its logits reaches the student all the same.
    probabilities = informed_probabilities if corrected else calibrated_probabilities
    half = rows.half[labeled]
    teacher, student = (probabilities(logits[labeled], classes, half) for logits in (rows.logits, rows.proxy_logits))
    return teacher, student, indices


def _means(values: Tensor, indices: Tensor, *, otherwise: float) -> Tensor:
    """Return (largest position + 1,) the mean value at each position, and ``otherwise`` where there is none."""
    if not len(indices):
        raise UserError("batches: got no positions in the training set, expected (inputs, targets, positions)")
    sums = values.new_zeros(2, int(indices.max()) + 1)
    sums.index_add_(1, indices, torch.stack([values, torch.ones_like(values)]))
    return torch.where(sums[1] > 0, sums[0] / sums[1].clamp_min(1), otherwise)
