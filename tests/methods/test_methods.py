"""The registry and the grammar that joins methods."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from limbeck import methods
from limbeck.errors import UserError
from limbeck.losses import DISTLoss, KDLoss
from limbeck.methods.one_loss import one_loss
from limbeck.methods.registry import REGISTRY
from limbeck.validation import Settings

NAMES = ("none", "label_smoothing", "kd", "dist", "dr_kd", "lr", "lr_ds", "lw_kd", "tf_kd_self", "tf_kd_reg")


def test_every_promised_name_is_there():
    assert set(NAMES) <= set(methods.names())
    assert set(methods.components()) == {
        "rectify",
        "revise",
        "select",
        "adversarial",
        "semantic",
        "top_k",
        "tame",
        "weigh",
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_card_has_a_citation(name):
    card = methods.entry(name).card
    assert card.summary.endswith(".")
    assert card.citation
    assert card.equation


@pytest.mark.parametrize(
    ("name", "teacher"),
    [
        ("none", None),
        ("label_smoothing", None),
        ("kd", "any"),
        ("lr_ds", "any"),
        ("dr_kd", "self"),
        ("tf_kd_self", "self"),
        ("lw_kd", "lightweight"),
        ("tf_kd_reg", "virtual"),
        ("dr_kd+dist", "self"),
        ("revise+lw_kd", "lightweight"),
        ("none+dist", "any"),
    ],
)
def test_the_teacher_that_a_method_needs(name, teacher):
    assert methods.create(name).teacher == teacher


def terms(name, **settings):
    return [(term.name, term.weight) for term in methods.create(name, **settings).terms]


def test_a_loss_named_on_purpose_replaces_a_default_one():
    method = methods.create("lr+dist")
    assert [term.name for term in method.terms] == ["dist"]
    assert method.ce_weight == 1.0
    assert len(method.targets) == 1
    assert terms("dr_kd+dist") == [("dist", 1.0)]
    assert terms("lr_ds+dist") == [("dist", 0.1)]
    assert methods.create("lr_ds+dist", scorer="influence").selection.ratio == 0.8


def test_extra_losses_stay():
    assert terms("lw_kd+dist") == [("dist", 1.0), ("adversarial", 0.1)]
    assert terms("kd+adversarial", adversarial_weight=0.3) == [("kd", 0.9), ("adversarial", 0.3)]


def test_losses_named_on_purpose_add_up():
    method = methods.create("kd+dist")
    assert [term.name for term in method.terms] == ["kd", "dist"]
    assert method.ce_weight == 1.0


def test_label_smoothing_composes():
    method = methods.create("label_smoothing+dist", smoothing=0.2)
    assert (method.label_smoothing, [t.name for t in method.terms]) == (0.2, ["dist"])


def test_targets_are_applied_in_the_order_written():
    teacher, labels = torch.tensor([[0.0, 2.0, 1.0]]), torch.tensor([0])
    one, other = methods.create("rectify+revise+kd"), methods.create("revise+rectify+kd")
    for method, expected in ((one, [2.0, 0.0, 1.0]), (other, None)):
        target_logits = teacher
        for target in method.targets:
            target_logits = target(target_logits, labels)
        assert expected is None or target_logits.tolist() == [expected]
        assert target_logits.argmax() == 0


def test_a_setting_reaches_the_names_that_have_it():
    method = methods.create("lr+dist", temperature=2.0, dist={"temperature": 1.0}, eta=0.5)
    assert method.settings["lr"]["temperature"] == 2.0
    assert method.settings["dist"]["temperature"] == 1.0
    assert method.settings["lr"]["eta"] == 0.5
    loss = method.terms[0].build(10)
    assert isinstance(loss, DISTLoss)
    assert loss.settings["temperature"] == 1.0


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        *((name, f"weigh+{name}") for name in ("kd", "dist", "dkd", "lr", "lr+dist", "lskd+dkd", "dr_kd", "lw_kd")),
        ("tame+kd", "weigh+tame+kd"),
    ],
)
@pytest.mark.parametrize("weight", ["auto", 0.5])
def test_a_weight_is_short_for_weigh_in_front(name, whole, weight):
    short, long = methods.create(name, weight=weight), methods.create(whole, weight=weight)
    assert (short.name, short.settings) == (long.name, long.settings)
    assert (short.weighing, short.taming) == (long.weighing, long.taming)


@pytest.mark.parametrize(("name", "weights"), [("kd", [1.0]), ("dist", [0.1]), ("dkd", [0.1]), ("kd+dist", [1.0, 0.1])])
def test_full_weights_beside_labels(name, weights):
    method = methods.create(f"weigh+{name}")
    assert [term.weight for term in method.terms] == weights
    assert method.ce_weight == 1


def test_the_weights_within_dkd_may_be_set_beside_weigh():
    assert methods.create("weigh+dkd", alpha=2.0).settings["dkd"]["alpha"] == 2.0
    with pytest.raises(UserError, match="kd.alpha: got 0.5 with weigh"):
        methods.create("weigh+kd", alpha=0.5)


def test_a_weight_of_a_method_s_own_stays_its_own():
    class Own(Settings):
        weight: float = 2.0

    parts = partial(one_loss, name="kd", loss=KDLoss, weight="weight")
    methods.register(replace(methods.entry("kd"), name="gap", settings=Own, build=parts))
    try:
        assert methods.create("gap", weight=3.0).weighing is None
    finally:
        REGISTRY.unregister("gap")


def test_scale_code_of_dr_kd_averages_over_classes_times_the_multiplier():
    (term,) = methods.create("dr_kd", scale="code", multiplier=50, alpha=0.95, temperature=6).terms
    loss = term.build(4)
    assert isinstance(loss, KDLoss)
    assert (loss.settings["reduction"], term.weight) == ("mean", pytest.approx(47.5))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("dits", {}, "unknown method 'dits'; did you mean 'dts' or 'dist'?"),
        ("kd+dits", {}, "unknown method 'dits'"),
        ("kd+kd", {}, "method 'kd+kd': a name stands twice"),
        ("kd", {"temprature": 2}, "method kd: unknown setting 'temprature'; did you mean 'temperature'?"),
        ("kd", {"temperature": -1}, "kd.temperature: got -1, expected 'auto' (beside weigh) or a number above 0"),
        ("kd", {"temperature": "hot"}, "kd.temperature: got 'hot', expected 'auto' (beside weigh) or a number above 0"),
        ("lr", {"eta": 1}, "lr.eta: got 1, input should be less than 1"),
        ("dr_kd+lw_kd", {}, "method 'dr_kd+lw_kd': expected one kind of teacher"),
        ("revise", {}, "method 'revise': has no loss against the teacher"),
        ("select+label_smoothing", {}, "method 'select+label_smoothing': has no loss against the teacher"),
        ("lr_ds+select+kd", {"scorer": "random"}, "selects samples twice"),
        ("lr_ds", {"scorer": "inflence"}, "unknown scorer 'inflence'; did you mean 'influence' or 'confidence'"),
        ("", {}, "unknown method ''"),
    ],
)
def test_mistakes_are_one_clear_line(name, settings, message):
    with pytest.raises(UserError) as error:
        methods.create(name, **settings)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
