"""Several teachers as one: their logits or probabilities averaged, or weighted by how right each is on a sample."""

import math
from collections.abc import Sequence
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limbeck.data.batch import Batch
from limbeck.errors import UserError, unknown_name
from limbeck.models.calling import output_logits
from limbeck.rows import check_logits, full, ground_truth
from limbeck.teachers.base import Teacher
from limbeck.teachers.live import LiveTeacher

Average = Literal["logits", "probabilities", "confidence"]
_AVERAGES = ("logits", "probabilities", "confidence")


class EnsembleTeacher(Teacher):
    r"""Run several teachers and average their output.

    - ``"logits"``: the mean of the logits.
    - ``"probabilities"``: the mean of the probabilities at T = 1, returned as logarithms.
    - ``"confidence"``: the mean of the probabilities, weighted on every sample by how well each of the K teachers does
      on the true label,

      .. math:: w_k = \frac{1}{K - 1} \Big(1 - \frac{\exp L_k}{\sum_j \exp L_j}\Big), \quad
          L_k = \mathrm{CE}(z^k, y),

      returned as logarithms. Since the weights sum to 1, the cross-entropy with this mean is the paper's weighted sum
      of one cross-entropy a teacher at T = 1; for other temperatures the mean is ours. This average uses the label, so
      its own accuracy means nothing.

    The teachers are frozen and stay in eval mode (a :class:`limbeck.teachers.LiveTeacher` in the mode that it was made
    with). All are run on every batch.

    Args:
        teachers: At least one teacher or network; networks become a :class:`limbeck.teachers.LiveTeacher`.
        average: What is averaged, and how.

    Raises:
        UserError: If there is no teacher, one is neither a teacher nor a network, or ``average`` is unknown; when
            called, if they do not return logits of one shape.

    References:
        Zhang, Chen, Wang: Confidence-Aware Multi-Teacher Knowledge Distillation, ICASSP 2022, arXiv 2201.00007: the
        weights of its logit part.

    Example:
        >>> class Sure(Teacher):
        ...     def __init__(self, *row):
        ...         super().__init__()
        ...         self.row = row
        ...     def logits(self, inputs, labels, indices=None, epoch=0):
        ...         return torch.tensor([self.row] * len(labels))
        >>> pair = Sure(2., 0.), Sure(0., 0.)
        >>> EnsembleTeacher(pair)(None, torch.tensor([0]))
        tensor([[1., 0.]])
        >>> EnsembleTeacher(pair, average="probabilities")(None, torch.tensor([0])).exp()
        tensor([[0.6904, 0.3096]])
        >>> EnsembleTeacher(pair, average="confidence")(None, torch.tensor([0])).exp()
        tensor([[0.7429, 0.2571]])
    """

    def __init__(self, teachers: Sequence[nn.Module], *, average: Average = "logits") -> None:
        super().__init__()
        if average not in _AVERAGES:
            raise unknown_name("average", average, _AVERAGES)
        if isinstance(teachers, nn.Module) or not len(teachers):
            raise UserError("teachers: got none, expected a list of at least one teacher or network")
        for place, part in enumerate(teachers):
            if not isinstance(part, nn.Module):
                raise UserError(f"teachers: number {place} is a {type(part).__name__}, expected a teacher or a network")
        self.average, self.needs_labels = average, average == "confidence"
        self.teachers = nn.ModuleList(part if isinstance(part, Teacher) else LiveTeacher(part) for part in teachers)
        self.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002 - the mode is refused on purpose
        """Keep every teacher in the mode that it was made with: eval, unless it has ``train_mode``."""
        return super().train(False)

    def why_not_recordable(self) -> str | None:
        """Return why the first of the teachers that cannot be recorded cannot."""
        reasons = (part.why_not_recordable() for part in self.teachers if isinstance(part, Teacher))
        return next((reason for reason in reasons if reason), None)

    def answer(self, batch: Batch, epoch: int = 0) -> Tensor:
        """Run all teachers and return their average, (N, C) or maps (N, C, ...) in fp32."""
        logits = torch.stack(_alike([teacher(*batch, epoch) for teacher in self.teachers]))
        if self.average == "logits":
            return logits.mean(dim=0)
        if self.average == "confidence" and logits.ndim > 3:
            got = f"outputs of shape {tuple(logits.shape[1:])}"
            raise UserError(f"average: got 'confidence' with {got}, expected logits or probabilities for maps")
        log_p = F.log_softmax(logits, dim=2)
        if self.average == "probabilities":
            return log_p.logsumexp(dim=0) - math.log(len(logits))
        return (log_p + _confidence(log_p, batch.targets).log()[:, :, None]).logsumexp(dim=0)


def _alike(outputs: list[Any]) -> list[Tensor]:
    logits = [output_logits(output, f"teacher {number}'s output") for number, output in enumerate(outputs)]
    for number, rows in enumerate(logits):
        # Of maps the class axis is the second, too.
        check_logits(rows.flatten(2).flatten(1) if rows.ndim > 2 else rows, f"teacher {number}'s output")
        if rows.shape != logits[0].shape:
            got, expected = tuple(rows.shape), tuple(logits[0].shape)
            raise UserError(f"teacher {number}'s output: got {got}, expected the first teacher's shape {expected}")
    return [full(rows) for rows in logits]


def _confidence(log_p: Tensor, labels: Tensor | None) -> Tensor:
    """Return (K, N) weights for (K, N, C) log-probabilities; of a sample they sum to 1, and are equal without label."""
    teachers = len(log_p)
    if teachers == 1:
        return torch.ones_like(log_p[:, :, 0])
    truth = ground_truth(labels, log_p[0])
    if truth.labels.is_floating_point():
        cross_entropy = -(log_p * truth.labels).sum(dim=2)
    else:
        cross_entropy = -log_p.gather(2, truth.classes.expand(teachers, -1)[:, :, None])[:, :, 0]
    weights = (1 - cross_entropy.softmax(dim=0)) / (teachers - 1)
    return weights if truth.labeled is None else torch.where(truth.labeled, weights, 1 / teachers)
