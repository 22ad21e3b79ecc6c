"""Batches of texts: padding, token dropout, and their repetition."""

import json
import subprocess
import sys

import pytest
import torch

from limbeck.data import load
from limbeck.data.text.augment import TokenAugment
from limbeck.data.text.batches import TextBatches
from limbeck.data.text.intents import intents
from limbeck.data.text.token_set import TextSet
from limbeck.data.text.tokenizer import train_tokenizer
from limbeck.errors import UserError
from limbeck.randomness.hashing import random_bits
from text_files import write_folder

pytest.importorskip("tokenizers")


def samples(data, augment, epoch=0, **options):
    """The tokens of each sample without padding, by its position in the split."""
    options = {"batch_size": 16, "seed": 3, **options}
    found = {}
    for batch in data.batches(data.train, augment=augment, **options).epoch(epoch):
        for row, tokens, mask in zip(batch.indices.tolist(), *batch.inputs.values(), strict=True):
            found[row] = tokens[mask.bool()].tolist()
    return found


@pytest.fixture
def data(tmp_path):
    return load("text", root=write_folder(tmp_path))


def test_padding_is_behind_the_text_and_as_wide_as_the_longest(data):
    lengths = data.train.lengths
    for batch in data.batches(data.train, batch_size=7, shuffle=True).epoch(2):
        tokens, mask = batch.inputs["input_ids"], batch.inputs["attention_mask"]
        assert (tokens.dtype, mask.dtype) == (torch.int64, torch.int64)
        assert tokens.shape == mask.shape == (len(batch.indices), int(lengths[batch.indices].max()))
        assert torch.equal(mask.sum(1), lengths[batch.indices])
        assert torch.equal(mask, mask.sort(dim=1, descending=True).values)
        assert (tokens[mask == 0] == data.padding_index).all()
        assert torch.equal(batch.labels, data.train.labels[batch.indices])


def test_fixed_padding(tmp_path):
    data = load("text", root=write_folder(tmp_path), options={"padding": "fixed", "max_length": 20})
    widths = {batch.inputs["input_ids"].shape[1] for batch in data.batches(data.train, batch_size=7).epoch(0)}
    assert widths == {20}


def test_batches_hold_the_texts(data):
    start, end = data.train.offsets[:-1].tolist(), data.train.offsets[1:].tolist()
    texts = {row: data.train.tokens[a:b].tolist() for row, (a, b) in enumerate(zip(start, end, strict=True))}
    assert samples(data, None) == texts == samples(data, TokenAugment(), epoch=4, shuffle=True)


def test_dropped_tokens_are_those_of_the_hash(data):
    """A loop over samples and tokens, with the random number of each."""
    drop, seed, epoch = 0.4, 3, 2
    expected = {}
    for row in range(len(data.train)):
        start, end = data.train.offsets[row : row + 2].tolist()
        tokens, added = data.train.tokens[start:end].tolist(), data.train.added[start:end].tolist()
        numbers = random_bits(row * 2**20 + torch.arange(end - start), seed=seed, epoch=epoch, stream=205).tolist()
        ordinary = [place for place, flag in enumerate(added) if not flag]
        kept = {place for place in ordinary if numbers[place] / 2**63 >= drop}
        kept = kept or {max(ordinary, key=lambda place: numbers[place])}
        kept |= {max(ordinary, key=lambda place: numbers[place])}
        expected[row] = [token for place, token in enumerate(tokens) if added[place] or place in kept]
    found = samples(data, TokenAugment(drop=drop), epoch=epoch)
    assert found == expected


def test_a_view_is_a_function_of_seed_epoch_and_sample(data):
    augment = TokenAugment(drop=0.3)
    first = samples(data, augment, epoch=1)
    assert samples(data, augment, epoch=1, shuffle=True, batch_size=5) == first
    halves = [samples(data, augment, epoch=1, rank=rank, world_size=2) for rank in (0, 1)]
    assert halves[0] | halves[1] == first
    assert samples(data, augment, epoch=2) != first
    assert samples(data, augment, epoch=1, seed=4) != first


@pytest.mark.parametrize("drop", [0.5, 0.999])
def test_added_tokens_and_one_other_stay(data, drop):
    for epoch in range(5):
        for tokens in samples(data, TokenAugment(drop=drop), epoch=epoch).values():
            assert (tokens[0], tokens[-1]) == (2, 3)
            assert len(tokens) >= 3


def test_the_share_that_is_dropped(tmp_path):
    split = TextSet.of([[5] * 1000] * 20, [[False] * 1000] * 20, [0] * 20, 1000)
    kept = TokenAugment(drop=0.3).kept(torch.arange(20), torch.ones(20, 1000, dtype=torch.bool), seed=0, epoch=0)
    assert len(split) == 20
    assert abs(kept.float().mean() - 0.7) < 0.01


@pytest.mark.parametrize("drop", [-0.1, 1.0, float("nan")])
def test_drop_is_a_share(drop):
    with pytest.raises(UserError, match=r"augment.drop: got"):
        TokenAugment(drop=drop)


def test_an_empty_order_and_a_text_without_ordinary_tokens():
    split = TextSet.of([[2, 3], [2, 7, 3]], [[True, True], [True, False, True]], [0, 1], 8)
    assert TextBatches(split, 0).split.select(torch.tensor([], dtype=torch.int64)).tokens.shape == (0,)
    kept = TokenAugment(drop=0.9).kept(torch.arange(1), torch.zeros(1, 2, dtype=torch.bool), seed=0, epoch=0)
    assert not kept.any()


def test_select_is_that_of_lists():
    texts = [[i] * (i % 4 + 1) for i in range(20)]
    split = TextSet.of(texts, [[False] * len(text) for text in texts], [i % 2 for i in range(20)], 8)
    order = torch.tensor([7, 7, 0, 19, 3])
    chosen = split.select(order)
    expected = TextSet.of(
        [texts[i] for i in order], [[False] * len(texts[i]) for i in order], [i % 2 for i in order], 8
    )
    assert chosen.fingerprint() == expected.fingerprint()
    assert chosen.fingerprint() != split.fingerprint()


@pytest.mark.parametrize("name", ["wordpiece", "bpe"])
def test_a_tokenizer_trained_in_another_process_is_the_same(name):
    code = (
        "from limbeck.data.text.intents import intents\n"
        "from limbeck.data.text.tokenizer import train_tokenizer\n"
        "texts = intents()[0].columns['text']\n"
        f"t = train_tokenizer({name!r}, texts, vocabulary_size=600, max_length=16)\n"
        "import json; print(json.dumps(t.content))"
    )
    other = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    made = train_tokenizer(name, intents()[0].columns["text"], vocabulary_size=600, max_length=16)
    assert made.content == other
    assert len(other["model"]["vocab"]) <= 600


def test_a_tokenizer_from_a_folder_is_used_as_it_is(tmp_path):
    trained = load("text", root=write_folder(tmp_path), options={"tokenizer": "bpe", "vocabulary_size": 300})
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    content = trained.preparation["tokenizer"] | {"padding": {"strategy": {"Fixed": 128}, "direction": "Right"}}
    content["padding"] |= {"pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    for path in (folder, folder / "tokenizer.json"):
        again = load("text", root=tmp_path, options={"tokenizer": str(path)})
        assert again.fingerprints == trained.fingerprints
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="cannot be read"):
        load("text", root=tmp_path, options={"tokenizer": str(folder)})


def test_a_text_without_a_space_for_pages_takes_no_training_time():
    # Whole, each took minutes: both trainers take the square of a word's length.
    texts, long = ["a red car", "a red bus"], "x" * 400_000
    pieces = train_tokenizer("wordpiece", [*texts, f"red {long}"], vocabulary_size=100, max_length=8)
    assert pieces.content == train_tokenizer("wordpiece", texts, vocabulary_size=100, max_length=8).content
    assert [pieces.backend.id_to_token(token) for token in pieces.encode([f"red {long} bus"]).tokens[0]] == [
        *("[CLS]", "red", "[UNK]", "bus", "[SEP]")
    ]
    of_bytes = train_tokenizer("bpe", [*texts, long], vocabulary_size=300, max_length=8)
    assert max(map(len, of_bytes.backend.get_vocab())) <= 1001
    assert of_bytes.backend.decode(of_bytes.encode(["red bus"]).tokens[0]).strip() == "red bus"


def test_a_vocabulary_of_bert(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "card", "loan", "rate", "please", "number", "very"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    data = load("text", root=write_folder(tmp_path / "data"), options={"tokenizer": str(tmp_path)})
    assert data.train.tokens[: data.train.offsets[1]].tolist() == [2, 4, 7, 8, 1, 3]
    assert data.facts == {"vocabulary_size": 10, "padding_index": 0, "max_length": 128}


def test_token_dropout_is_no_setting_of_images_and_the_other_way_round():
    with pytest.raises(UserError, match=r"data.augment.drop: got 0.1, but images take"):
        load("fashion_mnist_sample", train_limit=10).augment(TokenAugment(drop=0.1))
