"""Models of transformers: folders, types, weights, mistakes."""

import json
import pickle

import pytest
import torch

from limbeck import models
from limbeck.errors import UserError
from limbeck.models.text.hugging_face import weight_files

transformers = pytest.importorskip("transformers")

FACTS = {"vocabulary_size": 40, "padding_index": 0, "max_length": 24}
TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
INPUTS = {"input_ids": torch.tensor([[2, 7, 9, 3]]), "attention_mask": torch.ones(1, 4, dtype=torch.int64)}


def create(name, classes=5, lines=None, facts=FACTS, **options):
    log = (lambda line: None) if lines is None else lines.append
    return models.create(f"transformers:{name}", num_classes=classes, facts=facts, log=log, **options)


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(1)
    config = transformers.BertConfig(vocab_size=60, num_labels=5, **TINY)
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


def test_a_folder_is_loaded_with_its_head(folder):
    lines = []
    model = create(folder, lines=lines)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    assert (lines, model.training) == ([], True)
    torch.testing.assert_close(model.eval()(**INPUTS).logits, theirs.eval()(**INPUTS).logits, rtol=0, atol=0)


def test_another_number_of_classes_gives_a_new_head(folder):
    lines = []
    model, body = create(folder, 7, lines), create(folder).state_dict()
    assert model(**INPUTS).logits.shape == (1, 7)
    assert "pretrained body; new are classifier.bias, classifier.weight" in lines[0]
    assert all(torch.equal(value, body[key]) for key, value in model.state_dict().items() if "classifier" not in key)


def test_a_body_without_a_head(tmp_path):
    torch.manual_seed(1)
    body = transformers.BertModel(transformers.BertConfig(vocab_size=60, **TINY))
    body.save_pretrained(tmp_path)
    lines = []
    model = create(tmp_path, 3, lines)
    torch.testing.assert_close(model.bert.embeddings.word_embeddings.weight, body.embeddings.word_embeddings.weight)
    assert len(lines) == 1
    assert "classifier.weight" in lines[0]


def test_half_precision_on_disk_is_float32_here(folder):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    model.half().save_pretrained(folder)
    assert {parameter.dtype for parameter in create(folder).parameters()} == {torch.float32}


def test_initial_weights_follow_the_seed(folder):
    def made(name, **options):
        torch.manual_seed(3)
        return create(name, 7, **options).state_dict()

    for name, options in ((folder, {}), (folder, {"pretrained": False}), ("bert", TINY)):
        first, second = made(name, **options), made(name, **options)
        assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_folder_without_its_weights_and_weights_of_a_file(folder, tmp_path):
    random = create(folder, pretrained=False)
    loaded = create(folder)
    key = "bert.embeddings.word_embeddings.weight"
    assert not torch.equal(random.state_dict()[key], loaded.state_dict()[key])
    torch.save(random.state_dict(), tmp_path / "other.pt")
    again = create(folder, weights=tmp_path / "other.pt")
    assert torch.equal(again.state_dict()[key], random.state_dict()[key])
    named = create(folder, weights="DEFAULT")
    assert torch.equal(named.state_dict()[key], loaded.state_dict()[key])


def test_options_are_of_the_configuration(folder):
    assert create(folder, hidden_dropout_prob=0.4).bert.embeddings.dropout.p == 0.4
    assert create("bert", **TINY).config.vocab_size == 40
    assert create("distilbert", dim=16, n_layers=1, n_heads=2, hidden_dim=32).config.num_labels == 5


def test_the_files_that_decide_it(folder):
    assert [file.name for file in weight_files(str(folder))] == ["config.json", "model.safetensors"]
    assert weight_files("bert") == ()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("google-bert/bert-base-uncased", {}, "is neither a folder with config.json nor a type of model"),
        ("/nowhere/bert", {}, "is neither a folder with config.json nor a type of model"),
        ("brt", {}, "unknown type of transformers model .* 'brt'; did you mean 'bert'"),
        ("bert", {"hiden_size": 16}, "unknown transformers:bert option 'hiden_size'; did you mean 'hidden_size'"),
        ("bert", {"num_labels": 3}, "unknown transformers:bert option 'num_labels'"),
        ("bert", {"trust_remote_code": True}, "unknown transformers:bert option 'trust_remote_code'"),
        ("bert", {"hidden_size": 17}, "'transformers:bert' could not be built: "),
        ("bert", {"pretrained": True}, "has no model.safetensors"),
        ("bert", {**TINY, "max_position_embeddings": 8}, "takes 8 .*expected at least the 24 tokens of data.options"),
        ("bert", {"weights": "DEFAULT"}, "has no model.safetensors"),
    ],
)
def test_mistakes(name, options, message):
    with pytest.raises(UserError, match=message) as caught:
        create(name, **options)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_of_more_tokens_than_the_embedding(folder):
    with pytest.raises(UserError, match=r"takes 60 \(vocab_size\), expected at least the 61 tokens of the tokenizer"):
        create(folder, facts={**FACTS, "vocabulary_size": 61})
    assert create(folder, facts={**FACTS, "vocabulary_size": 60})


def test_images_are_refused():
    with pytest.raises(UserError, match="is for texts"):
        models.create("transformers:bert", num_classes=5)


class _Runs:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_loading_runs_no_code(folder, tmp_path):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Runs(tmp_path / "ran")))
    with pytest.raises(UserError, match=r"has no model.safetensors"):
        create(folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModel": "mine.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(UserError, match="could not be built"):
        create(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"model_type": "bert", "hidden_size": "a"}', '{"model_type": "t5x"}'])
def test_a_damaged_configuration(folder, content):
    (folder / "config.json").write_text(content)
    with pytest.raises(UserError, match="could not be built"):
        create(folder)


def test_a_damaged_file_of_weights(folder):
    (folder / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(UserError, match="could not be built"):
        create(folder)
