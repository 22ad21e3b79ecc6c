"""Random views of a text as a pure function of (seed, epoch, sample index)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import ConfigDict
from torch import Tensor

from limbeck.data.strength import Strength
from limbeck.errors import UserError
from limbeck.randomness.hashing import random_bits
from limbeck.validation import Real

_DROP_STREAM = 205
LONGEST = 2**20
"""The largest number of tokens of a text; a token's random number is that of sample * LONGEST + position."""


@dataclass(frozen=True)
class TokenAugment(Strength):
    """How training texts are varied.

    Args:
        drop: The share of the tokens that are left out, drawn anew for every sample and epoch, in [0, 1). The tokens
            that the tokenizer adds (such as ``[CLS]``) stay, and at least one of the others does.

    Raises:
        UserError: If it is out of range.

    Example:
        >>> TokenAugment().views, TokenAugment(drop=0.1).views
        (1, None)
    """

    # For recipes, which hold it as a mapping.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    drop: Real = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.drop < 1:
            raise UserError(f"augment.drop: got {self.drop}, expected a share of the tokens, at least 0 and below 1")

    @property
    def setting(self) -> str:
        """``"drop"``."""
        return "drop"

    def kept(self, rows: Tensor, ordinary: Tensor, *, seed: int, epoch: int) -> Tensor:
        """Return which of the ordinary tokens of each sample stay.

        Args:
            rows: Positions of the samples in their split, int64 (B,).
            ordinary: Which tokens are the text's own, neither padding nor added by the tokenizer, bool (B, L).
            seed: The run's seed.
            epoch: The epoch, from 0.

        Returns:
            bool (B, L), True only where ``ordinary`` is; in each row that has an ordinary token at least once.

        Example:
            >>> ordinary = torch.tensor([[False, True, True, False]])
            >>> TokenAugment(drop=0.99).kept(torch.tensor([7]), ordinary, seed=0, epoch=0).sum()
            tensor(1)
        """
        positions = torch.arange(ordinary.shape[1], device=rows.device)
        bits = random_bits(rows.view(-1, 1) * LONGEST + positions, seed=seed, epoch=epoch, stream=_DROP_STREAM)
        # Of the tokens of a text that would all be dropped, the one with the largest number stays.
        bits = bits.masked_fill(~ordinary, -1)
        last = bits == bits.amax(dim=1, keepdim=True)
        return ordinary & ((bits >= round(self.drop * 2**63)) | last)
