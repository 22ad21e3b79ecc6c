"""A small transformer encoder, trained from scratch."""

import torch
from torch import Tensor, nn

from limbeck.errors import UserError
from limbeck.models.text.pooling import mean_of_tokens, token_mask


class TextTransformer(nn.Module):
    """Layers of self-attention with the normalization before each part, and the mean over the text's tokens.

    Args:
        num_classes: Number of logits C.
        vocabulary_size: Number of token ids.
        padding_index: The id that fills rows up; its embedding stays zero.
        max_length: The largest number of tokens of a text, each of whose places has an embedding.
        width: Numbers of an embedding.
        heads: Attention heads, into which ``width`` is divided.
        depth: Number of layers.
        dropout: The share of the features that is dropped in training.

    Raises:
        UserError: If ``width`` is no multiple of ``heads``.

    Example:
        >>> TextTransformer(num_classes=3, vocabulary_size=50)(torch.ones(2, 7, dtype=torch.int64)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        num_classes: int,
        vocabulary_size: int,
        padding_index: int = 0,
        max_length: int = 128,
        *,
        width: int = 128,
        heads: int = 4,
        depth: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if width % heads:
            raise UserError(f"text_transformer width: got {width}, expected a multiple of the {heads} heads")
        self.embedding = nn.Embedding(vocabulary_size, width, padding_idx=padding_index)
        self.places = nn.Embedding(max_length, width)
        for embedding in (self.embedding, self.places):
            nn.init.normal_(embedding.weight, std=width**-0.5)
        with torch.no_grad():
            self.embedding.weight[padding_index].zero_()
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Return (N, C) logits of token ids (N, L) and a mask (N, L) of ones at tokens and zeros at padding."""
        mask = token_mask(input_ids, attention_mask)
        vectors = self.embedding(input_ids) + self.places.weight[: input_ids.shape[1]]
        for layer in self.layers:
            vectors = layer(vectors, src_key_padding_mask=~mask)
        logits: Tensor = self.head(mean_of_tokens(self.norm(vectors), mask))
        return logits
