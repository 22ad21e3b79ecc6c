"""Copies and pickles of a ``Distiller``, before and after it has been trained, for every method."""

import copy
import pickle

import pytest
import torch

import limbeck
from limbeck import methods
from limbeck.cache import CachedTeacher, CacheSpec, LogitStore, RowFormat
from limbeck.errors import UserError
from limbeck.losses import Discriminator
from limbeck.teachers import LiveTeacher
from method_batches import CLASSES, SAMPLES, batch, distiller_for, linear_network, staged_network

WAYS = {"copy": copy.deepcopy, "pickle": lambda value: pickle.loads(pickle.dumps(value))}


def loss_of(distiller, epoch=1):
    torch.manual_seed(3)
    return distiller(*batch(5), epoch).loss


def trained(distiller, steps=2):
    optimizer = torch.optim.SGD(distiller.parameters(), lr=0.05)
    for step in range(steps):
        optimizer.zero_grad()
        distiller(*batch(step), 0).loss.backward()
        optimizer.step()
    return distiller


def assert_independent_and_equal(distiller, way):
    other = way(distiller)
    assert other.student is not distiller.student
    assert [p.requires_grad for p in other.parameters()] == [p.requires_grad for p in distiller.parameters()]
    assert torch.equal(loss_of(other), loss_of(distiller))
    before = copy.deepcopy(dict(distiller.state_dict()))
    trained(other, 1)
    assert all(torch.equal(value, before[name]) for name, value in distiller.state_dict().items())


@pytest.mark.parametrize("name", [*methods.names(), "kd+adversarial", "select+kd"])
def test_every_method_is_copied_and_pickled_even_after_a_training(name):
    settings = {"scorer": "random"} if name == "select+kd" else {}
    distiller = distiller_for(name, **settings)
    for way in WAYS.values():
        assert_independent_and_equal(distiller, way)
        trained(distiller)
        assert_independent_and_equal(distiller, way)


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_one_with_a_cached_teacher_reads_the_same_cache(tmp_path, way, local):
    live = LiveTeacher(linear_network(1))
    store = LogitStore.open(tmp_path, CacheSpec("views", SAMPLES, RowFormat(CLASSES, "float32")))
    logged = []
    teacher = CachedTeacher((lambda: live) if local else live, store, log=logged.append)
    distiller = trained(limbeck.Distiller(linear_network(0), teacher, method="kd"))
    other = WAYS[way](distiller)
    torch.testing.assert_close(loss_of(other), loss_of(distiller))
    assert other.teacher.store.folder == store.folder
    assert other.teacher.store is not store
    del distiller, teacher, store
    assert loss_of(other).isfinite()


@pytest.mark.parametrize("way", WAYS)
def test_a_discriminator_keeps_type_mode_and_what_is_frozen(way):
    made = Discriminator(3, hidden=5, conditional=False).double().eval()
    made.layers[0].bias.requires_grad_(False)
    random = torch.get_rng_state()
    other = WAYS[way](made)
    assert torch.equal(torch.get_rng_state(), random)
    shares = torch.full((2, 3), 1 / 3).double()
    assert torch.equal(other(shares, torch.arange(2)), made(shares, torch.arange(2)))
    assert [p.requires_grad for p in other.parameters()] == [p.requires_grad for p in made.parameters()]
    assert not other.training


def test_a_teacher_that_shares_with_the_student_is_refused_with_the_remedy():
    student = staged_network(0, 4)
    whole = torch.nn.Sequential(*student)
    tied = linear_network(1)
    tied[1].weight = student[4].weight
    ensemble = limbeck.teachers.EnsembleTeacher([staged_network(1, 4), LiveTeacher(copy.deepcopy(student))])
    limbeck.Distiller(student, ensemble, method="kd")
    for teacher, name in ((whole, "0"), (LiveTeacher(whole), "network.0"), (tied, "1.weight")):
        with pytest.raises(UserError, match=rf"teacher: shares '{name}' with the student.*copy\.deepcopy"):
            limbeck.Distiller(student, teacher, method="kd")
    with pytest.raises(UserError, match="teacher: is a part of the student, which would be frozen with it; expected"):
        limbeck.Distiller(student, student[0], method="kd")
    student.requires_grad_(True)
    with pytest.raises(UserError, match="teacher: shares"):
        limbeck.Distiller(student, whole, method="kd")
    assert all(parameter.requires_grad for parameter in student.parameters())
    limbeck.Distiller(student, copy.deepcopy(whole), method="kd")
