"""Raw texts to the inputs of a student that classifies them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict

from limbeck.data.schedule import Schedule
from limbeck.data.text.batches import Padding, TextBatches
from limbeck.data.text.columns import texts_of
from limbeck.data.text.table import Table, read_table
from limbeck.data.text.token_set import TextSet
from limbeck.data.text.tokenizer import Tokenizer, restored_tokenizer
from limbeck.errors import UserError, shortened
from limbeck.students.made import Made, Skipped, read_in_batches
from limbeck.students.pixels import Side
from limbeck.validation import Settings, validated

RawText = str | tuple[str, str]
"""A text, or a sentence pair."""


class TextRecord(Settings):
    """What a file records about the texts that its network takes.

    Attributes:
        text: The column of the texts in the files of the training.
        pair: The column of the second texts, for sentence pairs.
        padding: Whether a batch is as wide as its longest text, or as the longest may be.
        tokenizer: The content of ``tokenizer.json``, with the length that texts are cut to.
        padding_index: The token id that fills rows up.
        max_length: The largest number of tokens of a text.

    Example:
        >>> TextRecord(text="text", tokenizer={}, padding_index=0, max_length=32).pair is None
        True
    """

    model_config = ConfigDict(extra="ignore")

    text: str
    pair: str | None = None
    padding: Padding = "longest"
    tokenizer: dict[str, Any]
    padding_index: int
    max_length: Side


@dataclass(frozen=True, eq=False)
class TextPreparation:
    """Tokenizes texts or sentence pairs, and pads them to batches.

    Args:
        record: The columns, and how batches are padded.
        tokenizer: The tokenizer.
    """

    unit: ClassVar[str] = "texts"

    record: TextRecord
    tokenizer: Tokenizer

    @classmethod
    def of(cls, about: Mapping[str, Any], where: str) -> "TextPreparation":
        """Make the preparation that a file's metadata describe.

        Raises:
            UserError: If an entry is missing or damaged, or the library ``tokenizers`` is missing.
        """
        record = validated(TextRecord, about, where)
        try:
            return cls(record, restored_tokenizer(record.tokenizer, record.padding_index))
        except UserError as error:
            raise UserError(f"{where}: {error}") from None

    def samples(self, given: Any) -> Sequence[RawText]:
        """Return raw texts as a sequence: a list as it is, and the rows of a file.

        Args:
            given: A list of texts, or of pairs of texts; or the path of a CSV, TSV, JSON or JSONL file with the columns
                that the training's files had.

        Raises:
            UserError: If it is something else, or the file has no such column.
        """
        if isinstance(given, Path):
            return self._of_table(read_table(given))
        if not isinstance(given, list | tuple):
            expected = "expected a list of texts, or a Path of a file of them"
            raise UserError(f"samples: got {shortened(given)}, {expected}")
        return given

    def _of_table(self, table: Table) -> Sequence[RawText]:
        first = texts_of(table, self.record.text)
        return first if self.record.pair is None else [*zip(first, texts_of(table, self.record.pair), strict=True)]

    def batches(self, given: Any, batch_size: int, skipped: Skipped | None = None) -> Iterator[Made]:
        """Yield ``input_ids`` and ``attention_mask``; see :class:`limbeck.students.made.Preparation`."""
        for positions, tokens in read_in_batches(self.samples(given), batch_size, self._tokens, skipped):
            ids, added = zip(*tokens, strict=True)
            split = TextSet.of(ids, added, [0] * len(ids), self.record.max_length)
            batches = TextBatches(split, self.record.padding_index, self.record.padding)
            yield Made(next(batches.batches(Schedule(len(split), len(split)).plan(0))).inputs, positions)

    def _tokens(self, texts: Sequence[RawText]) -> list[tuple[list[int], list[bool]] | UserError]:
        problems = [self._problem(text) for text in texts]
        whole = [text for text, problem in zip(texts, problems, strict=True) if problem is None]
        pairs = None if self.record.pair is None else [str(text[1]) for text in whole]
        encoded = self.tokenizer.encode([str(t) if pairs is None else str(t[0]) for t in whole], pairs)
        rows = iter(zip(encoded.tokens, encoded.added, strict=True))
        return [_checked(next(rows), text) if p is None else p for text, p in zip(texts, problems, strict=True)]

    def _problem(self, text: object) -> UserError | None:
        expected = "expected a text" if self.record.pair is None else "expected a pair of texts"
        parts: Any = [text] if self.record.pair is None else text
        several = isinstance(parts, list | tuple) and len(parts) == (1 if self.record.pair is None else 2)
        if not several or not all(isinstance(part, str) and part.strip() for part in parts):
            return UserError(f"a sample: got {shortened(text)}, {expected}")
        return None


def _checked(row: tuple[list[int], list[bool]], text: RawText) -> tuple[list[int], list[bool]] | UserError:
    if all(row[1]):
        return UserError(f"a sample: the tokenizer finds no token in {shortened(text)}, expected at least one")
    return row
