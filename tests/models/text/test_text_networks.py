"""Networks for texts: shapes, padding, precision, gradients."""

import pytest
import torch

from limbeck import models
from limbeck.errors import UserError

FACTS = {"vocabulary_size": 40, "padding_index": 0, "max_length": 24}
TINY_BERT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
TINY_DISTILBERT = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32}
NETWORKS = [
    ("bag_of_embeddings", {}),
    ("text_cnn", {"width": 16, "channels": 8, "kernels": (1, 2, 3, 4, 5)}),
    ("bilstm", {"width": 16, "hidden": 8}),
    ("text_transformer", {"width": 16, "heads": 2, "depth": 2}),
    ("transformers:bert", TINY_BERT),
    ("transformers:distilbert", TINY_DISTILBERT),
]


def network(name, options, classes=5):
    if ":" in name:
        pytest.importorskip("transformers")
    torch.manual_seed(0)
    return models.create(name, num_classes=classes, facts=FACTS, **options)


def logits(net, inputs):
    output = net(**inputs)
    return getattr(output, "logits", output)


def padded(texts, width):
    tokens = torch.zeros(len(texts), width, dtype=torch.int64)
    mask = torch.zeros_like(tokens)
    for row, text in enumerate(texts):
        tokens[row, : len(text)], mask[row, : len(text)] = torch.tensor(text), 1
    return {"input_ids": tokens, "attention_mask": mask}


TEXTS = [[2, 7, 9, 11, 3], [2, 5, 3], [2, 8, 8, 8, 30, 31, 39, 3], [2]]


@pytest.mark.parametrize(("name", "options"), NETWORKS, ids=[name for name, _ in NETWORKS])
@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("graded", [False, True], ids=["no_grad", "grad"])
def test_logits_do_not_depend_on_the_padding(name, options, train, graded):
    no_dropout = {"dropout": 0.0} if ":" not in name else {}
    net = network(name, {**options, **no_dropout}).train(train and ":" not in name)
    with torch.set_grad_enabled(graded):
        narrow = logits(net, padded(TEXTS, 8))
        wide = logits(net, padded(TEXTS, 24))
        alone = torch.cat([logits(net, padded([text], len(text))) for text in TEXTS])
    assert narrow.shape == (4, 5)
    torch.testing.assert_close(wide, narrow, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(alone, narrow, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "options"), NETWORKS, ids=[name for name, _ in NETWORKS])
def test_what_stands_in_the_padding_does_not_matter(name, options):
    net = network(name, options).eval()
    inputs = padded(TEXTS, 12)
    other = {**inputs, "input_ids": inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, 17)}
    torch.testing.assert_close(logits(net, other), logits(net, inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "options"), NETWORKS, ids=[name for name, _ in NETWORKS])
def test_bfloat16_and_gradients(name, options):
    net = network(name, options)
    with torch.autocast("cpu", torch.bfloat16):
        output = logits(net, padded(TEXTS, 8))
    output.float().logsumexp(dim=1).sum().backward()
    gradients = {key: parameter.grad for key, parameter in net.named_parameters()}
    assert not [key for key, gradient in gradients.items() if gradient is None]
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    exact = logits(net.eval(), padded(TEXTS, 8))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(logits(net, padded(TEXTS, 8)).float(), exact, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("name", ["text_cnn", "text_transformer"])
def test_compiled(name):
    net = network(name, dict(NETWORKS)[name]).eval()
    compiled = torch.compile(net, backend="aot_eager")
    for width in (8, 9, 20):
        torch.testing.assert_close(logits(compiled, padded(TEXTS, width)), logits(net, padded(TEXTS, width)))


def test_the_lstms_are_those_of_packed_sequences():
    net = network("bilstm", {"width": 16, "hidden": 8}).eval()
    inputs = padded(TEXTS, 10)
    both = torch.nn.LSTM(16, 8, batch_first=True, bidirectional=True)
    state = dict(net.forward_lstm.state_dict())
    state |= {f"{key}_reverse": value for key, value in net.backward_lstm.state_dict().items()}
    both.load_state_dict(state)
    lengths = inputs["attention_mask"].sum(1)
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        net.embedding(inputs["input_ids"]), lengths, batch_first=True, enforce_sorted=False
    )
    states, _ = torch.nn.utils.rnn.pad_packed_sequence(both(packed)[0], batch_first=True, padding_value=-1e9)
    torch.testing.assert_close(logits(net, inputs), net.head(states.amax(dim=1)))


@pytest.mark.parametrize("name", ["bag_of_embeddings", "text_cnn", "bilstm", "text_transformer"])
def test_without_a_mask_every_position_counts(name):
    net = network(name, {}).eval()
    tokens = torch.randint(1, 40, (3, 6))
    torch.testing.assert_close(net(tokens), net(tokens, torch.ones_like(tokens)))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("text_cnn", {"kernels": []}, "text_cnn kernels: got"),
        ("text_transformer", {"width": 10, "heads": 3}, "width: got 10, expected a multiple of the 3 heads"),
        ("text_cnn", {"chanels": 3}, "unknown text_cnn option 'chanels'; did you mean 'channels'"),
        ("resnet8", {}, "'resnet8': is for images, expected one for these inputs"),
    ],
)
def test_mistakes(name, options, message):
    with pytest.raises(UserError, match=message):
        network(name, options)


def test_a_network_for_texts_needs_them():
    with pytest.raises(UserError, match="needs the option 'vocabulary_size'"):
        models.create("text_cnn", num_classes=5)
