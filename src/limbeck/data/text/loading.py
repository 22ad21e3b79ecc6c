"""The data of texts that limbeck reads, by name."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from limbeck.data.data import Data
from limbeck.data.split import hold_out
from limbeck.data.text.augment import LONGEST
from limbeck.data.text.batches import Padding
from limbeck.data.text.columns import Columns, class_names, find_columns, label_numbers, texts_of
from limbeck.data.text.data import TextData
from limbeck.data.text.intents import intents
from limbeck.data.text.layout import Tables, read_tables
from limbeck.data.text.table import Table
from limbeck.data.text.token_set import TextSet
from limbeck.data.text.tokenizer import Tokenizer, make_tokenizer
from limbeck.errors import UserError, shortened


class _Splits(NamedTuple):
    train: TextSet
    validation: TextSet | None
    test: TextSet
    notes: tuple[str, ...]


def load_text(
    root: Path | None = None,
    *,
    test_share: float = 0.2,
    seed: int = 0,
    text: str | None = None,
    pair: str | None = None,
    label: str | None = None,
    tokenizer: str = "wordpiece",
    vocabulary_size: int = 8000,
    max_length: int = 128,
    padding: Literal["longest", "fixed"] = "longest",
) -> Data:
    """Read texts and their classes from a file, a folder with a file for each split, or a folder of ``datasets``.

    Args:
        root: The file or folder; see :func:`limbeck.data.text.layout.read_tables`.
        test_share: How much to cut off as the test split, seeded and per class, where the files have none.
        seed: The seed of that cut.
        text: The column of the texts; by default the first of the usual names that is there, such as ``text``.
        pair: The column of the second texts, for sentence pairs.
        label: The column of the class names; by default the first of the usual names that is there.
        tokenizer: A folder or file of a Hugging Face tokenizer, or ``wordpiece`` or ``bpe``, which are trained on the
            training texts.
        vocabulary_size: The largest number of tokens of a tokenizer that is trained.
        max_length: The largest number of tokens of a text; what is longer is cut off.
        padding: Whether a batch is as wide as its ``longest`` text, or ``fixed``: as wide as ``max_length``.

    Raises:
        UserError: If something cannot be read or does not fit.
    """
    if root is None:
        raise UserError("data.root: got none, expected a file of texts or a folder of them")
    tables = read_tables(root)
    columns = find_columns(tables.train, text, pair, label)
    options = {"tokenizer": tokenizer, "vocabulary_size": vocabulary_size, "max_length": max_length, "padding": padding}
    return _text_data("text", tables, columns, test_share, seed, options)


def load_intents(
    *,
    tokenizer: str = "wordpiece",
    vocabulary_size: int = 1000,
    max_length: int = 32,
    padding: Literal["longest", "fixed"] = "longest",
) -> Data:
    """Make the generated sentences of :func:`limbeck.data.text.intents.intents`; the settings are :func:`load_text`'s.

    Raises:
        UserError: If a setting is out of range.
    """
    options = {"tokenizer": tokenizer, "vocabulary_size": vocabulary_size, "max_length": max_length, "padding": padding}
    return _text_data(SAMPLE, Tables(*intents()), Columns("text", "label"), 0.0, 0, options)


SAMPLE = "intents_sample"
LOADERS: Mapping[str, Callable[..., Data]] = {"text": load_text, SAMPLE: load_intents}
"""The loaders by name; beside ``root``, ``test_share`` and ``seed`` they take what a recipe has in ``data.options``."""


def _text_data(
    name: str, tables: Tables, columns: Columns, test_share: float, seed: int, options: Mapping[str, object]
) -> Data:
    _check_options(options)
    # The first mistake of the files comes before one of the cut.
    texts_of(tables.train, columns.text)
    classes = class_names(tables.train, columns.label)
    tables = _with_test(tables, columns.label, classes, test_share, seed)
    texts = texts_of(tables.train, columns.text)
    seconds = texts_of(tables.train, columns.pair) if columns.pair else []
    vocabulary_size, max_length = int(str(options["vocabulary_size"])), int(str(options["max_length"]))
    tokenizer = make_tokenizer(
        str(options["tokenizer"]), [*texts, *seconds], vocabulary_size=vocabulary_size, max_length=max_length
    )
    splits = _splits(tables, columns, classes, tokenizer, max_length)
    padding: Padding = "fixed" if options["padding"] == "fixed" else "longest"
    return TextData(
        name,
        classes,
        splits.train,
        splits.validation,
        splits.test,
        notes=splits.notes,
        vocabulary_size=tokenizer.vocabulary_size,
        padding_index=tokenizer.padding_index,
        padding=padding,
        tokenization={**columns._asdict(), "padding": padding, "tokenizer": tokenizer.content},
    )


def _check_options(options: Mapping[str, object]) -> None:
    for key, least, most in (("vocabulary_size", 1, 2**31), ("max_length", 4, LONGEST)):
        value = options[key]
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            got = f"data.options.{key}: got {shortened(value, 40)}"
            raise UserError(f"{got}, expected a whole number from {least} to {most:,}")
    if options["padding"] not in get_args(Padding):
        got = shortened(options["padding"], 40)
        raise UserError(f"data.options.padding: got {got}, expected {' or '.join(get_args(Padding))}")


def _with_test(tables: Tables, label: str, classes: tuple[str, ...], test_share: float, seed: int) -> Tables:
    """Cut a test split off the training rows where there is none, before a tokenizer is trained on these."""
    if tables.test is not None:
        return tables
    try:
        stay, rest = hold_out(label_numbers(tables.train, label, classes), test_share, seed=seed)
    except UserError as error:
        raise UserError(f"data.test_share: {error}") from None
    return tables._replace(train=tables.train.select(stay.tolist()), test=tables.train.select(rest.tolist()))


def _splits(
    tables: Tables,
    columns: Columns,
    classes: tuple[str, ...],
    tokenizer: Tokenizer,
    max_length: int,
) -> _Splits:
    assert tables.test is not None
    train, cut = _tokenized(tables.train, columns, classes, tokenizer, max_length)
    test, cut_of_test = _tokenized(tables.test, columns, classes, tokenizer, max_length)
    validation, cut_of_validation = None, 0
    if tables.validation is not None:
        validation, cut_of_validation = _tokenized(tables.validation, columns, classes, tokenizer, max_length)
    cut += cut_of_test + cut_of_validation
    notes = (f"{cut:,} texts have more than {max_length} tokens and are cut there",) if cut else ()
    return _Splits(train, validation, test, notes)


def _tokenized(
    table: Table, columns: Columns, classes: tuple[str, ...], tokenizer: Tokenizer, max_length: int
) -> tuple[TextSet, int]:
    labels = label_numbers(table, columns.label, classes)
    texts = texts_of(table, columns.text)
    pairs = texts_of(table, columns.pair) if columns.pair else None
    tokens, added, cut = tokenizer.encode(texts, pairs)
    blank = next((row for row, flags in enumerate(added) if all(flags)), None)
    if blank is not None:
        got = f"{table.place(blank)}: the tokenizer finds no token in {shortened(texts[blank])}"
        raise UserError(f"{got}, expected a text with at least one")
    return TextSet.of(tokens, added, labels.tolist(), max_length), cut
