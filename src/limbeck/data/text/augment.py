"""How training texts are varied."""

from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

from limbeck.data.strength import Strength
from limbeck.errors import UserError
from limbeck.validation import Real


@dataclass(frozen=True)
class TokenAugment(Strength):
    """Token dropout.

    Args:
        drop: The probability with which a token is left out, in [0, 1).

    Raises:
        UserError: If it is out of range.

    Example:
        >>> TokenAugment(drop=0.1).countless
        'drop'
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    drop: Real = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.drop < 1:
            raise UserError(f"augment.drop: got {self.drop}, expected a probability of at least 0 and below 1")

    @property
    def setting(self) -> str:
        """``"drop"``."""
        return "drop"
