"""Convolutions over a text's tokens, and the largest value of each over the text (Kim 2014, TextCNN)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limbeck.errors import UserError
from limbeck.models.text.pooling import largest_of_tokens, token_mask


class TextCNN(nn.Module):
    """The network of Kim, "Convolutional Neural Networks for Sentence Classification" (EMNLP 2014).

    Positions outside of a text count as zeros, wherever it stands in its row, so the logits do not depend on padding.

    Args:
        num_classes: Number of logits C.
        vocabulary_size: Number of token ids.
        padding_index: The id that fills rows up; its embedding stays zero.
        width: Numbers of an embedding.
        channels: Channels of each convolution.
        kernels: The number of tokens that each of the convolutions sees at once.
        dropout: The share of the pooled features that is dropped in training.

    Raises:
        UserError: If there are no kernels, or one is smaller than 1.

    Example:
        >>> TextCNN(num_classes=3, vocabulary_size=50)(torch.ones(2, 7, dtype=torch.int64)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        num_classes: int,
        vocabulary_size: int,
        padding_index: int = 0,
        *,
        width: int = 128,
        channels: int = 100,
        kernels: Sequence[int] = (3, 4, 5),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if not kernels or min(kernels) < 1:
            raise UserError(f"text_cnn kernels: got {kernels}, expected at least one number of tokens of at least 1")
        self.embedding = nn.Embedding(vocabulary_size, width, padding_idx=padding_index)
        self.convolutions = nn.ModuleList(nn.Conv1d(width, channels, kernel) for kernel in kernels)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels * len(kernels), num_classes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Return (N, C) logits of token ids (N, L) and a mask (N, L) of ones at tokens and zeros at padding."""
        mask = token_mask(input_ids, attention_mask)
        vectors = self.embedding(input_ids).masked_fill(~mask.unsqueeze(2), 0).transpose(1, 2)
        pooled = [self._pooled(vectors, mask, convolution) for convolution in self.convolutions]
        logits: Tensor = self.head(self.dropout(torch.cat(pooled, dim=1)))
        return logits

    @staticmethod
    def _pooled(vectors: Tensor, mask: Tensor, convolution: nn.Module) -> Tensor:
        assert isinstance(convolution, nn.Conv1d)
        before = (convolution.kernel_size[0] - 1) // 2
        around = F.pad(vectors, (before, convolution.kernel_size[0] - 1 - before))
        return largest_of_tokens(F.relu(convolution(around)).transpose(1, 2), mask)
