"""The mean of a text's embeddings, through one hidden layer."""

from torch import Tensor, nn

from limbeck.models.text.pooling import mean_of_tokens, token_mask


class BagOfEmbeddings(nn.Module):
    """A classifier that ignores the order of the tokens.

    Args:
        num_classes: Number of logits C.
        vocabulary_size: Number of token ids.
        padding_index: The id that fills rows up; its embedding stays zero.
        width: Numbers of an embedding and of the hidden layer.
        dropout: The share of the hidden layer that is dropped in training.

    Example:
        >>> import torch
        >>> BagOfEmbeddings(num_classes=3, vocabulary_size=50)(torch.ones(2, 7, dtype=torch.int64)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        num_classes: int,
        vocabulary_size: int,
        padding_index: int = 0,
        *,
        width: int = 128,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, width, padding_idx=padding_index)
        self.hidden = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout))
        self.head = nn.Linear(width, num_classes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Return (N, C) logits of token ids (N, L) and a mask (N, L) of ones at tokens and zeros at padding."""
        vectors = self.embedding(input_ids)
        logits: Tensor = self.head(self.hidden(mean_of_tokens(vectors, token_mask(input_ids, attention_mask))))
        return logits
