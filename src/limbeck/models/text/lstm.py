"""LSTMs over a text from both of its ends."""

import torch
from torch import Tensor, nn

from limbeck.models.text.pooling import largest_of_tokens, token_mask


class BiLSTM(nn.Module):
    """A forward and a backward LSTM, and the largest value of each feature over the text.

    The backward one reads each text from its own last token, so the logits do not depend on padding, and nothing waits
    for the lengths as packed sequences would.

    Args:
        num_classes: Number of logits C.
        vocabulary_size: Number of token ids.
        padding_index: The id that fills rows up; its embedding stays zero. Padding stands behind the text.
        width: Numbers of an embedding.
        hidden: Numbers of the state of each direction.
        dropout: The share of the pooled features that is dropped in training.

    Example:
        >>> BiLSTM(num_classes=3, vocabulary_size=50)(torch.ones(2, 7, dtype=torch.int64)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        num_classes: int,
        vocabulary_size: int,
        padding_index: int = 0,
        *,
        width: int = 128,
        hidden: int = 128,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, width, padding_idx=padding_index)
        self.forward_lstm = nn.LSTM(width, hidden, batch_first=True)
        self.backward_lstm = nn.LSTM(width, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * hidden, num_classes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Return (N, C) logits of token ids (N, L) and a mask (N, L) of ones at tokens and zeros at padding."""
        mask = token_mask(input_ids, attention_mask)
        vectors = self.embedding(input_ids)
        steps = torch.arange(mask.shape[1], device=mask.device)
        # A token's place when its text is turned around; padding stays behind the text.
        turned = (mask.sum(dim=1, keepdim=True) - 1 - steps).remainder(mask.shape[1])
        reversed_vectors = vectors.gather(1, turned.unsqueeze(2).expand_as(vectors))
        states = [self.forward_lstm(vectors)[0], self.backward_lstm(reversed_vectors)[0]]
        logits: Tensor = self.head(self.dropout(largest_of_tokens(torch.cat(states, dim=2), mask)))
        return logits
