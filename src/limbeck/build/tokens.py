"""Whether a data set has the tokens that a pretrained text model was trained with, as far as its folder shows."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from torch import nn

from limbeck.build.weights import own_files
from limbeck.data import Data
from limbeck.data.text.tokenizer import read_tokenizer
from limbeck.errors import UserError, shortened
from limbeck.imports import optional_package
from limbeck.models.text.hugging_face import model_folder
from limbeck.recipes.network_settings import NetworkSettings

# Rows of an embedding that are kept free for tokens of the users'.
_FREE = re.compile(r"\[unused\d+\]")


def token_notes(network: nn.Module, settings: NetworkSettings, data: Data) -> list[str]:
    """Check a pretrained model of transformers against the data's tokenizer.

    Args:
        network: The model.
        settings: Its settings; models without pretrained weights of a folder take any tokens.
        data: The data; only texts have a tokenizer.

    Returns:
        A line where the model has other numbers of tokens than the tokenizer, or new ones.

    Raises:
        UserError: If a token id is another token in the folder's own tokenizer.

    Example:
        >>> from limbeck.data import load
        >>> token_notes(nn.Linear(1, 1), NetworkSettings(name="resnet8"), load("iris"))
        []
    """
    content = data.preparation.get("tokenizer")
    if not own_files(settings) or not isinstance(content, dict):
        return []
    folder = model_folder(str(settings.name).partition(":")[2])
    assert folder is not None
    tokens, own = _vocabulary(content), _own_vocabulary(folder)
    if own is not None:
        return _compared(tokens, own, folder)
    count = getattr(getattr(network, "config", None), "vocab_size", None)
    if not isinstance(count, int) or count == len(tokens):
        return []
    has = f"the model takes {count:,} tokens, data.options.tokenizer has {len(tokens):,}"
    return [f"{has}; right only if the model was trained with this tokenizer, which its folder does not show"]


def _vocabulary(content: Mapping[str, object]) -> dict[str, int]:
    library = optional_package("tokenizers", "text", "a tokenizer")
    vocabulary: dict[str, int] = library.Tokenizer.from_str(json.dumps(content)).get_vocab(with_added_tokens=True)
    return vocabulary


def _own_vocabulary(folder: Path) -> dict[str, int] | None:
    """Return the tokens of a model's own folder; None where it holds no tokenizer that can be read."""
    with suppress(UserError):
        # The length is that of nothing, and holds the tokens that mark a text's ends.
        own: dict[str, int] = read_tokenizer(folder, max_length=8).backend.get_vocab(with_added_tokens=True)
        return own
    return None


def _compared(tokens: Mapping[str, int], own: Mapping[str, int], folder: Path) -> list[str]:
    by_id = {number: token for token, number in own.items()}
    for token, number in sorted(tokens.items(), key=lambda pair: pair[1]):
        theirs = by_id.get(number, token)
        if theirs != token and not _FREE.fullmatch(theirs):
            got = f"data.options.tokenizer: token {number} is {shortened(token)}, but {shortened(theirs)}"
            raise UserError(f"{got} in the model's own folder, expected data.options.tokenizer: {folder}")
    new = [token for token, number in tokens.items() if by_id.get(number) != token]
    if not new:
        return []
    return [f"{len(new):,} tokens of data.options.tokenizer ({shortened(new[0])}) are new to the model"]
