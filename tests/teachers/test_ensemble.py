"""Several teachers as one."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import limbeck
from limbeck.errors import UserError
from limbeck.teachers import EnsembleTeacher, LightweightBank, LightweightTeacher, LiveTeacher, Teacher


class Fixed(Teacher):
    def __init__(self, rows):
        super().__init__()
        self.rows = rows

    def logits(self, inputs, labels, indices=None, epoch=0):
        return self.rows


def random_rows(count=3, n=6, c=5, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    rows = 3 * torch.randn(count, n, c, generator=generator, dtype=torch.float64)
    return rows.to(dtype), torch.randint(c, (n,), generator=generator)


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def averaged(rows, labels, average):
    return EnsembleTeacher([Fixed(one) for one in rows], average=average)(None, labels)


def by_numpy(rows, labels, average):
    z = rows.numpy()
    if average == "logits":
        return softmax(z.mean(axis=0))
    if average == "probabilities":
        return softmax(z).mean(axis=0)
    mixed = np.zeros(z.shape[1:])
    for n, label in enumerate(labels):
        p = softmax(z[:, n])
        worth = 1 / p[:, label]
        weights = (1 - worth / worth.sum()) / (len(z) - 1)
        assert weights.sum() == pytest.approx(1)
        mixed[n] = sum(w * q for w, q in zip(weights, p, strict=True))
    return mixed


@pytest.mark.parametrize("average", ["logits", "probabilities", "confidence"])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_equals_numpy(count, average):
    rows, labels = random_rows(count)
    got = averaged(rows, labels, average)
    np.testing.assert_allclose(got.softmax(1).numpy(), by_numpy(rows, labels, average), rtol=1e-9)
    if average == "logits":
        np.testing.assert_allclose(got.numpy(), rows.numpy().mean(axis=0), rtol=1e-12)
    else:
        np.testing.assert_allclose(got.exp().sum(1).numpy(), 1)


@pytest.mark.parametrize("average", ["logits", "probabilities", "confidence"])
def test_one_teacher_alone_and_copies_of_it_have_the_same_average(average):
    rows, labels = random_rows(1)
    for count in (1, 4):
        got = averaged(rows.expand(count, -1, -1), labels, average)
        torch.testing.assert_close(got.softmax(1), rows[0].softmax(1))


def test_confidence_follows_the_teacher_that_is_right():
    labels = torch.tensor([0, 1])
    one, other = torch.tensor([[9.0, 0.0], [9.0, 0.0]]), torch.tensor([[0.0, 9.0], [0.0, 9.0]])
    weighed = averaged(torch.stack([one, other]), labels, "confidence").softmax(1)
    assert torch.equal(weighed.argmax(1), labels)
    assert weighed.gather(1, labels[:, None]).min() > 0.99
    plain = averaged(torch.stack([one, other]), labels, "probabilities").softmax(1)
    torch.testing.assert_close(plain, torch.full((2, 2), 0.5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("average", ["logits", "probabilities", "confidence"])
def test_extremes_and_half_precision(average, dtype):
    rows, labels = random_rows(dtype=dtype)
    got = averaged(rows, labels, average)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), averaged(rows.double(), labels, average), rtol=1e-5, atol=1e-5)
    extreme = torch.where(rows > 0, 1e4, -1e4).to(dtype)
    assert averaged(extreme, labels, average).isfinite().all()
    opposed = torch.tensor([[[1e4, -1e4]], [[-1e4, 1e4]]]).to(dtype)
    assert averaged(opposed, torch.tensor([1]), average).isfinite().all()


@pytest.mark.parametrize("average", ["logits", "probabilities", "confidence"])
def test_compiles_as_one_graph(average):
    rows, labels = random_rows()
    teacher = EnsembleTeacher([Fixed(one) for one in rows], average=average)
    compiled = torch.compile(teacher, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(None, labels), teacher(None, labels))


def net(classes=4, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, classes))


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(32, 6, generator=generator), torch.randint(4, (32,), generator=generator)


def test_networks_are_frozen_in_eval_mode_and_hidden_in_a_distiller(batch):
    networks = [net(seed=1), net(seed=2)]
    before = copy.deepcopy([network.state_dict() for network in networks])
    teacher = EnsembleTeacher(networks, average="confidence")
    distiller = limbeck.Distiller(net(), teacher, method="kd").train()
    teacher.train()
    distiller(*batch).loss.backward()
    for network, state in zip(networks, before, strict=True):
        assert not network.training
        assert not any(parameter.requires_grad for parameter in network.parameters())
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert all(name.startswith("student.") for name in distiller.state_dict())


def test_two_networks_average_in_a_distiller(batch):
    one, other, student = net(seed=1), net(seed=2), net().eval()
    out = limbeck.Distiller(student, EnsembleTeacher([one, other]), method="kd")(*batch)
    mean = (one(batch[0]) + other(batch[0])) / 2
    torch.testing.assert_close(out.parts["kd"], 0.9 * limbeck.losses.kd_loss(student.eval()(batch[0]), mean))


def test_a_member_may_be_kept_in_train_mode_on_purpose_and_need_indices():
    network = net(seed=1)
    bank = LightweightTeacher(LightweightBank(torch.randn(4, 5, 4), accuracy=1.0))
    teacher = EnsembleTeacher([LiveTeacher(network, train_mode=True), bank])
    assert network.training
    inputs, labels, indices = torch.randn(3, 6), torch.tensor([0, 1, 2]), torch.tensor([7, 8, 9])
    torch.manual_seed(0)
    got = teacher(inputs, labels, indices, 4)
    torch.manual_seed(0)
    torch.testing.assert_close(got, (network(inputs) + bank(inputs, labels, indices, 4)) / 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: EnsembleTeacher([]), "teachers: got none, expected a list of at least one"),
        (lambda: EnsembleTeacher(net()), "teachers: got none, expected a list of at least one"),
        (lambda: EnsembleTeacher([net(), "resnet8"]), "teachers: number 1 is a str, expected a teacher or a network"),
        (lambda: EnsembleTeacher([net()], average="mean"), "unknown average 'mean'"),
        (
            lambda: EnsembleTeacher([net(), net(5)])(torch.zeros(2, 6), torch.tensor([0, 1])),
            "teacher 1's output: got (2, 5), expected the first teacher's shape (2, 4)",
        ),
        (
            lambda: EnsembleTeacher([nn.Flatten(0)])(torch.zeros(2, 6), torch.tensor([0, 1])),
            "teacher 0's output: got (96,) torch.float32, expected float logits of shape (N, C)",
        ),
    ],
)
def test_mistakes_are_one_clear_line(call, message):
    with pytest.raises(UserError) as error:
        call()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_confidence_with_labels_of_every_kind():
    torch.manual_seed(0)
    pair, inputs = [nn.Linear(6, 3), nn.Linear(6, 3)], torch.randn(4, 6)
    teacher, alike = (EnsembleTeacher(pair, average=average) for average in ("confidence", "probabilities"))
    hard = torch.tensor([0, 2, 1, 1])
    torch.testing.assert_close(teacher(inputs, torch.eye(3)[hard]), teacher(inputs, hard))
    soft = 0.7 * torch.eye(3)[hard] + 0.3 * torch.eye(3)[hard.flip(0)]
    log_p = torch.stack([network(inputs).log_softmax(1) for network in pair])
    weights = 1 - (-(log_p * soft).sum(2)).softmax(0)
    torch.testing.assert_close(teacher(inputs, soft), (weights[:, :, None] * log_p.exp()).sum(0).log())
    partly = torch.tensor([0, -100, 1, -100])
    out = teacher(inputs, partly)
    torch.testing.assert_close(out[1::2], alike(inputs, partly)[1::2])
    torch.testing.assert_close(out[::2], teacher(inputs, hard)[::2])
