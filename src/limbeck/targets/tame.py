"""Taming: an overconfident teacher is divided by one temperature, before anything else corrects it."""

from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor

from limbeck.errors import UserError, shortened
from limbeck.rows import check_logits, check_measurable, check_temperature, full
from limbeck.validation import Settings, one_line_errors

# How far the temperature may lie above the smallest one, as a share of it.
_TOLERANCE = 1e-6
# Rows that no temperature down to this one makes surer have equal largest logits.
_LOWEST = 2.0**-60
# How far from chance to certainty a teacher's confidence is at least, where students are no better than chance.
_ABOVE_CHANCE = 0.05


def _auto_or_share(value: Any) -> Any:
    is_share = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1
    if value != "auto" and not is_share:
        raise UserError(f"got {shortened(value)}, expected 'auto' or a number above 0 and at most 1")
    return value


MaxConfidence = Annotated[Literal["auto"] | float, BeforeValidator(_auto_or_share)]


class Taming(Settings):
    """How a teacher is tamed; the settings of the component ``tame``.

    Args:
        max_confidence: What the teacher's mean largest probability on its training rows is lowered to, at T = 1;
            ``"auto"`` for what a student is expected to reach, as one that learns the teacher's confidence is
            calibrated if that is its accuracy: halfway between students that were trained without those rows and the
            teacher, and no less than those students. A number needs no such students.
        tau: The temperature itself, if it is known; None measures it.
        sharpen: Whether a teacher below ``max_confidence`` is raised to it, by a temperature below 1: one of small
            logits is nearly uniform at T = 4.

    Raises:
        UserError: If a number is outside its range.

    Example:
        >>> Taming(tau=2.5).needs_measuring, Taming().needs_proxies, Taming(max_confidence=0.6).needs_proxies
        (False, True, False)
    """

    max_confidence: Annotated[
        MaxConfidence,
        Field(description="the teacher's mean confidence is lowered to it; 'auto': halfway from proxies to teacher"),
    ] = "auto"
    tau: Annotated[
        float | None, Field(gt=0, description="the temperature itself, if it is known; otherwise it is measured")
    ] = None
    sharpen: Annotated[
        bool, Field(description="raise a teacher below max_confidence to it as well, by a temperature below 1")
    ] = False

    def __init__(self, **settings: Any) -> None:
        with one_line_errors(type(self)):
            super().__init__(**settings)

    @property
    def needs_measuring(self) -> bool:
        """Whether the temperature follows from the teacher's logits."""
        return self.tau is None

    @property
    def needs_proxies(self) -> bool:
        """Whether that takes students that were trained with labels alone."""
        return self.needs_measuring and self.max_confidence == "auto"

    def confidence(self, accuracies: tuple[float, float] | None, num_classes: int) -> float:
        """Return what a teacher's mean confidence may be.

        Args:
            accuracies: For ``"auto"``: of students on rows that they were not trained on, and of the teacher there.
            num_classes: Number of classes C; ``"auto"`` stays above 1 / C.

        Example:
            >>> Taming().confidence((0.75, 0.875), 10), Taming().confidence((0.75, 0.5), 10)
            (0.8125, 0.75)
        """
        if self.max_confidence != "auto":
            return self.max_confidence
        assert accuracies is not None
        student, teacher = accuracies
        expected = max(student, (student + teacher) / 2)
        return max(expected, 1 / num_classes + _ABOVE_CHANCE * (1 - 1 / num_classes))

    def check(self, num_classes: int | None = None) -> None:
        """Raise ``UserError`` if no temperature lowers a teacher of that many classes so far."""
        if self.needs_measuring and num_classes is not None and self.max_confidence != "auto":
            _check_reachable(self.max_confidence, num_classes)


def tame_logits(teacher_logits: Tensor, tau: Tensor | float) -> Tensor:
    """Divide a teacher's logits by its temperature.

    Args:
        teacher_logits: (N, C) float logits; not written to.
        tau: The temperature, above 0, such as from :func:`taming_temperature`; a number or a tensor of one.

    Returns:
        (N, C) logits in fp32 (float64 if that came in).

    Raises:
        UserError: If the logits are no (N, C) floats, or tau is a number that is not above 0.

    References:
        Ours. A single temperature is what calibrates networks best: Guo et al.: On Calibration of Modern Neural
        Networks, ICML 2017; here it is chosen by the teacher's confidence on the rows that it teaches.

    Example:
        >>> tame_logits(torch.tensor([[4., 0., -2.]]), 2.0)
        tensor([[ 2.,  0., -1.]])
    """
    check_logits(teacher_logits, "teacher_logits")
    check_temperature(tau, "tau")
    return full(teacher_logits) / tau


def taming_temperature(teacher_logits: Tensor, max_confidence: float = 0.6, *, sharpen: bool = False) -> float:
    """Find the smallest temperature of at least 1 that makes the mean largest probability at most ``max_confidence``.

    The mean falls as the temperature rises, so that bisection finds it, in float64.

    Args:
        teacher_logits: (N, C) float logits of the rows that the teacher supervises, of any task; N at least 1.
        max_confidence: What the mean over the rows of the largest probability at T = 1 may be, above 1 / C and at
            most 1.
        sharpen: Whether the temperature may be below 1, so that the mean is ``max_confidence`` for a teacher below it.

    Returns:
        The temperature, at most one part in a million above the exact one; 1 for a teacher that is no surer, and for
        one that no temperature makes surer.

    Raises:
        UserError: If the logits are no (N, C) floats, there are none, one is nan or infinite, or no temperature lowers
            the mean so far.

    References:
        Ours; see :func:`tame_logits`.

    Example:
        >>> logits = torch.tensor([[4., 0., 0.], [2., 0., 0.]])
        >>> tau = taming_temperature(logits)
        >>> round(tau, 4), round(float(tame_logits(logits, tau).softmax(1).amax(1).mean()), 4)
        (2.6966, 0.6)
        >>> taming_temperature(torch.zeros(1, 3))
        1.0
    """
    check_measurable(teacher_logits, "teacher_logits")
    _check_reachable(max_confidence, teacher_logits.shape[1])
    # Not every accelerator has float64.
    logits = teacher_logits.detach().to("cpu", torch.float64)
    below_top = logits - logits.amax(dim=1, keepdim=True)
    return _smallest(below_top, max_confidence, sharpen=sharpen)


def mean_confidence(teacher_logits: Tensor, tau: float = 1.0) -> float:
    """Return the mean over the rows of the largest probability at a temperature.

    Example:
        >>> mean_confidence(torch.zeros(2, 4))
        0.25
    """
    logits = teacher_logits.detach().to("cpu", torch.float64)
    return _mean_confidence(logits - logits.amax(dim=1, keepdim=True), tau)


def _check_reachable(max_confidence: float, classes: int) -> None:
    if not 1 / classes < max_confidence <= 1:
        least = f"above {1 / classes:.4g} (1 / {classes} classes)"
        raise UserError(f"max_confidence: got {max_confidence}, expected a number {least} and at most 1")


def _mean_confidence(below_top: Tensor, tau: float) -> float:
    return float((1 / (below_top / tau).exp().sum(dim=1)).mean())


def _smallest(below_top: Tensor, max_confidence: float, *, sharpen: bool) -> float:
    low = high = 1.0
    while _mean_confidence(below_top, high) > max_confidence:
        low, high = high, 2 * high
    while sharpen and _mean_confidence(below_top, low) <= max_confidence:
        if low < _LOWEST:
            return 1.0
        low, high = low / 2, low
    while high - low > _TOLERANCE * high:
        middle = (low + high) / 2
        if _mean_confidence(below_top, middle) > max_confidence:
            low = middle
        else:
            high = middle
    return high
