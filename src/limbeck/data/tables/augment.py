"""How training rows of tables are varied."""

import math
from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

from limbeck.data.strength import Strength
from limbeck.errors import UserError
from limbeck.validation import Real


@dataclass(frozen=True)
class TableAugment(Strength):
    """Gaussian noise on the inputs.

    Args:
        noise: Its standard deviation, in those of the standardized columns; 0 for none.

    Raises:
        UserError: If it is negative or not finite.

    Example:
        >>> TableAugment(noise=0.1).countless
        'noise'
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    noise: Real = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.noise < math.inf:
            raise UserError(f"augment.noise: got {self.noise}, expected a finite standard deviation of at least 0")

    @property
    def setting(self) -> str:
        """``"noise"``."""
        return "noise"
