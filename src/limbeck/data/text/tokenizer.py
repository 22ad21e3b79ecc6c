"""Tokenizers: read from the files of one, or trained on texts."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from limbeck.errors import UserError, one_line, shortened
from limbeck.files import expanded
from limbeck.imports import optional_package

TRAINED = ("wordpiece", "bpe")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_FILE = "tokenizer.json"
_USUAL_PADDING = ("[PAD]", "<pad>", "<|pad|>", "<|endoftext|>", "</s>")
_PADDING_FILES = ("tokenizer_config.json", "special_tokens_map.json")
# A word piece tokenizer of the library takes a longer word for unknown.
_LONGEST_WORD = 100
# A tokenizer of bytes learns from parts of what is longer and has no space.
_LONGEST_RUN = re.compile(r"(\S{1000})(?=\S)")
# As many texts are tokenized at once, so that a large split is never held as objects of Python.
_AT_ONCE = 10_000


class Encoded(NamedTuple):
    """Texts as tokens.

    Attributes:
        tokens: The token ids of each text.
        added: Which of them the tokenizer added.
        cut: How many texts were too long.
    """

    tokens: list[list[int]]
    added: list[list[bool]]
    cut: int


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer of the library ``tokenizers``, cut to a length, and the token that fills rows up.

    Attributes:
        backend: The ``tokenizers.Tokenizer``, which truncates and does not pad.
        padding_index: The id of the token that fills rows up.

    Example:
        >>> tokenizer = train_tokenizer("wordpiece", ["a red car", "a red bus"], vocabulary_size=100, max_length=8)
        >>> encoded = tokenizer.encode(["a red bus"])
        >>> [tokenizer.backend.id_to_token(token) for token in encoded.tokens[0]], encoded.added[0]
        (['[CLS]', 'a', 'red', 'bus', '[SEP]'], [True, False, False, False, True])
    """

    backend: Any
    padding_index: int

    @property
    def vocabulary_size(self) -> int:
        """One more than the largest token id."""
        return 1 + int(max(self.backend.get_vocab(with_added_tokens=True).values()))

    @property
    def content(self) -> dict[str, Any]:
        """What the library's own file ``tokenizer.json`` holds."""
        content: dict[str, Any] = json.loads(self.backend.to_str())
        return content

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Encoded:
        """Tokenize texts, or sentence pairs.

        Args:
            texts: The texts.
            pairs: The second text of each pair, or None.
        """
        tokens: list[list[int]] = []
        added: list[list[bool]] = []
        too_long = 0
        for start in range(0, len(texts), _AT_ONCE):
            cut = slice(start, start + _AT_ONCE)
            inputs = texts[cut] if pairs is None else [*zip(texts[cut], pairs[cut], strict=True)]
            for encoding in self.backend.encode_batch_fast([*inputs]):
                tokens.append(encoding.ids)
                added.append([bool(flag) for flag in encoding.special_tokens_mask])
                too_long += bool(encoding.overflowing)
        return Encoded(tokens, added, too_long)


def make_tokenizer(name: str, texts: Sequence[str], *, vocabulary_size: int, max_length: int) -> Tokenizer:
    """Read a tokenizer, or train one.

    Args:
        name: A folder or file of a Hugging Face tokenizer, or ``wordpiece`` or ``bpe``.
        texts: What to train it on.
        vocabulary_size: The largest number of tokens of one that is trained.
        max_length: The largest number of tokens of a text; what is longer is cut off.

    Raises:
        UserError: If ``tokenizers`` is not installed, there is no such file or it cannot be read.

    Example:
        >>> make_tokenizer("wordpeice", [], vocabulary_size=100, max_length=8)
        Traceback (most recent call last):
        limbeck.errors.UserError: data.options.tokenizer: got 'wordpeice', expected wordpiece, bpe or a folder ...
    """
    if name in TRAINED:
        return train_tokenizer(name, texts, vocabulary_size=vocabulary_size, max_length=max_length)
    path = expanded(name)
    if not path.exists():
        expected = "expected wordpiece, bpe or a folder with tokenizer.json"
        raise UserError(f"data.options.tokenizer: got {shortened(name, 200)}, {expected}; nothing is downloaded")
    return read_tokenizer(path, max_length=max_length)


def read_tokenizer(path: Path, *, max_length: int) -> Tokenizer:
    """Read a tokenizer from ``tokenizer.json`` or a BERT's ``vocab.txt``; this runs no code.

    Args:
        path: The file, or its folder.
        max_length: The largest number of tokens of a text.

    Raises:
        UserError: If there is no such file, it cannot be read, or no token for padding is found.
    """
    files = [path] if path.is_file() else [path / name for name in (_FILE, "vocab.txt") if (path / name).is_file()]
    label = f"data.options.tokenizer {shortened(str(path), 200, quoted=False)}"
    if not files:
        raise UserError(f"{label}: has no tokenizer.json, expected the folder of a Hugging Face tokenizer")
    library = optional_package("tokenizers", "text", "a tokenizer")
    with _failing_as(f"{label}: cannot be read"):
        backend = (_of_vocabulary if files[0].suffix == ".txt" else library.Tokenizer.from_file)(str(files[0]))
    padding = _padding_token(backend, files[0].parent, label)
    return _cut(backend, padding, max_length, label)


def restored_tokenizer(content: Mapping[str, Any], padding_index: int) -> Tokenizer:
    """Return the tokenizer that :attr:`Tokenizer.content` was read of.

    Args:
        content: What it returned.
        padding_index: The id of the token that fills rows up.

    Raises:
        UserError: If ``tokenizers`` is not installed, or the content is none of a tokenizer.

    Example:
        >>> tokenizer = train_tokenizer("wordpiece", ["a red car"], vocabulary_size=100, max_length=8)
        >>> restored_tokenizer(tokenizer.content, 0).encode(["a car"]) == tokenizer.encode(["a car"])
        True
    """
    library = optional_package("tokenizers", "text", "a tokenizer")
    with _failing_as("tokenizer: cannot be read"):
        return Tokenizer(library.Tokenizer.from_str(json.dumps(content)), padding_index)


@contextmanager
def _failing_as(line: str) -> Iterator[None]:
    """Raise what the library raises in the block, plain exceptions and panics, as a UserError with this line."""
    try:
        yield
    except BaseException as error:
        # What Rust panics with, such as for a template with a token that is not there, is no Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise UserError(f"{line} ({one_line(error)})") from None


def _of_vocabulary(file: str) -> Any:
    # Not splitlines: that also ends a line at characters such as U+2028, which are tokens of their own.
    words = Path(file).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    lowercase = _content(Path(file).parent / _PADDING_FILES[0]).get("do_lower_case", True)
    return _of_words(words, lowercase=lowercase is not False)


def _of_words(words: Sequence[str], *, lowercase: bool = True) -> Any:
    library = optional_package("tokenizers", "text", "a tokenizer")
    if "[UNK]" not in words:
        raise ValueError("it has no token [UNK]")
    model = library.models.WordPiece({word: number for number, word in enumerate(words)}, unk_token="[UNK]")
    backend = library.Tokenizer(model)
    backend.add_special_tokens([token for token in SPECIAL if token in words])
    return _as_bert(backend, lowercase=lowercase)


def _padding_token(backend: Any, folder: Path, label: str) -> str:
    names = [(backend.padding or {}).get("pad_token")]
    for file in _PADDING_FILES:
        token = _content(folder / file).get("pad_token")
        names.append(token.get("content") if isinstance(token, dict) else token)
    for name in (*names, *_USUAL_PADDING):
        if isinstance(name, str) and backend.token_to_id(name) is not None:
            return name
    raise UserError(f"{label}: has no token for padding, expected pad_token in its tokenizer_config.json")


def _content(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, RecursionError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def train_tokenizer(name: str, texts: Sequence[str], *, vocabulary_size: int, max_length: int) -> Tokenizer:
    """Train a tokenizer on texts: the same texts give the same one.

    Args:
        name: ``wordpiece``, in lower case as BERT's, or ``bpe``, of bytes as GPT-2's. Both put ``[CLS]`` before a text
            and ``[SEP]`` behind it. For ``wordpiece`` a word of more than 100 characters is unknown, as for BERT.
        texts: The texts.
        vocabulary_size: The largest number of tokens, though characters are never left out; of ``bpe`` at least 260.
        max_length: The largest number of tokens of a text.

    Raises:
        UserError: If ``tokenizers`` is not installed, or a number is out of range.

    Example:
        >>> train_tokenizer("bpe", ["a red car"], vocabulary_size=300, max_length=8).padding_index
        0
    """
    smallest = 260 if name == "bpe" else 8
    if vocabulary_size < smallest:
        got = f"data.options.vocabulary_size: got {shortened(vocabulary_size, 20)}"
        raise UserError(f"{got}, expected a whole number of at least {smallest} for {name}")
    backend = _wordpiece(texts, vocabulary_size) if name == "wordpiece" else _bytes(texts, vocabulary_size)
    return _cut(backend, SPECIAL[0], max_length, "data.options")


def _bytes(texts: Sequence[str], vocabulary_size: int) -> Any:
    library = optional_package("tokenizers", "text", "a tokenizer")
    backend = library.Tokenizer(library.models.BPE())
    backend.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.decoder = library.decoders.ByteLevel()
    alphabet = sorted(library.pre_tokenizers.ByteLevel.alphabet())
    trainer = library.trainers.BpeTrainer(
        vocab_size=vocabulary_size, special_tokens=[*SPECIAL], initial_alphabet=alphabet, show_progress=False
    )
    # On one character many times over, too, the training takes the square of their number.
    backend.train_from_iterator((_LONGEST_RUN.sub(r"\1 ", text) for text in texts), trainer)
    return _with_ends(backend)


def _wordpiece(texts: Sequence[str], vocabulary_size: int) -> Any:
    library = optional_package("tokenizers", "text", "a tokenizer")
    backend = _as_bert(library.Tokenizer(library.models.WordPiece(unk_token="[UNK]")))
    # On a word of many characters, such as an image in base64, the training takes the square of their number.
    kept = [" ".join(word for word in _words(backend, text) if len(word) <= _LONGEST_WORD) for text in texts]
    # The library numbers these in the order of a hash map, on which ties depend later, unless they are there already.
    inner = sorted({f"##{character}" for text in kept for word in text.split() for character in word[1:]})
    trainer = library.trainers.WordPieceTrainer(
        vocab_size=vocabulary_size, special_tokens=[*SPECIAL, *inner], show_progress=False
    )
    backend.train_from_iterator(kept, trainer)
    return _of_words(sorted(backend.get_vocab(), key=backend.token_to_id))


def _words(backend: Any, text: str) -> list[str]:
    return [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(text))]


def _as_bert(backend: Any, *, lowercase: bool = True) -> Any:
    library = optional_package("tokenizers", "text", "a tokenizer")
    backend.normalizer = library.normalizers.BertNormalizer(lowercase=lowercase)
    backend.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
    backend.decoder = library.decoders.WordPiece()
    return _with_ends(backend) if backend.token_to_id("[SEP]") is not None else backend


def _with_ends(backend: Any) -> Any:
    ends = [(token, backend.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    template = optional_package("tokenizers", "text", "a tokenizer").processors.TemplateProcessing
    backend.post_processor = template(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends)
    return backend


def _cut(backend: Any, padding: str, max_length: int, label: str) -> Tokenizer:
    backend.no_padding()
    with _failing_as(f"{label}: cannot cut texts to max_length {max_length}"):
        backend.enable_truncation(max_length)
        backend.encode("a", "a")
    return Tokenizer(backend, backend.token_to_id(padding))
