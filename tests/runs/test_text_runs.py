"""Texts through the command line and a person's own loop: every system, cached and live, stopped and resumed."""

import csv
import json
import re

import pytest
import torch
from safetensors.torch import load_file

import limbeck
from limbeck.data import load
from limbeck.errors import UserError
from limbeck.models.checkpoints import read_about
from stopped_runs import assert_same_run, stopping
from text_files import rows, write_csv, write_folder

pytest.importorskip("tokenizers")

METHODS = ("none", "kd", "dist", "lr_ds", "dr_kd", "lw_kd")
TINY_BERT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def training(epochs=2, **more):
    optimizer = {"name": "adamw", "lr": 0.005}
    return {"epochs": epochs, "batch_size": 16, "optimizer": optimizer, "device": "cpu", "precision": "fp32", **more}


@pytest.fixture
def recipe(tmp_path):
    return {
        "data": {"name": "text", "root": str(write_folder(tmp_path / "texts")), "options": {"max_length": 16}},
        "teacher": {
            "name": "text_transformer",
            "options": {"width": 16, "depth": 1, "dropout": 0.0},
            "training": training(),
        },
        "student": {"name": "text_cnn", "options": {"width": 16, "channels": 8}},
        "method": "kd",
        "training": training(),
    }


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_system_by_the_command_line(limbeck, recipe, tmp_path, precision):
    recipe["training"]["precision"] = recipe["teacher"]["training"]["precision"] = precision
    recipe |= {"compare": {"methods": list(METHODS), "seeds": 1}}
    recipe["method"] = "none"
    recipe["teacher"]["lightweight"] = {"per_class": 40, "epochs": 4}
    (tmp_path / "mine.yaml").write_text(json.dumps(recipe))
    code, _, err = limbeck("compare", str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "out"), "--jobs", "1")
    assert code == 0, err
    with (tmp_path / "out" / "table.csv").open() as file:
        found = {row["method"]: row for row in csv.DictReader(file)}
    assert {*METHODS} <= found.keys()
    for folder in (tmp_path / "out").glob("*/summary.json"):
        summary = json.loads(folder.read_text())
        assert 0 <= summary["test.macro_f1"] <= 1


def test_a_network_of_other_tokens_is_refused(recipe, tmp_path):
    first = limbeck.run({**recipe, "method": "none", "training": training(1)}, out=tmp_path / "first")
    own = {**recipe, "training": training(1)}
    own["teacher"] = {**recipe["student"], "name": "text_cnn", "weights": str(first.folder / "student.safetensors")}
    limbeck.run(own, overrides={"data.options.max_length": 12}, out=tmp_path / "same")
    with pytest.raises(UserError, match="took tokens of another tokenizer, expected the same data.options.tokenizer"):
        limbeck.run(own, overrides={"data.options.vocabulary_size": 40}, out=tmp_path / "other")


def test_the_packaged_recipe(tmp_path):
    overrides = {
        "data.train_limit": 60,
        "data.test_limit": 30,
        "teacher.train_limit": 300,
        "teacher.training.epochs": 1,
        "training.epochs": 2,
        "training.evaluate_every": 1,
    }
    done = limbeck.run("text_quickstart", overrides=overrides, out=tmp_path / "run")
    assert done.summary["epoch"] == 2


@pytest.mark.parametrize("drop", [0.0, 0.3])
@pytest.mark.parametrize("method", ["kd", "lr_ds"])
def test_stopped_and_resumed_is_never_stopped(recipe, tmp_path, drop, method):
    recipe = {**recipe, "method": method, "data": {**recipe["data"], "augment": {"drop": drop}}}
    limbeck.run(recipe, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(recipe, out=tmp_path / "run", reporting=stopping(1, of=2))
    limbeck.run(recipe, out=tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "run")


@pytest.mark.parametrize(("cache", "drop"), [("views", 0.0), ("epochs", 0.0), ("epochs", 0.3)])
@pytest.mark.parametrize("method", ["dist", "dr_kd"])
def test_cached_is_live(recipe, tmp_path, cache, drop, method):
    recipe = {**recipe, "method": method, "data": {**recipe["data"], "augment": {"drop": drop}}}
    limbeck.run(recipe, out=tmp_path / "live")
    recipe["teacher"] |= {"cache": cache, "cache_dtype": "float32"}
    for name in ("cold", "warm"):
        limbeck.run(recipe, out=tmp_path / name)
        live, cached = (load_file(tmp_path / run / "student.safetensors") for run in ("live", name))
        # The teacher is called on other batches, so with other padding.
        for key, value in live.items():
            torch.testing.assert_close(cached[key], value, rtol=1e-3, atol=1e-4)


def test_dropped_tokens_have_no_numbered_views(recipe, tmp_path):
    recipe["data"]["augment"] = {"drop": 0.3}
    recipe["teacher"]["cache"] = "views"
    with pytest.raises(UserError, match="drop"):
        limbeck.run(recipe, out=tmp_path / "run")


def test_networks_of_transformers_as_teacher_and_student(recipe, tmp_path):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    body = transformers.BertModel(transformers.BertConfig(vocab_size=200, **TINY_BERT))
    body.save_pretrained(tmp_path / "body")
    teacher = {"name": f"transformers:{tmp_path / 'body'}", "training": training()}
    recipe |= {"teacher": teacher, "student": {"name": "transformers:bert", "options": TINY_BERT}}
    done = limbeck.run(recipe, out=tmp_path / "run")
    log = (done.folder / "log.txt").read_text()
    assert "pretrained body; new are classifier.bias, classifier.weight" in log
    frozen = {**recipe, "teacher": {"name": teacher["name"]}}
    with pytest.raises(UserError, match=r"expected teacher.training beside it, which trains the new part"):
        limbeck.run(frozen, out=tmp_path / "frozen")
    student = {"name": "transformers:bert", "options": TINY_BERT, "weights": str(done.folder / "student.safetensors")}
    again = limbeck.run({**recipe, "teacher": student}, out=tmp_path / "again")
    assert again.summary["epoch"] == 2


def pretrained(folder, recipe, vocab_size=None, tokenizer=None):
    """Save a small BERT, and perhaps a tokenizer, as a folder of transformers."""
    transformers = pytest.importorskip("transformers")
    data = load("text", root=recipe["data"]["root"], options=recipe["data"]["options"])
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=vocab_size or data.vocabulary_size, **TINY_BERT)
    transformers.BertModel(config).save_pretrained(folder)
    if tokenizer is not None:
        content = json.loads(json.dumps(data.preparation["tokenizer"]))
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer(content)))
    return {"name": f"transformers:{folder}"}


def exchanged(content):
    """Exchange the last two tokens of a tokenizer."""
    words = content["model"]["vocab"]
    first, second = sorted(words, key=words.get)[-2:]
    words[first], words[second] = words[second], words[first]
    return content


def one_less(content):
    words = content["model"]["vocab"]
    del words[max(words, key=words.get)]
    return content


def unused(content):
    words = content["model"]["vocab"]
    words["[unused0]"] = words.pop(max(words, key=words.get))
    return content


def test_a_pretrained_model_of_other_tokens_is_refused_where_its_folder_shows_them(recipe, tmp_path):
    student = pretrained(tmp_path / "other", recipe, tokenizer=exchanged)
    with pytest.raises(
        UserError, match=r"tokenizer: token \d+ is '.*', but '.*' in the model's own folder, exp"
    ) as error:
        limbeck.run({**recipe, "method": "none", "student": student}, out=tmp_path / "run")
    assert "\n" not in str(error.value)
    # With the folder's own tokenizer it is right.
    recipe["data"]["options"]["tokenizer"] = str(tmp_path / "other")
    done = limbeck.run({**recipe, "method": "none", "student": student}, out=tmp_path / "run")
    assert "tokens" not in (done.folder / "log.txt").read_text().split("student:", 1)[-1]


@pytest.mark.parametrize(
    ("form", "vocab_size", "line"),
    [
        (None, 300, r"the model takes 300 tokens, data.options.tokenizer has \d+; right only if"),
        (None, None, None),
        (dict, 300, None),
        (one_less, None, "1 tokens of data.options.tokenizer .* are new to the model"),
        (unused, None, "1 tokens of data.options.tokenizer .* are new to the model"),
    ],
)
def test_other_numbers_of_tokens_are_a_line_of_the_log(recipe, tmp_path, form, vocab_size, line):
    student = pretrained(tmp_path / "body", recipe, vocab_size, form)
    options = {"training.epochs": 1, "method": "none", "student": student}
    done = limbeck.run(recipe, overrides=options, out=tmp_path / "run")
    log = (done.folder / "log.txt").read_text()
    assert re.search(f"student: {line}", log) if line else "the model takes" not in log and "are new to" not in log


def test_special_tokens_beyond_the_embedding_are_refused(recipe, tmp_path):
    student = pretrained(tmp_path / "body", recipe, tokenizer=dict)
    file = tmp_path / "body" / "tokenizer.json"
    content = json.loads(file.read_text())
    content["added_tokens"].append({**content["added_tokens"][0], "id": 500, "content": "[MASK]"})
    file.write_text(json.dumps(content))
    recipe["data"]["options"]["tokenizer"] = str(file.parent)
    with pytest.raises(UserError, match=r"takes \d+ \(vocab_size\), expected at least the \d+ tokens of the tokenizer"):
        limbeck.run({**recipe, "method": "none", "student": student}, out=tmp_path / "run")


def test_other_weights_in_the_folder_are_another_teacher(recipe, tmp_path):
    transformers = pytest.importorskip("transformers")
    for seed in (0, 1):
        torch.manual_seed(seed)
        body = transformers.BertModel(transformers.BertConfig(vocab_size=200, **TINY_BERT))
        body.save_pretrained(tmp_path / "body")
        teacher = {"name": f"transformers:{tmp_path / 'body'}", "training": training(1)}
        limbeck.run({**recipe, "teacher": teacher}, out=tmp_path / f"run{seed}")
    assert len([*(tmp_path / "cache" / "teachers").glob("*/teacher.safetensors")]) == 2


def test_a_network_of_ones_own(recipe, tmp_path, monkeypatch):
    (tmp_path / "mine_texts.py").write_text(
        "import torch\n"
        "class Mine(torch.nn.Module):\n"
        "    def __init__(self, num_classes, vocabulary_size):\n"
        "        super().__init__()\n"
        "        self.bag = torch.nn.EmbeddingBag(vocabulary_size, num_classes, mode='sum')\n"
        "    def forward(self, input_ids, attention_mask):\n"
        "        return {'logits': self.bag(input_ids, per_sample_weights=attention_mask.float())}\n"
    )
    monkeypatch.chdir(tmp_path)
    done = limbeck.run({**recipe, "student": "python:mine_texts:Mine"}, out=tmp_path / "run")
    assert done.summary["epoch"] == 2
    (tmp_path / "small_texts.py").write_text(
        "from mine_texts import Mine\nclass Small(Mine):\n    def __init__(self, num_classes):\n"
        "        super().__init__(num_classes, 5)\n"
    )
    with pytest.raises(UserError, match=r"student python:small_texts:Small: cannot take text's texts"):
        limbeck.run({**recipe, "student": "python:small_texts:Small"}, out=tmp_path / "small")


def test_a_student_holds_its_tokenizer(recipe, tmp_path):
    from tokenizers import Tokenizer

    done = limbeck.run({**recipe, "method": "none"}, out=tmp_path / "run")
    about = read_about(done.folder / "student.safetensors")
    assert (about["text"], about["label"], about["max_length"]) == ("text", "category", 16)
    backend = Tokenizer.from_str(json.dumps(about["tokenizer"]))
    data = load("text", root=tmp_path / "texts", options={"max_length": 16})
    tokens = data.train.tokens[: data.train.offsets[1]].tolist()
    assert backend.encode(rows(1)[0][0]).ids == tokens


def test_a_loop_of_ones_own_with_a_model_of_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    data = load("text", root=write_folder(tmp_path), options={"max_length": 16})
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=data.vocabulary_size, num_labels=3, **TINY_BERT)
    student, teacher = (transformers.BertForSequenceClassification(config) for _ in range(2))
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    distiller = limbeck.Distiller(student, teacher, method="dist")
    optimizer = torch.optim.AdamW(student.parameters(), lr=0.01)
    losses = []
    for epoch in range(12):
        for batch in data.batches(data.train, batch_size=16, shuffle=True).epoch(epoch):
            out = distiller(dict(batch.inputs), batch.labels)
            optimizer.zero_grad()
            out.loss.backward()
            optimizer.step()
            losses.append(out.parts["ce"].item())
    assert sum(losses[-3:]) < 0.5 * sum(losses[:3])
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"data.options.label": "klass"},
            r"data.options.label: got 'klass', expected one of the columns of .*category",
        ),
        ({"data.augment": {"flip": True}}, r"data.augment.flip: got True, but texts take of such settings drop"),
        ({"student": {"name": "resnet8", "options": {}}}, "'resnet8'.* is for images"),
        ({"data.size": 32}, r"data.size: got 32, but data set 'text' takes"),
        ({"student.options.vocabulary_size": 3}, "got vocabulary_size, which the data"),
        ({"data.normalize": {"mean": [0.5], "std": [0.5]}}, "it is for images"),
    ],
)
def test_mistakes_are_one_line(recipe, tmp_path, changes, message):
    with pytest.raises(UserError, match=message) as caught:
        limbeck.run(recipe, overrides=changes, out=tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_an_unseen_category_stops_the_command_before_any_training(limbeck, recipe, tmp_path):
    write_csv(tmp_path / "texts" / "test.csv", [("a b", "other")])
    (tmp_path / "mine.yaml").write_text(json.dumps(recipe))
    code, _, err = limbeck("run", str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "out"))
    assert code == 2
    assert "test.csv line 2: the label 'other' is not in the training texts" in err
