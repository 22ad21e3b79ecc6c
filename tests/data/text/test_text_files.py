"""Readers of texts: formats, layouts and mistakes."""

import json

import pytest
import torch

from limbeck.data import load
from limbeck.errors import UserError
from text_files import LABELS, rows, write_csv, write_folder, write_jsonl

pytest.importorskip("tokenizers")


def words(data, split, row):
    """The tokens of a sample, back as words."""
    from tokenizers import Tokenizer

    backend = Tokenizer.from_str(json.dumps(data.preparation["tokenizer"]))
    start, end = split.offsets[row : row + 2].tolist()
    return backend.decode(split.tokens[start:end].tolist())


def test_the_formats_hold_the_same(tmp_path):
    pairs = rows(30)
    write_csv(tmp_path / "a.csv", pairs)
    write_csv(tmp_path / "a.tsv", pairs, delimiter="\t")
    write_jsonl(tmp_path / "a.jsonl", pairs)
    (tmp_path / "b.json").write_text(json.dumps([{"text": text, "intent": label} for text, label in pairs]))
    (tmp_path / "a.txt").write_text("".join(f"{label} {text}\n" for text, label in pairs))
    found = {
        name: load("text", root=tmp_path / name).fingerprints
        for name in ("a.csv", "a.tsv", "a.jsonl", "b.json", "a.txt")
    }
    assert len({str(prints) for prints in found.values()}) == 1


def test_texts_come_back_as_words_and_classes_are_sorted(tmp_path):
    data = load("text", root=write_folder(tmp_path))
    assert data.classes == LABELS
    assert words(data, data.train, 4) == "loan please number 4 very very very very"
    assert data.train.labels[:6].tolist() == [0, 1, 2, 0, 1, 2]
    assert (len(data.train), len(data.test), data.validation) == (48, 12, None)
    assert data.unit == "texts"


def test_whole_numbers_are_sorted_by_value(tmp_path):
    write_csv(tmp_path / "a.csv", [("a b", label) for label in ("10", "9", "-1", "9") * 5])
    assert load("text", root=tmp_path / "a.csv").classes == ("-1", "9", "10")


def test_a_quoted_cell_and_stray_quotes(tmp_path):
    (tmp_path / "a.csv").write_text('text,label\n"two\nlines, ""quoted""",x\nplain,y\n' * 1 + 'plain,x\n"a",y\n' * 4)
    (tmp_path / "a.tsv").write_text('text\tlabel\nan " open quote\tx\n"a ""quoted"" cell"\ty\n' + "a\tx\nb\ty\n" * 4)
    data = load("text", root=tmp_path / "a.csv", test_share=0.3)
    assert "lines" in data.preparation["tokenizer"]["model"]["vocab"]
    assert len(data.train) + len(data.test) == 10
    data = load("text", root=tmp_path / "a.tsv", test_share=0.3)
    assert {"open", "cell"} <= data.preparation["tokenizer"]["model"]["vocab"].keys()


def test_layouts_of_folders(tmp_path):
    for name in ("stsa.binary.train", "stsa.binary.dev", "stsa.binary.test"):
        (tmp_path / name).write_text("1 good film .\n0 bad film .\n" * 5)
    data = load("text", root=tmp_path)
    assert (data.classes, len(data.train), len(data.validation), len(data.test)) == (("0", "1"), 10, 10, 10)
    (tmp_path / "stsa.binary.test").unlink()
    data = load("text", root=tmp_path)
    assert (data.validation, len(data.test)) == (None, 10)


def test_without_a_test_file_a_share_is_cut_off(tmp_path):
    write_csv(tmp_path / "train.csv", rows(60))
    data = load("text", root=tmp_path, test_share=0.25)
    assert (len(data.train), len(data.test)) == (45, 15)
    assert data.test.labels.bincount().tolist() == [5, 5, 5]


def test_a_tokenizer_is_trained_without_the_texts_that_are_cut_off(tmp_path):
    write_csv(tmp_path / "a.csv", [(f"same word{chr(0x4E00 + i)}", "xy"[i % 2]) for i in range(40)])
    data = load("text", root=tmp_path / "a.csv", test_share=0.5)
    unknown = data.preparation["tokenizer"]["model"]["vocab"]["[UNK]"]
    assert unknown in data.test.tokens.tolist()
    assert unknown not in data.train.tokens.tolist()


def test_padding_is_part_of_the_fingerprint(tmp_path):
    write_csv(tmp_path / "a.csv", rows(30))
    found = [load("text", root=tmp_path / "a.csv", options={"padding": kind}) for kind in ("longest", "fixed")]
    assert found[0].fingerprint != found[1].fingerprint


def test_words_of_a_vocabulary_keep_their_lines_and_their_case(tmp_path):
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n\u2028\nCard\ncard\n")
    write_csv(tmp_path / "a.csv", [("Card", "x"), ("card", "y")] * 4)
    options = {"tokenizer": str(tmp_path)}
    assert load("text", root=tmp_path / "a.csv", options=options).train.tokens[:6].tolist() == [2, 6, 3, 2, 6, 3]
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert load("text", root=tmp_path / "a.csv", options=options).train.tokens[:6].tolist() == [2, 5, 3, 2, 6, 3]
    (tmp_path / "vocab.txt").write_text("[PAD]\na\n")
    with pytest.raises(UserError, match=r"it has no token \[UNK\]"):
        load("text", root=tmp_path / "a.csv", options=options)


def test_lines_of_json_end_at_line_ends_alone(tmp_path):
    lines = [json.dumps({"text": f"a\u2028b {i}", "label": "xy"[i % 2]}, ensure_ascii=False) for i in range(8)]
    (tmp_path / "a.json").write_text("\r\n".join(lines), encoding="utf-8")
    data = load("text", root=tmp_path / "a.json")
    assert len(data.train) + len(data.test) == 8


def test_folders_of_datasets(tmp_path):
    datasets = pytest.importorskip("datasets")
    texts, names = zip(*rows(30), strict=True)
    labels = datasets.ClassLabel(names=["rate", "card", "loan"])
    features = datasets.Features({"sentence": datasets.Value("string"), "label": labels})
    numbers = [labels.str2int(name) for name in names]
    whole = datasets.Dataset.from_dict({"sentence": texts, "label": numbers}, features=features)
    whole.save_to_disk(tmp_path / "whole")
    write_csv(tmp_path / "a.csv", rows(30))
    assert load("text", root=tmp_path / "whole").fingerprints == load("text", root=tmp_path / "a.csv").fingerprints
    datasets.DatasetDict({"train": whole, "test": whole, "validation": whole}).save_to_disk(tmp_path / "dict")
    data = load("text", root=tmp_path / "dict")
    assert (len(data.train), len(data.validation), len(data.test)) == (30, 30, 30)
    unlabeled = datasets.Dataset.from_dict({"sentence": texts, "label": [-1] * 30}, features=features)
    datasets.DatasetDict({"train": whole, "test": unlabeled}).save_to_disk(tmp_path / "glue")
    with pytest.raises(UserError, match=r"test line 1: the column 'label' is empty"):
        load("text", root=tmp_path / "glue")


def test_sentence_pairs(tmp_path):
    write_csv(tmp_path / "a.csv", [("a b c", "d e", "x"), ("f", "g h", "y")] * 10, header=("text", "second", "label"))
    data = load("text", root=tmp_path / "a.csv", options={"pair": "second", "max_length": 6})
    batch = next(data.batches(data.train, batch_size=16).epoch(0))
    vocabulary = data.preparation["tokenizer"]["model"]["vocab"]
    first = batch.inputs["input_ids"][0].tolist()
    # The longer one of the two is cut first.
    assert first == [vocabulary[token] for token in ("[CLS]", "a", "b", "[SEP]", "d", "[SEP]")]
    assert data.notes == ("10 texts have more than 6 tokens and are cut there",)


def test_cuts_select_the_same_texts(tmp_path):
    data = load("text", root=write_folder(tmp_path), validation=0.25, train_limit=9, test_limit=6)
    assert (len(data.train), len(data.validation), len(data.test)) == (9, 12, 6)
    whole = load("text", root=tmp_path)
    texts = {words(whole, whole.train, row) for row in range(48)}
    assert {words(data, data.train, row) for row in range(9)} <= texts
    assert data.train.select(torch.tensor([3, 1])).labels.tolist() == data.train.labels[[3, 1]].tolist()


def mistakes():
    good = rows(12)
    yield (
        "no label column",
        lambda root: write_csv(root, good, ("text", "klass")),
        {},
        "columns of .*a.csv: text, klass",
    )
    yield "other label", lambda root: write_csv(root, good), {"label": "x"}, "options.label: got 'x', expected one of"
    yield "other pair", lambda root: write_csv(root, good), {"pair": "x"}, "options.pair: got 'x', expected one of"
    yield "empty text", lambda root: write_csv(root, [*good, (" ", "card")]), {}, "a.csv line 14: the column 'text' is"
    yield "empty label", lambda root: write_csv(root, [*good, ("a", "")]), {}, "line 14: the column 'category' is empty"
    yield "one class", lambda root: write_csv(root, [("a", "card")] * 3), {}, "every label is 'card', expected at least"
    yield "ragged", lambda root: write_csv(root, [*good, ("a",)]), {}, "line 14: has 1 cells, expected 2"
    yield "twice", lambda root: write_csv(root, good, ("text", "text")), {}, "a name for each column"
    yield "no rows", lambda root: write_csv(root, []), {}, "has no rows"
    yield "empty", lambda root: root.write_text(""), {}, "has no rows"
    yield "latin", lambda root: root.write_bytes(b"text,label\n\xe9\xff,a\n"), {}, "is no text in UTF-8"
    yield "no token", lambda root: write_csv(root, [*good, ("\u200b", "card")]), {}, "finds no token in"
    yield "tokenizer", lambda root: write_csv(root, good), {"tokenizer": "bert-base"}, "got 'bert-base', expected wordp"
    yield "length", lambda root: write_csv(root, good), {"max_length": 0}, "max_length: got 0, expected a whole number"
    yield "length", lambda root: write_csv(root, good), {"max_length": "many"}, "max_length: got 'many'"
    yield "size", lambda root: write_csv(root, good), {"vocabulary_size": True}, "vocabulary_size: got True"
    yield "size", lambda root: write_csv(root, good), {"vocabulary_size": 4}, "vocabulary_size: got 4"
    yield "padding", lambda root: write_csv(root, good), {"padding": "left"}, "padding: got 'left', input should be"
    yield "text", lambda root: write_csv(root, good), {"text": ["a"]}, r"options.text: got \['a'\]"
    yield "unknown", lambda root: write_csv(root, good), {"lable": "a"}, "unknown option 'lable'; did you mean 'label'"


@pytest.mark.parametrize(
    ("write", "options", "message"), [case[1:] for case in mistakes()], ids=[c[0] for c in mistakes()]
)
def test_mistakes(tmp_path, write, options, message):
    write(tmp_path / "a.csv")
    with pytest.raises(UserError, match=message) as caught:
        load("text", root=tmp_path / "a.csv", options=options)
    assert "\n" not in str(caught.value)


def test_mistakes_in_folders(tmp_path):
    with pytest.raises(UserError, match=r"data.root: .*gone does not exist"):
        load("text", root=tmp_path / "gone")
    with pytest.raises(UserError, match=r"data.root: got none"):
        load("text")
    write_csv(tmp_path / "notes.csv", rows(6))
    with pytest.raises(UserError, match="no file whose name holds train or test"):
        load("text", root=tmp_path)
    write_csv(tmp_path / "train.csv", rows(6))
    write_csv(tmp_path / "test.csv", [("a", "unseen")])
    with pytest.raises(UserError, match=r"test.csv line 2: the label 'unseen' is not in the training texts"):
        load("text", root=tmp_path)
    write_csv(tmp_path / "test.csv", [("a", "card")], header=("text", "label"))
    with pytest.raises(UserError, match=r"test.csv: has no column 'category' as the training texts have; its columns"):
        load("text", root=tmp_path)
    write_csv(tmp_path / "train2.csv", rows(6))
    with pytest.raises(UserError, match=r"train.csv and train2.csv are both named as train"):
        load("text", root=tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": "a"\n', "line 1: is no JSON"),
        ("a.jsonl", "[1]\n", r"line 1: is \[1\], expected an object"),
        ("a.jsonl", "[" * 100_000, "nested too deep|is no JSON"),
        ("a.jsonl", '{"text": "a", "label": "x"}\n{"label": "y"}\n', "line 2: the column 'text' is empty"),
        ("a.jsonl", '{"text": "a", "label": NaN}\n', "line 1: the column 'label' is empty"),
        ("a.jsonl", '{"text": ["a"], "label": "x"}\n', "line 1: the column 'text' holds a list, expected a text"),
        ("a.csv", 'label,text\nx,a\ny,"b\nx,c\n', "cannot be read as CSV"),
        ("a.txt", "label\n", "line 1: is 'label', expected a label, a space and a text"),
    ],
)
def test_mistakes_in_lines(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        load("text", root=tmp_path / name)


def test_the_real_sets(shared):
    data = load("text", root=shared / "data" / "banking77")
    assert (len(data.classes), len(data.train), len(data.test)) == (77, 10003, 3080)
    data = load("text", root=shared / "data" / "sst2")
    assert (len(data.train), len(data.validation), len(data.test)) == (6920, 872, 1821)
    assert data.classes == ("0", "1")
