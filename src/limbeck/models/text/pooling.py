"""One vector of a text out of those of its tokens."""

import torch
from torch import Tensor


def token_mask(input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Return which positions hold tokens, bool (N, L); without a mask all of them.

    Example:
        >>> token_mask(torch.zeros(1, 2), torch.tensor([[1, 0]]))
        tensor([[ True, False]])
    """
    return torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()


def mean_of_tokens(vectors: Tensor, mask: Tensor) -> Tensor:
    """Average the vectors of each text's tokens.

    Args:
        vectors: (N, L, D).
        mask: Which positions hold tokens, bool (N, L).

    Returns:
        (N, D); zeros for a text without tokens.

    Example:
        >>> mean_of_tokens(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[True, True, False]]))
        tensor([[2.]])
    """
    total = vectors.masked_fill(~mask.unsqueeze(2), 0).sum(dim=1)
    return total / mask.sum(dim=1, keepdim=True).clamp_min(1)


def largest_of_tokens(vectors: Tensor, mask: Tensor) -> Tensor:
    """Take the largest value of each feature over each text's tokens.

    Args:
        vectors: (N, L, D).
        mask: Which positions hold tokens, bool (N, L), at least one in each row.

    Returns:
        (N, D).

    Example:
        >>> largest_of_tokens(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[True, True, False]]))
        tensor([[3.]])
    """
    return vectors.masked_fill(~mask.unsqueeze(2), torch.finfo(vectors.dtype).min).amax(dim=1)
