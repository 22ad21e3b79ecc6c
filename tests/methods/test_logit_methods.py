"""The methods of single losses on logits: their defaults, and that every setting reaches its loss."""

import pytest
import torch

from limbeck import Distiller, losses, methods
from limbeck.errors import UserError

DEFAULTS = {
    "reverse_kl": (losses.ReverseKLLoss, 0.1, 0.9, {"temperature": 4.0}),
    "jsd": (losses.JSDLoss, 0.1, 0.9, {"temperature": 4.0, "beta": 0.5}),
    "logit_mse": (losses.LogitMSELoss, 0.1, 0.9, {}),
    "dkd": (losses.DKDLoss, 1.0, 1.0, {"temperature": 4.0, "alpha": 1.0, "beta": 8.0}),
    "nkd": (losses.NKDLoss, 1.0, 1.0, {"temperature": 3.0, "gamma": 3.5}),
    "ttm": (losses.TTMLoss, 1.0, 45.0, {"temperature": 10.0}),
    "wttm": (losses.WTTMLoss, 1.0, 4.0, {"temperature": 5.0}),
    "cmkd": (losses.CMKDLoss, 1.0, 1.0, {"temperature": 4.0, "rank_temperature": 0.1, "alpha": 16.0, "beta": 16.0}),
    "rld": (losses.RLDLoss, 1.0, 1.0, {"temperature": 4.0, "confidence_temperature": None, "alpha": 1.0, "beta": 8.0}),
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults(name):
    module, ce_weight, weight, settings = DEFAULTS[name]
    method = methods.create(name)
    (term,) = method.terms
    loss = term.build(10)
    assert (method.teacher, type(loss), term.name) == ("any", module, name)
    assert (method.ce_weight, term.weight) == (pytest.approx(ce_weight), weight)
    assert {key: loss.settings[key] for key in settings} == settings


@pytest.mark.parametrize("name", DEFAULTS)
def test_settings_reach_the_loss(name):
    given = dict.fromkeys(DEFAULTS[name][3], 0.25)
    (term,) = methods.create(name, **{name: given}).terms
    loss = term.build(10)
    assert {key: loss.settings[key] for key in given} == given


@pytest.mark.parametrize("min_spread", [0.0, 2.0])
@pytest.mark.parametrize("name", ["dist", "cmkd", "lskd"])
def test_the_least_spread_reaches_the_loss(name, min_spread):
    method = methods.create(name, min_spread=min_spread)
    found = method.modifiers[0]().min_spread if name == "lskd" else method.terms[0].build(10).settings["min_spread"]
    assert found == min_spread


@pytest.mark.parametrize("name", ["ttm", "wttm"])
def test_weights_of_ttm(name):
    method = methods.create(name, beta=3, ce_weight=0.5)
    assert (method.ce_weight, method.terms[0].weight) == (0.5, 3)


@pytest.mark.parametrize("name", ["dkd", "rld", "reviewkd"])
def test_a_warm_up_raises_the_weight_in_equal_steps(name):
    (term,) = methods.create(name, warmup=4).terms
    assert [term.weight_at(epoch) / term.weight for epoch in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert methods.create(name).terms[0].weight_at(0) == term.weight


def test_a_warm_up_counts_in_the_loss():
    student, teacher = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
    batch = torch.randn(8, 4), torch.arange(8) % 3
    distiller = Distiller(student, teacher, method=methods.create("dkd", warmup=10))
    full = Distiller(student, teacher, method="dkd")(*batch).parts
    for epoch in (0, 4, 20):
        parts = distiller(*batch, epoch=epoch).parts
        torch.testing.assert_close(parts["dkd"], full["dkd"] * min(1, (epoch + 1) / 10))
        assert torch.equal(parts["ce"], full["ce"])
    with pytest.raises(UserError, match="epoch: got None"):
        distiller(*batch)


@pytest.mark.parametrize("name", DEFAULTS)
def test_cards_are_complete(name):
    card = methods.entry(name).card
    assert card.summary.endswith(".")
    assert "arXiv" in card.citation
    assert card.equation.startswith("L = ")
    assert card.published or card.ours or card.differences


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("jsd", {"beta": 1}, "jsd.beta: got 1, input should be less than 1"),
        ("dkd", {"beta": -1}, "dkd.beta: got -1, input should be greater than or equal to 0"),
        ("cmkd", {"rank_temperature": 0}, "cmkd.rank_temperature: got 0, input should be greater than 0"),
        ("rld", {"confidence_temperature": 0}, "rld.confidence_temperature: got 0, input should be greater than 0"),
        ("ttm", {"gamma": 0.1}, "method ttm: unknown setting 'gamma'"),
        ("logit_mse", {"temperature": 1}, "method logit_mse: unknown setting 'temperature'"),
    ],
)
def test_wrong_settings_are_named(name, settings, message):
    with pytest.raises(UserError) as error:
        methods.create(name, **settings)
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["rectify+dkd", "revise+rld", "lr+nkd", "dr_kd+wttm", "kd+cmkd"])
def test_they_compose(name):
    last = name.rpartition("+")[2]
    assert methods.create(name).terms[-1].name == last
