"""A live teacher: frozen and in eval mode at every call, in its own precision, for inputs of any kind."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

from limbeck import Distiller
from limbeck.teachers import InputAdapter, LiveTeacher

LABELS = torch.zeros(5, dtype=torch.int64)


def moody():
    """A network whose output depends on its mode."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Sequential(nn.Linear(8, 3)))


@pytest.mark.parametrize("part", [lambda net: net, lambda net: net[1], lambda net: net[2]])
def test_it_is_in_eval_mode_at_every_call(part):
    network, inputs = moody(), torch.randn(5, 4)
    teacher = LiveTeacher(network)
    expected, mean = teacher(inputs, LABELS), network[1].running_mean.clone()
    part(network).train()
    assert torch.equal(teacher(inputs, LABELS), expected)
    assert torch.equal(network[1].running_mean, mean)


def test_with_train_mode_it_is_in_train_mode_at_every_call():
    network, inputs = moody(), torch.randn(5, 4)
    teacher = LiveTeacher(network, train_mode=True)
    network.eval()
    mean = network[1].running_mean.clone()
    teacher(inputs, LABELS)
    assert not torch.equal(network[1].running_mean, mean)


def test_it_stays_frozen_whatever_its_owner_did():
    network = moody()
    teacher = LiveTeacher(network)
    network.requires_grad_(True)
    assert not teacher(torch.randn(5, 4), LABELS).requires_grad


def test_copies_and_pickles_are_teachers_of_their_own():
    teacher, inputs = LiveTeacher(moody()), torch.randn(5, 4)
    for other in (copy.deepcopy(teacher), pickle.loads(pickle.dumps(teacher))):
        other.network.train()
        assert torch.equal(other(inputs, LABELS), teacher(inputs, LABELS))
        assert other.network is not teacher.network
        assert not teacher.network.training
        assert list(other.state_dict()) == list(teacher.state_dict())


class Sums(nn.Module):
    """A network of a mapping, a tuple or rows of tokens; its logits are of each row by itself."""

    def forward(self, inputs=None, **named):
        parts = named.values() if named else inputs if isinstance(inputs, tuple) else [inputs]
        rows = torch.stack([part.float().flatten(1).sum(dim=1) for part in parts if isinstance(part, torch.Tensor)])
        assert len({len(part) for part in parts if isinstance(part, torch.Tensor)}) == 1
        self.rows = rows.shape[1]
        return torch.stack([rows.sum(dim=0), -rows.sum(dim=0)], dim=1)


@pytest.mark.parametrize("width", [16, 216, 512])
def test_a_samples_logits_are_the_same_in_a_batch_of_any_size(width):
    torch.manual_seed(0)
    teacher, inputs = LiveTeacher(nn.Linear(width, 7)), torch.randn(64, width)
    labels = torch.zeros(64, dtype=torch.int64)
    expected = teacher(inputs, labels)
    for rows in (1, 2, 5, 8, 13, 17, 31, 50):
        assert torch.equal(teacher(inputs[:rows], labels[:rows]), expected[:rows])


TOKENS, MASK = torch.arange(15).view(5, 3), torch.ones(5, 3, dtype=torch.bool)


@pytest.mark.parametrize(
    "inputs",
    [
        TOKENS,
        {"ids": TOKENS, "mask": MASK},
        (TOKENS, MASK),
        {"ids": TOKENS, "mask": None},
        (TOKENS, {"mask": MASK}["mask"]),
    ],
    ids=["tokens", "mapping", "tuple", "mapping with None", "tuple of two"],
)
def test_inputs_of_any_kind_are_filled_up_to_whole_rows(inputs):
    network = Sums()
    logits = LiveTeacher(network)(inputs, LABELS)
    assert network.rows == 16
    assert torch.equal(logits, network(**inputs) if isinstance(inputs, dict) else network(inputs))


@pytest.mark.parametrize(
    "inputs",
    [
        [torch.zeros(3, 2), torch.zeros(5, 2)],
        [torch.zeros(5, 2), torch.zeros(5, 2)],
        (TOKENS, torch.tensor(3.0)),
        {"text": ["a", "b", "c", "d", "e"], "ids": TOKENS},
    ],
    ids=["images of any size", "images with as many channels", "a number beside", "text beside"],
)
def test_inputs_that_are_no_rows_are_left_as_they_are(inputs):
    class Kept(nn.Module):
        def forward(self, inputs=None, **named):
            self.seen = named or inputs
            return torch.zeros(5, 3)

    network = Kept()
    assert LiveTeacher(network)(inputs, LABELS).shape == (5, 3)
    assert all(
        seen is given for seen, given in zip(pytree.tree_leaves(network.seen), pytree.tree_leaves(inputs), strict=True)
    )


def test_the_adapter_computes_in_full_precision_whatever_the_context():
    adapter = InputAdapter((0.5,), (0.25,), (0.1,), (0.3,), size=6)
    inputs = torch.randn(5, 1, 4, 4)
    expected = adapter(inputs)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(adapter(inputs), expected)
        assert adapter(inputs.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_computes_in_its_own_precision(precision):
    network, inputs = moody().eval(), torch.randn(8, 4)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        expected = network(inputs)
    teacher = LiveTeacher(network, precision=precision)
    for lowered in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=lowered):
            assert torch.equal(teacher(inputs, LABELS), expected)


def test_without_a_precision_of_its_own_it_takes_the_students():
    teacher = LiveTeacher(moody())
    with torch.autocast("cpu", torch.bfloat16):
        assert teacher(torch.randn(8, 4), LABELS).dtype == torch.bfloat16
    assert teacher(torch.randn(8, 4), LABELS).dtype == torch.float32


def test_features_are_computed_in_the_teachers_precision():
    torch.manual_seed(0)
    student, teacher = (
        nn.Sequential(nn.Sequential(nn.Conv2d(1, w, 3), nn.ReLU()), nn.Flatten(), nn.LazyLinear(3)) for w in (4, 6)
    )
    example = torch.randn(4, 1, 8, 8)
    student(example), teacher(example)
    live = LiveTeacher(teacher, precision="fp32")
    distiller = Distiller(student, live, "at", student_layers=["0"], teacher_layers=["0"], example=example)
    with torch.autocast("cpu", torch.bfloat16):
        logits, (features,) = distiller.feature_pairs.run_teacher(example)
    assert (logits.dtype, features.dtype) == (torch.float32, torch.float32)
