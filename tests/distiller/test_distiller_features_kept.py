"""Copies, hooks and compiled forms of distillers that compare features."""

import copy
import gc
import pickle

import pytest
import torch

from feature_distillers import METHODS, made, net
from limbeck.methods import create


@pytest.mark.parametrize("method", METHODS)
def test_no_state_dict_has_a_network_twice(method, batch):
    student, teacher = net(), net(1)
    distiller = made(method, student, teacher)
    assert distiller.student is student
    own = {name for name in distiller.state_dict() if name.startswith("student.")}
    assert own == {f"student.{name}" for name in student.state_dict()}
    rest = set(distiller.state_dict()) - own
    assert all(name.startswith("losses.") for name in rest)
    assert not any("network" in name or "teacher." in name for name in rest)
    extra, students = list(distiller.extra_parameters()), list(distiller.student_parameters())
    assert len(list(distiller.parameters())) == len(extra) + len(students)
    assert bool(extra) == (method in ("fitnet", "vid", "crd", "reviewkd"))
    assert not any(p.requires_grad for p in teacher.parameters())


@pytest.mark.parametrize("method", ["sp", "fitnet", "crd", "reviewkd"])
def test_copies_and_pickles_are_independent(method, batch):
    one = made(method).eval()
    torch.manual_seed(0)
    expected = one(*batch).loss
    for other in (copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        torch.manual_seed(0)
        torch.testing.assert_close(other(*batch).loss, expected)
        assert other.feature_pairs.student.network is other.student
        assert other.feature_pairs.teacher.network is other.teacher.network
        assert other.student is not one.student
        with torch.no_grad():
            other.student.conv1.weight.zero_()
        assert one.student.conv1.weight.any()


def forward_hooks(network):
    return [(name, len(module._forward_hooks)) for name, module in network.named_modules() if module._forward_hooks]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda whole: pickle.loads(pickle.dumps(whole))])
def test_a_copy_has_each_hook_once_and_none_is_left_behind(copied, batch):
    distiller = made("fitnet+sp").eval()
    expected = distiller(*batch).loss
    once = [("layer2", 1), ("layer3", 1)]
    for _ in range(2):
        distiller = copied(distiller)
        assert forward_hooks(distiller.student) == forward_hooks(distiller.teacher.network) == once
    torch.testing.assert_close(distiller(*batch).loss, expected)
    student, teacher = distiller.student, distiller.teacher.network
    del distiller
    gc.collect()
    assert forward_hooks(student) == forward_hooks(teacher) == []


def test_only_the_layers_that_are_compared_are_kept():
    pairs = made("kd+crd").feature_pairs
    assert pairs.student.layers == pairs.teacher.layers == ("layer3",)
    assert pairs.chosen == {"crd": (0,)}
    assert made("sp+fitnet+crd").feature_pairs.chosen == {"sp": (1,), "fitnet": (0,), "crd": (1,)}


def test_the_students_own_hooks_fire(batch):
    student, teacher, calls = net(), net(1), []
    distiller = made("at", student, teacher)
    for name, network in (("student", student), ("teacher", teacher)):
        network.register_forward_hook(lambda *_, name=name: calls.append(name))
        network.layer2[0].register_forward_hook(lambda *_, name=name: calls.append(f"{name} block"))
    distiller(*batch).loss.backward()
    assert calls == ["student block", "student", "teacher block", "teacher"]


def test_a_student_that_is_frozen_by_a_hook_of_its_own_stays_so(batch):
    """A hook that replaces an output changes what is trained, with features as without."""
    student = net().eval()
    student.layer1.register_forward_hook(lambda module, args, output: output.detach())
    made(create("at", at_weight=1.0), student, student_layers=["layer3"])(*batch).loss.backward()
    assert student.conv1.weight.grad is None
    assert student.layer2[0].conv1.weight.grad.any()


@pytest.mark.parametrize("method", ["at", "kd+crd"])
@pytest.mark.parametrize("before", [True, False])
def test_a_compiled_student(method, before, batch):
    plain, student = made(method).eval(), net().eval()
    if before:
        distiller = made(method, torch.compile(student, backend="eager")).eval()
    else:
        distiller = made(method, student).eval()
        student.compile(backend="eager")
    for _ in range(2):
        losses = []
        for pair in (plain, distiller):
            torch.manual_seed(1)
            out = pair(*batch)
            out.loss.backward()
            losses.append(out.loss)
        torch.testing.assert_close(*losses)
    for own, other in zip(plain.parameters(), distiller.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad)
