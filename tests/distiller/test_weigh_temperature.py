"""The temperature that is measured beside a measured weight."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import limbeck
from limbeck.errors import UserError
from limbeck.losses import kd_loss
from limbeck.methods.registry import REGISTRY, entry
from limbeck.targets import revise_logits
from limbeck.validation import Settings
from weighed_rows import linear, measured, weighed


def test_the_temperature_follows_the_teacher_as_it_is(data, half):
    """A teacher that exchanges classes throughout is reliable for lr, which puts the true ones first; not softened."""
    inputs, _, places = data
    exchanged = nn.Linear(4, 4, bias=False)
    with torch.no_grad():
        exchanged.weight.copy_(torch.eye(4)[[1, 0, 2, 3]])
        labels = exchanged(linear(2)(inputs)).argmax(1)
        # Students without it, right on most of what it exchanges.
        student = linear(2)
        student.weight.add_(0.6 * linear(5).weight)
    proxies = (nn.Sequential(student, exchanged),) * 2
    figures = {
        name: weighed(name).measure_teacher([(inputs, labels, places)], proxies=proxies, half=half)
        for name in ("weigh+kd", "weigh+lr")
    }
    assert figures["weigh+kd"]["weigh.share"] < 0.9 <= figures["weigh+lr"]["weigh.share"]
    assert {found["weigh.temperature"] for found in figures.values()} == {1.0}


@pytest.mark.parametrize("method", ["weigh+kd", "weigh+lr", "tame+weigh+kd", "lr_ds"])
def test_a_reliable_teacher_is_compared_at_2_and_a_temperature_that_is_given_stays(data, half, method):
    inputs, _, places = data
    labels = linear(2, 3)(inputs).argmax(1)
    for settings, expected in (({}, 2.0), ({"temperature": 3.0}, 3.0), ({"temperature": "auto"}, 2.0)):
        distiller, figures = measured((inputs, labels, places), half, method, **settings)
        assert figures["weigh.share"] >= 0.9
        assert figures.get("weigh.temperature", 3.0) == expected
        logits = linear(2, 3)(inputs) / figures.get("tame.temperature", 1.0)
        targets = revise_logits(logits, labels) if "lr" in method else logits
        out = distiller(inputs, labels, places)
        matched = kd_loss(out.logits, targets, temperature=expected)
        torch.testing.assert_close(out.parts["kd"], figures["weigh.weight"] * matched)


def test_where_a_temperature_is_measured():
    measures = {
        "kd": ({}, False),
        "weigh+lr": ({}, True),
        "weigh+lr+dist": ({}, False),
        "weigh+dts": ({}, False),
        "lr_ds": ({}, True),
    }
    for name, (settings, expected) in measures.items():
        terms = limbeck.methods.create(name, **settings).terms
        assert [term.measured_temperature for term in terms] == [expected], name
    for settings in ({"scorer": "random"}, {"temperature": 4.0}):
        assert limbeck.methods.create("lr_ds", **settings).terms[0].build(3).settings["temperature"] == 4
    assert limbeck.methods.create("kd", weight=0.5).terms[0].build(3).settings["temperature"] == 4
    for settings in ({}, {"weight": 0.5}):
        with pytest.raises(UserError, match=r"temperature: got 'auto', expected a number, or a measured weight"):
            limbeck.methods.create("kd", temperature="auto", **settings)


def test_a_measured_temperature_multiplies_what_stands_in_front(data, half):
    distiller, figures = measured(data, half, "weigh+lskd+kd")
    assert figures["weigh.temperature"] == 1
    other = limbeck.methods.create("weigh+lskd+kd", weight=figures["weigh.weight"], kd={"temperature": 1.0})
    expected = limbeck.Distiller(linear(1), linear(2, 3), other)(*data)
    torch.testing.assert_close(distiller(*data).parts["kd"], expected.parts["kd"])


def test_a_selection_alone_measures_no_temperature():
    assert limbeck.methods.create("lr_ds", scorer="random").settings["lr_ds"]["temperature"] == 4
    with pytest.raises(UserError, match=r"method 'lr_ds': temperature: got 'auto', expected a number, or a measured"):
        limbeck.methods.create("lr_ds", scorer="random", temperature="auto")


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan"), "some", None])
def test_a_temperature_that_is_none_is_one_clear_line(value):
    with pytest.raises(
        UserError, match=r"kd.temperature: got .*, expected 'auto' \(beside weigh\) or a number above 0"
    ):
        limbeck.methods.create("kd", temperature=value)


def test_a_copy_of_an_entry_keeps_its_own_settings():
    class Own(Settings):
        temperature: float = 2.0
        alpha: float = 0.5

    limbeck.methods.register(replace(entry("kd"), name="own", settings=Own))
    try:
        assert limbeck.methods.create("own").terms[0].build(3).settings["temperature"] == 2
        assert limbeck.methods.create("own", weight=0.5).terms[0].build(3).settings["temperature"] == 2
    finally:
        REGISTRY.unregister("own")
