"""A data set of texts."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from limbeck.data.data import Data
from limbeck.data.samples import fingerprint
from limbeck.data.text.augment import TokenAugment
from limbeck.data.text.batches import Padding, TextBatches, on_device
from limbeck.data.text.token_set import TextSet
from limbeck.files import content_digest


@dataclass(frozen=True, eq=False)
class TextData(Data):
    """A data set of texts as token ids; networks take ``input_ids`` and ``attention_mask``, both int64 (N, L).

    Attributes:
        vocabulary_size: One more than the largest token id.
        padding_index: The token id that fills rows up.
        padding: Whether a batch is as wide as its ``longest`` text, or ``fixed``: as wide as the longest may be.
        tokenization: How texts became tokens: the columns, and the content of ``tokenizer.json``.

    Example:
        >>> from limbeck.data import load
        >>> data = load("intents_sample", train_limit=100)
        >>> print(data.description[0])
        data: intents_sample, 12 classes (alarm, call, heating, ...), 100 training
            and 1,500 test texts of at most 32 tokens, a vocabulary of 555
    """

    augmentation: ClassVar[type[Any]] = TokenAugment

    vocabulary_size: int = 0
    padding_index: int = 0
    padding: Padding = "longest"
    tokenization: dict[str, Any] = field(default_factory=dict)

    @property
    def unit(self) -> str:
        """What a sample is called, in the plural."""
        return "texts"

    @property
    def form(self) -> str:
        """What a sample is, for the description."""
        return f"texts of at most {self.shape[0]} tokens, a vocabulary of {self.vocabulary_size:,}"

    @property
    def facts(self) -> dict[str, Any]:
        """What a network is made for, beside the number of classes."""
        names = {"vocabulary_size": self.vocabulary_size, "padding_index": self.padding_index}
        return {**names, "max_length": self.shape[0]}

    @property
    def preparation(self) -> dict[str, Any]:
        """How texts became inputs."""
        return {**self.tokenization, "kind": "texts"} if self.tokenization else {}

    @cached_property
    def fingerprint(self) -> str:
        """The training split's, and how its texts are padded: a network need not leave the padding out."""
        return content_digest(f"{fingerprint(self.train)} {self.padding} {self.padding_index}".encode())

    def example(self, count: int) -> dict[str, Tensor]:
        """Return inputs of the largest length, of the token with the largest id, so that an embedding must hold it."""
        # A network may leave the padding out wherever it stands.
        token = self.vocabulary_size - 1 - (self.padding_index == self.vocabulary_size - 1)
        tokens = torch.full((count, self.shape[0]), token)
        return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}

    def source(
        self,
        split: TextSet,
        augment: TokenAugment | None = None,
        *,
        device: torch.device | str = "cpu",
        workers: int = 0,  # noqa: ARG002 - texts are tokens in memory
        channels_last: bool = False,  # noqa: ARG002 - as workers
    ) -> TextBatches:
        """Return what makes batches of a split."""
        return TextBatches(on_device(split, device), self.padding_index, self.padding, augment or TokenAugment())
