"""What one forward of a distiller returns."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from limbeck.rows import Rows
from limbeck.tasks import MAIN


class Output(NamedTuple):
    """What one forward of a :class:`limbeck.Distiller` returns.

    Attributes:
        loss: The scalar to differentiate: the sum of ``parts``.
        parts: Every weighted part by name, ``"ce"`` for the ground truth; those of another head than the main one end
            in its name, such as ``"kd.aux"``.
        rows: The student's rows by head.
    """

    loss: Tensor
    parts: dict[str, Tensor]
    rows: Mapping[str, Rows]

    @property
    def logits(self) -> Tensor:
        """(R, C) the student's logits, of the main head."""
        return self.rows[MAIN].logits
