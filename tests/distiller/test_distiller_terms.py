"""The terms of a ``Distiller``: every one is counted under its own name, and a temperature reaches each as its own."""

import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import limbeck
from limbeck.errors import UserError
from limbeck.losses import AdversarialLoss, KDLoss, dkd_loss, kd_loss, nkd_loss, ttm_loss, wttm_loss
from limbeck.methods import Method, Term, create
from limbeck.modifiers import LearnedTemperature, ScheduledTemperature, StandardizeLogits, Temperature

HOTTER = 5.0
# Every loss on logits, with the settings that put its own temperature, if it has one, at a value.
TEMPERED = {
    "kd": {},
    "dist": {},
    "dist (paper)": {"scale": "paper"},
    "dkd": {},
    "nkd": {},
    "ttm": {},
    "wttm": {},
    "rld": {},
    "reverse_kl": {},
    "jsd": {},
    "adversarial": {},
}
UNTEMPERED = {"logit_mse": {}, "cmkd": {"temperature": 3.0}, "lr": {"loss": "port"}}
IN_FRONT = {
    "fixed": (partial(Temperature, HOTTER), HOTTER),
    "dts": (partial(ScheduledTemperature, initial=HOTTER), HOTTER),
    "ctkd": (LearnedTemperature, 1 + 20 / (1 + math.exp(-1))),
}


def net(seed):
    torch.manual_seed(seed)
    return nn.Linear(6, 4).double()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(32, 6, generator=generator, dtype=torch.float64)
    return inputs, torch.randint(4, (32,), generator=generator)


def method_of(terms, modifiers=(), **more):
    return Method("own", {}, "any", terms=terms, modifiers=tuple(modifiers), **more)


def the_term(name, **settings):
    own = name.split()[0]
    method = create("kd+adversarial" if own == "adversarial" else own, **settings)
    return next(term for term in method.terms if name.split()[0] in (term.name, "lr"))


def total(out):
    return torch.stack(list(out.parts.values())).sum()


def parts(term, modifiers, batch):
    torch.manual_seed(7)
    distiller = limbeck.Distiller(net(0), net(1), method_of((term,), modifiers), epochs=4)
    out = distiller(*batch, epoch=0)
    torch.testing.assert_close(out.loss, total(out))
    out.loss.backward()
    return out.parts, distiller.student.weight.grad


@pytest.mark.parametrize("min_spread", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("name", ["dist", "cmkd"])
@pytest.mark.parametrize("kind", IN_FRONT)
def test_a_least_spread_is_one_of_undivided_logits(kind, name, min_spread, batch):
    make, temperature = IN_FRONT[kind]
    settings = {"min_spread": min_spread}
    in_front = parts(the_term(name, temperature=1.0, **settings), [make], batch)[0][name]
    own = parts(the_term(name, temperature=temperature if name == "dist" else 1.0, **settings), [], batch)[0][name]
    # CMKD adds 1e-3 to a row's variance, which is a little more beside divided logits.
    torch.testing.assert_close(in_front, own, rtol=1e-6 if name == "dist" else 0.05, atol=1e-9)


def test_standardization_undoes_a_temperature_also_below_its_least_spread(batch):
    term, modifiers = the_term("kd", temperature=1.0), [partial(StandardizeLogits, min_spread=3.0)]
    after = parts(term, [IN_FRONT["fixed"][0], *modifiers], batch)[0]
    torch.testing.assert_close(after, parts(term, modifiers, batch)[0])


@pytest.mark.parametrize("kind", IN_FRONT)
@pytest.mark.parametrize("name", TEMPERED)
def test_a_temperature_in_front_is_the_losses_own(name, kind, batch):
    make, temperature = IN_FRONT[kind]
    in_front = parts(the_term(name, temperature=1.0, **TEMPERED[name]), [make], batch)
    own = parts(the_term(name, temperature=temperature, **TEMPERED[name]), [], batch)
    assert in_front[0].keys() == own[0].keys()
    torch.testing.assert_close(in_front[0], own[0], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(in_front[1], own[1], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("kind", IN_FRONT)
@pytest.mark.parametrize("name", UNTEMPERED)
def test_a_loss_without_a_temperature_is_not_changed_by_one_in_front(name, kind, batch):
    term = the_term(name, **UNTEMPERED[name])
    in_front, plain = parts(term, [IN_FRONT[kind][0]], batch), parts(term, [], batch)
    # CMKD adds 1e-3 to a row's variance, which is a little more beside divided logits.
    close = {"rtol": 0.05, "atol": 1e-3} if name == "cmkd" else {"rtol": 1e-6, "atol": 1e-9}
    torch.testing.assert_close(in_front[0], plain[0], **close)


@pytest.mark.parametrize("method", ["dts", "ctkd"])
def test_parts_beside_a_moving_temperature_by_hand(method, batch):
    temperature = {"dts": 8.0, "ctkd": IN_FRONT["ctkd"][1]}[method]
    student, teacher = net(0), net(1)
    s, t = student(batch[0]), teacher(batch[0])
    expected = {
        "kd": 0.9 * kd_loss(s, t, temperature=temperature),
        "ttm": 45 * ttm_loss(s, t, temperature=temperature),
        "wttm": 4 * wttm_loss(s, t, temperature=temperature),
        "nkd": nkd_loss(s, t, batch[1], temperature=temperature, gamma=3.5),
        "dkd": dkd_loss(s, t, batch[1], temperature=temperature),
    }
    for name, value in expected.items():
        out = limbeck.Distiller(student, teacher, f"{method}+{name}", epochs=4)(*batch, epoch=0)
        torch.testing.assert_close(out.parts[name], value, rtol=1e-6, atol=1e-9)


def test_the_adversarial_part_beside_a_moving_temperature_is_a_plain_one(batch):
    distiller = limbeck.Distiller(net(0), net(1), "ctkd+adversarial", epochs=4)
    out = distiller(*batch, epoch=0)
    shares = F.softmax(distiller.student(batch[0]) / IN_FRONT["ctkd"][1], dim=1)
    discriminator = distiller.losses[1].discriminator
    torch.testing.assert_close(
        out.parts["adversarial"], 0.1 * F.softplus(-discriminator.eval()(shares, batch[1])).mean(), rtol=1e-2, atol=0
    )
    assert out.parts["adversarial"] < 1


def test_a_learned_temperature_has_a_gradient_of_the_losses_that_take_it(batch):
    distiller = limbeck.Distiller(net(0), net(1), "ctkd+ttm", epochs=4)
    distiller(*batch, epoch=3).parts["ttm"].backward()
    assert distiller.modifiers[0].theta.grad.abs() > 1e-6


def test_nothing_is_left_of_a_temperature_behind_a_standardization(batch):
    student, teacher = net(0), net(1)
    one, other = (
        limbeck.Distiller(student, teacher, method, epochs=4)(*batch, epoch=0)
        for method in (
            create("dts+lskd+kd"),
            create("lskd+kd", kd={"temperature": 1.0}),
        )
    )
    torch.testing.assert_close(one.parts["kd"], other.parts["kd"], rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", ["adversarial+lw_kd", "kd+adversarial+lw_kd"])
def test_two_adversarial_terms_are_both_counted(name, batch):
    method = create(name, alpha=0.5)
    distiller = limbeck.Distiller(net(0), net(1), method)
    out = distiller(*batch)
    assert set(out.parts) == {"ce", "kd", "adversarial", "adversarial_2", "discriminator", "discriminator_2"}
    torch.testing.assert_close(out.loss, total(out))
    out.loss.backward()
    assert all(parameter.grad is not None for parameter in distiller.adversary_parameters())


def test_two_temperatures_of_kd_are_both_counted(batch):
    student, teacher = net(0), net(1)
    terms = tuple(Term("kd", weight, partial(KDLoss, temperature=t)) for t, weight in ((1.0, 0.5), (4.0, 2.0)))
    out = limbeck.Distiller(student, teacher, method_of(terms, ce_weight=0.0))(*batch)
    s, t = student(batch[0]), teacher(batch[0])
    torch.testing.assert_close(out.parts["kd"], 0.5 * kd_loss(s, t, temperature=1.0))
    torch.testing.assert_close(out.parts["kd_2"], 2 * kd_loss(s, t, temperature=4.0))
    torch.testing.assert_close(out.loss, out.parts["kd"] + out.parts["kd_2"])


def test_a_numbered_name_is_never_a_given_one():
    terms = tuple(Term(name, 1.0, KDLoss) for name in ("kd", "kd", "kd_2", "kd", "kd_2"))
    assert [term.name for term in method_of(terms).terms] == ["kd", "kd_3", "kd_2", "kd_4", "kd_2_2"]


def test_two_terms_of_features_of_one_name_compare_their_own_layers():
    torch.manual_seed(0)
    student, teacher = (limbeck.models.create("resnet8", num_classes=4, width=0.25) for _ in range(2))
    (term,) = create("fitnet").terms
    twice = tuple(Term("fitnet", 1.0, term.loss, features=True, layers=layers) for layers in ("middle", "last"))
    distiller = limbeck.Distiller(student, teacher, method_of(twice), example=torch.zeros(2, 3, 16, 16))
    assert distiller.feature_pairs.chosen == {"fitnet": (0,), "fitnet_2": (1,)}
    out = distiller(torch.randn(4, 3, 16, 16), torch.arange(4))
    assert out.parts.keys() == {"ce", "fitnet", "fitnet_2"}


@pytest.mark.parametrize("name", ["ce", "loss", "accuracy", "discriminator", "discriminator_2", ""])
def test_reserved_names_are_refused(name):
    with pytest.raises(UserError, match=f"term: got the name '{name}', expected another than ce, loss"):
        Term(name, 1.0, AdversarialLoss)
