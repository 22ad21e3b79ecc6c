"""Tables, texts and label files with any damage: they load with finite inputs, or one line names the file."""

import gzip
import io
import json
import os

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import strategies as st

from changed_json import changed
from fuzzing import Crash, amounts, damaged, fuzz
from limbeck import data as datasets
from limbeck.data.images.label_table import read_label_table
from limbeck.data.images.pixels import read_pixels, write_pixels
from limbeck.data.text.saved_dataset import read_saved
from limbeck.data.text.tokenizer import read_tokenizer, train_tokenizer
from limbeck.errors import RunError, UserError
from limbeck.models.estimators.stored import load_estimator, save_estimator
from limbeck.recipes.class_columns import read_columns
from limbeck.targets.prior import load_prior
from limbeck.teachers import LightweightBank

TOKENS = (
    *(
        b'"',
        b"\0",
        b"\n",
        b"\r",
        b",",
        b";",
        b"\t",
        b"\xff",
        b"\xef\xbb\xbf",
        b'""',
        b"NaN",
        b"inf",
        b"1e999",
        b"9" * 400,
    ),
    *(
        b"9" * 5000,
        b"x" * 200_000,
        b"\xe2\x80\xa8",
        b"\xed\xa0\x80",
        b"\\ud800",
        b"[",
        b"{",
        b"}",
        b"]",
        b"null",
        b"true",
    ),
    *(b"\n\n\n", b",,,,", b"'", b"#", b"\x1b[31m", b"\xc2\x85", b"-", b"1_0", b"0x1", b"2020-01-01", b"\x1a", b'["a"]'),
    *(b'{"a": 1}', b'{"text": "a", "label": "b"}\n', b"Unnamed: x", b"NA", b"1e308", b"-1e308", b"[" * 5000),
)
ROWS = pd.DataFrame({"size": np.arange(40) / 2, "color": ["red", "blue"] * 20, "kind": [*"aab"] * 13 + ["b"]})
PAIRS = [(f"hello, {number}", "ab"[number % 2]) for number in range(40)]
TABLE = ROWS.to_csv(index=False).encode()
TEXTS = pd.DataFrame(PAIRS, columns=["text", "label"]).to_csv(index=False).encode()
LINES = b"".join(json.dumps({"text": text, "label": label}).encode() + b"\n" for text, label in PAIRS)
LABELS = b"file,cat,dog,split\n" + b"".join(
    b"%d.jpg,%d,0,%s\n" % (k, k % 2, (b"train", b"test")[k % 2]) for k in range(6)
)


def with_tokens(content):
    """Tokens of any format put into a text."""
    puts = st.lists(st.tuples(st.integers(0, len(content)), st.sampled_from(TOKENS)), min_size=1, max_size=4)
    return st.one_of(puts.map(lambda puts: _put(content, puts)), damaged(content))


def _put(content, puts):
    for place, token in puts:
        content = content[:place] + token + content[place:]
    return content


def stored(save, *values, **named):
    file = io.BytesIO()
    save(file, *values, **named)
    return file.getvalue()


def load(name, path, **options):
    data = datasets.load(name, root=path, options=options)
    for split in (data.train, data.test):
        inputs = getattr(split, "inputs", torch.zeros(1))
        if not len(split) or not bool(inputs.isfinite().all()):
            raise Crash(f"{path.name}: inputs that are not finite, or no rows")


def table(path):
    load("table", path, label="kind")


READERS = {
    "table.csv": (TABLE, table),
    "named.csv": (TABLE.replace(b"kind", b"label"), lambda path: load("table", path)),
    "table.tsv": (TABLE.replace(b",", b"\t"), table),
    "table.csv.gz": (gzip.compress(TABLE), table),
    "table.parquet": (stored(ROWS.to_parquet), table),
    "table.npz": (stored(np.savez, x=np.ones((40, 3)), kind=np.arange(40) % 2), table),
    "text.csv": (TEXTS, lambda path: load("text", path)),
    "text.tsv": (TEXTS.replace(b",", b"\t"), lambda path: load("text", path)),
    "text.jsonl": (LINES, lambda path: load("text", path, tokenizer="bpe", vocabulary_size=300)),
    "text.json": (json.dumps([{"text": t, "label": label} for t, label in PAIRS]).encode(), lambda p: load("text", p)),
    "text.txt": (b"".join(f"{label} {text}\n".encode() for text, label in PAIRS), lambda path: load("text", path)),
    "labels.csv": (LABELS, read_label_table),
    "vocab.txt": (
        b"[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nred\n",
        lambda path: read_tokenizer(path, max_length=8).encode(["a"]),
    ),
    "prior.npy": (stored(np.save, np.eye(3)), load_prior),
    "prior.csv": (b"0.75,0.25\n0.5,0.5\n", load_prior),
    "columns.json": (b'{"cat": [1, 2], "dog": 3}', lambda path: read_columns(str(path))),
}


@pytest.mark.parametrize("name", READERS)
@amounts(12, 160)
def test_every_reader(examples, name, slow_counts, tmp_path):
    content, read = READERS[name]
    path = tmp_path / name

    def attempt(changed_content):
        path.write_bytes(changed_content)
        read(path)

    outcomes = fuzz(attempt, with_tokens(content), examples=examples, count=slow_counts, seconds=20)
    assert outcomes["clean errors"] > 0


@amounts(12, 160)
def test_tokenizers_of_any_content(examples, slow_counts, tmp_path, capfd):
    made = train_tokenizer("wordpiece", ["a red car"] * 3, vocabulary_size=100, max_length=8)
    path = tmp_path / "tokenizer.json"

    def attempt(content):
        path.write_text(json.dumps(content))
        read_tokenizer(path, max_length=8).encode(["a red car", "", "x" * 500])

    fuzz(attempt, changed(made.content), examples=examples, count=slow_counts)
    # What Rust panics with is printed by Rust.
    capfd.readouterr()


@amounts(12, 160)
def test_estimators_and_banks(examples, slow_counts, tmp_path):
    pytest.importorskip("skops")
    from sklearn.linear_model import LogisticRegression

    save_estimator(tmp_path / "e.skops", LogisticRegression().fit([[0.0], [1.0]], [0, 1]))
    LightweightBank(torch.randn(4, 3, 4), 0.5, 0).save(tmp_path / "b.safetensors")
    for name, read in (("e.skops", load_estimator), ("b.safetensors", LightweightBank.load)):
        path, content = tmp_path / name, (tmp_path / name).read_bytes()

        def attempt(changed_content, path=path, read=read):
            path.write_bytes(changed_content)
            read(path)

        fuzz(attempt, damaged(content), examples=examples, count=slow_counts)


@amounts(12, 160)
def test_pixel_stores(examples, slow_counts, tmp_path):
    write_pixels(tmp_path, [torch.ones(3, 4, 4, dtype=torch.uint8)] * 3)
    whole = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def attempt(changed_file):
        path, content = changed_file
        for other, other_content in whole.items():
            other.write_bytes(content if other == path else other_content)
        pixels = read_pixels(tmp_path)
        if any(pixels.image(number).float().mean() != 1 for number in range(3)):
            raise Crash("a damaged image passed its checksum")

    files = st.sampled_from(sorted(whole)).flatmap(lambda path: st.tuples(st.just(path), damaged(whole[path])))
    fuzz(attempt, files, examples=examples, count=slow_counts, clean=(UserError, RunError))


@amounts(6, 60)
def test_folders_of_datasets(examples, slow_counts, tmp_path):
    library = pytest.importorskip("datasets")
    library.disable_progress_bars()
    library.Dataset.from_dict({"text": ["a", "b"], "label": ["x", "y"]}).save_to_disk(str(tmp_path / "saved"))
    whole = {path: path.read_bytes() for path in (tmp_path / "saved").iterdir()}

    def attempt(changed_file):
        path, content = changed_file
        for other, other_content in whole.items():
            other.write_bytes(content if other == path else other_content)
        read_saved(tmp_path / "saved")

    files = st.sampled_from(sorted(whole)).flatmap(lambda path: st.tuples(st.just(path), damaged(whole[path])))
    fuzz(attempt, files, examples=examples, count=slow_counts)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("unnamed.csv", b"size,Unnamed: x,kind\n" + b"1,2,a\n1,2,b\n" * 20, "column 2 has no name"),
        ("long.csv", b"size,kind\n" + (b"1,a\n2," + b"9" * 5000 + b"\n") * 20, None),
        ("huge.csv", b"size,kind\n" + (b"1,a\n" + b"9" * 400 + b",b\n") * 20, "huge.csv"),
    ],
)
def test_tables_that_used_to_crash(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    if message is None:
        load("table", tmp_path / name, label="kind")
        return
    with pytest.raises(UserError, match=message):
        load("table", tmp_path / name, label="kind")


def test_classes_of_thousands_of_digits_are_sorted_as_texts(tmp_path):
    long = "9" * 5000
    (tmp_path / "a.csv").write_text("text,label\n" + f"a b,{long}\nc d,10\n" * 20)
    assert datasets.load("text", root=tmp_path / "a.csv").classes == ("10", long)


def test_a_prior_whose_header_ends_early_is_one_line(tmp_path, recwarn):
    content = stored(np.save, np.eye(3)).replace(b"}", b" ")
    (tmp_path / "prior.npy").write_bytes(content)
    with pytest.raises(UserError, match=r"prior\.npy' cannot be read") as error:
        load_prior(tmp_path / "prior.npy")
    assert str(error.value).isprintable()
    assert not recwarn.list


def test_a_tokenizer_whose_template_names_no_token_is_one_line(tmp_path, capfd):
    made = train_tokenizer("wordpiece", ["a red car"], vocabulary_size=100, max_length=8).content
    del made["post_processor"]["special_tokens"]["[SEP]"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(made))
    with pytest.raises(UserError, match=r"tokenizer\.json: cannot (be read|cut texts to max_length 8) \("):
        read_tokenizer(tmp_path / "tokenizer.json", max_length=8)
    capfd.readouterr()


@pytest.mark.parametrize("read", [read_label_table, lambda path: load("text", path), load_estimator, load_prior])
def test_a_pipe_is_refused_at_once(tmp_path, read):
    path = tmp_path / "pipe.csv"
    os.mkfifo(path)
    with pytest.raises(UserError, match=r"pipe\.csv"):
        read(path)


def test_a_text_with_half_a_character_is_named_by_its_line(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(LINES.replace(b'"hello, 7"', b'"hello \\ud800"'))
    with pytest.raises(UserError, match=r"a\.jsonl line 8: the column 'text' holds half a character"):
        load("text", tmp_path / "a.jsonl")
