"""A split of texts as token ids."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from limbeck.errors import UserError
from limbeck.files import content_digest


@dataclass(frozen=True, eq=False)
class TextSet:
    """A split whose texts are tokens, all behind one another in one tensor.

    Args:
        tokens: The token ids of all texts, int64 (T,).
        added: Which of them the tokenizer added to the text, such as ``[CLS]``, bool (T,).
        offsets: Where each text starts in ``tokens``, and where the last one ends, int64 (N + 1,).
        labels: Class numbers, int64 (N,).
        max_length: The largest number of tokens that a text may have.

    Raises:
        UserError: If a shape or a type is another.

    Example:
        >>> split = TextSet.of([[2, 7, 3], [2, 8, 9, 3]], [[True, False, True], [True, False, False, True]], [0, 1], 8)
        >>> len(split), split.lengths, split.select(torch.tensor([1])).tokens
        (2, tensor([3, 4]), tensor([2, 8, 9, 3]))
    """

    tokens: Tensor
    added: Tensor
    offsets: Tensor
    labels: Tensor
    max_length: int

    def __post_init__(self) -> None:
        count = len(self.labels)
        if self.labels.dtype != torch.int64 or self.labels.shape != (count,):
            raise UserError(f"labels: got {self.labels.dtype} {tuple(self.labels.shape)}, expected torch.int64 (N,)")
        if self.offsets.shape != (count + 1,) or int(self.offsets[-1]) != len(self.tokens):
            raise UserError(f"offsets: got {tuple(self.offsets.shape)}, expected ({count + 1},) up to all tokens")
        if self.added.shape != self.tokens.shape:
            raise UserError(f"added: got {tuple(self.added.shape)}, expected {tuple(self.tokens.shape)}, one a token")

    @classmethod
    def of(
        cls, tokens: Sequence[Sequence[int]], added: Sequence[Sequence[bool]], labels: Sequence[int], max_length: int
    ) -> Self:
        """Make a split of lists of token ids, one list a text.

        Args:
            tokens: The token ids of each text.
            added: Which of them the tokenizer added.
            labels: The class number of each text.
            max_length: The largest number of tokens that a text may have.
        """
        lengths = torch.tensor([0, *map(len, tokens)])
        flat = torch.tensor([token for text in tokens for token in text], dtype=torch.int64)
        flags = torch.tensor([flag for text in added for flag in text], dtype=torch.bool)
        return cls(flat, flags, lengths.cumsum(0), torch.tensor(labels, dtype=torch.int64), max_length)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> Tensor:
        """The number of tokens of each text, int64 (N,)."""
        return self.offsets.diff()

    @property
    def shape(self) -> tuple[int]:
        """The largest number of tokens that a text may have."""
        return (self.max_length,)

    def select(self, indices: Tensor) -> Self:
        """Return the samples at ``indices`` (int64 (M,)), in that order."""
        lengths = self.lengths[indices]
        ends = lengths.cumsum(0)
        # The place of each token: where its text starts in the old tensor, and how far it stands behind that start.
        places = torch.arange(int(lengths.sum())) + (self.offsets[indices] - (ends - lengths)).repeat_interleave(
            lengths
        )
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), ends])
        tokens, added = self.tokens[places], self.added[places]
        return replace(self, tokens=tokens, added=added, offsets=offsets, labels=self.labels[indices])

    def fingerprint(self) -> str:
        """Return the SHA-256 of labels and every token, in their order; 64 hexadecimal digits."""
        return content_digest(f"TextSet {self.shape}\n".encode(), self.labels, self.offsets, self.tokens, self.added)
