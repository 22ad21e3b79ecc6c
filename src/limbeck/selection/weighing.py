"""How much a teacher counts: the settings of the component ``weigh``, and the rule behind ``weight: auto``."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from torch import Tensor

from limbeck.errors import UserError, shortened
from limbeck.selection.reliability import responsibilities, teacher_share
from limbeck.validation import Settings, one_line_errors

RELIABLE = 0.9
"""The share from which on a teacher counts as reliable, see :func:`limbeck.selection.teacher_share`."""
_RELIABLE_TEMPERATURE = 2.0


class Weighing(Settings):
    """How much a teacher counts beside the labels, whose weight is 1; the settings of the component ``weigh``.

    Args:
        weight: A factor of the losses against the teacher, or ``"auto"``: the square of the share of labels that the
            teacher explains better than a student without it, see :func:`limbeck.selection.teacher_share`, times
            ``scale``.
        scale: With ``"auto"``, the weight of a teacher that explains all labels better.
        by_row: With ``"auto"``, weigh each training sample by that share times the probability that the teacher
            explains its label, see :func:`row_weights`, instead of all alike.
        shuffled: The control of ``by_row``: the same weights on other samples.

    Raises:
        UserError: If a value is none of these.

    Example:
        >>> Weighing().needs_measuring, Weighing(weight=0.5).needs_measuring
        (True, False)
    """

    weight: Annotated[
        Literal["auto"] | Annotated[float, Field(ge=0)],
        Field(description="factor of the losses against the teacher; 'auto': by its measured reliability"),
    ] = "auto"
    scale: Annotated[float, Field(ge=0, description="weight: auto, that of a fully reliable teacher")] = 1.0
    by_row: Annotated[bool, Field(description="weight: auto, weigh each sample by the reliability on its label")] = (
        False
    )
    shuffled: Annotated[bool, Field(description="by_row, the control: the same weights on other samples")] = False

    def __init__(self, **settings: Any) -> None:
        with one_line_errors(type(self)):
            super().__init__(**settings)

    @field_validator("weight", mode="before")
    @classmethod
    def _word_or_number(cls, weight: Any) -> Any:
        is_number = isinstance(weight, int | float) and not isinstance(weight, bool) and weight >= 0
        if weight != "auto" and not is_number:
            raise UserError(f"got {shortened(weight)}, expected 'auto' or a number of at least 0")
        return weight

    @property
    def needs_measuring(self) -> bool:
        """Whether the weight follows from the teacher's reliability."""
        return self.weight == "auto"


def loss_temperature(share: float) -> float:
    """Return the temperature at which a student is compared with a teacher: 2 for a reliable one, 1 for others.

    Softening enlarges what a teacher has besides its first class. That is knowledge of the classes where it explains
    the labels better than a student without it, and noise where it does not.

    Args:
        share: The share of the teacher as it is, uncorrected, from :func:`limbeck.selection.teacher_share`.

    Returns:
        2 for a share of at least 0.9, else 1.

    References:
        Ours; docs/claims.md has what was measured.

    Example:
        >>> loss_temperature(0.95), loss_temperature(0.7)
        (2.0, 1.0)
    """
    return _RELIABLE_TEMPERATURE if share >= RELIABLE else 1.0


def row_weights(teacher_p: Tensor, student_p: Tensor) -> Tensor:
    r"""Weigh rows by a teacher's share times its responsibility for each label: :math:`\lambda r_i`.

    Args:
        teacher_p: (N,) as for :func:`limbeck.selection.teacher_share`.
        student_p: (N,) as for :func:`limbeck.selection.teacher_share`.

    Returns:
        (N,) weights in [0, 1] in float64, on the CPU; their mean is the square of the share.

    Raises:
        UserError: If these are no probabilities, or there are none.

    Example:
        >>> import torch
        >>> row_weights(torch.tensor([0.9, 0.9, 0.1]), torch.tensor([0.5, 0.5, 0.5]))
        tensor([0.2344, 0.2344, 0.0521], dtype=torch.float64)
    """
    share = teacher_share(teacher_p, student_p)
    return share * responsibilities(teacher_p, student_p, share)
