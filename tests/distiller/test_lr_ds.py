"""``lr_ds``: the components that it stands for, with and without a scorer, and beside others."""

import pytest
import torch

import limbeck
from limbeck.errors import UserError
from weighed_rows import measured


@pytest.mark.parametrize("settings", [{}, {"by_row": True}, {"by_row": True, "shuffled": True}])
@pytest.mark.parametrize("tamed", [{}, {"max_confidence": "auto"}])
def test_without_a_scorer_lr_ds_weighs_its_teacher(data, half, settings, tamed):
    name = "tame+weigh+revise+kd" if tamed else "weigh+revise+kd"
    composed, figures = measured(data, half, name, **settings, **tamed)
    other, same = measured(data, half, "lr_ds", **settings, **tamed)
    assert same == figures
    torch.testing.assert_close(other(*data).loss, composed(*data).loss)
    with pytest.raises(UserError, match="has no selection to make"):
        other.select([data])
    selecting = limbeck.methods.create("lr_ds", scorer="influence")
    assert (selecting.selection.scorer, selecting.weighing, selecting.taming) == ("influence", None, None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ratio": 0.5}, "lr_ds.ratio: got 0.5 without a scorer, expected scorer beside it, one of influence, "),
        ({"divide_by": "selected"}, "lr_ds.divide_by: got 'selected' without a scorer"),
        ({"shuffled": True}, "lr_ds.shuffled: got True without a scorer, expected by_row: true or a scorer beside it"),
        ({"scorer": "random", "by_row": True}, "lr_ds.by_row: got True with scorer 'random', expected it without a"),
        ({"scorer": "random", "max_confidence": 0.6}, "lr_ds.max_confidence: got 0.6 with scorer 'random'"),
    ],
)
def test_settings_of_lr_ds_without_effect_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        limbeck.methods.create("lr_ds", **settings)


@pytest.mark.parametrize(
    ("name", "settings", "weight", "temperature"),
    [
        ("lr_ds", {"weight": 0.5}, 0.5, 4.0),
        ("lr_ds+weigh", {"weight": 0.5}, 0.5, 4.0),
        ("weigh+lr_ds", {"weight": 0.5, "temperature": 2}, 0.5, 2.0),
        ("lr_ds+weigh", {}, "auto", None),
        ("lr_ds+weigh", {"scale": 2.0}, "auto", None),
        ("lr_ds+kd", {}, "auto", None),
        ("lr_ds+kd", {"kd": {"temperature": "4e0"}}, "auto", 4.0),
        ("kd+lr_ds", {"weight": 0.5}, 0.5, 4.0),
        ("lr_ds+dts+kd", {}, "auto", 1.0),
        ("lr_ds", {"scorer": "random", "weight": "auto"}, "auto", None),
        ("lr_ds", {"scorer": "random", "weight": 0.5}, 0.5, 4.0),
        ("lr_ds+kd", {"scorer": "random"}, None, 4.0),
    ],
)
def test_lr_ds_beside_other_names(name, settings, weight, temperature):
    method = limbeck.methods.create(name, **settings)
    (term,) = method.terms
    assert (None if method.weighing is None else method.weighing.weight) == weight
    assert term.measured_temperature is (temperature is None)
    assert term.build(3).settings["temperature"] == (temperature or 1.0)
    assert method.weighing is None or method.weighing.scale == settings.get("scale", 1.0)
    # What a run's folder has of it makes the same method.
    again = limbeck.methods.create(method.name, **method.settings)
    assert again.settings == method.settings
    assert again.weighing == method.weighing


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        (
            "weigh+lr_ds",
            {"lr_ds": {"by_row": True}},
            "lr_ds.by_row: got True beside weigh, expected weigh.by_row alone",
        ),
        (
            "lr_ds+tame",
            {"lr_ds": {"max_confidence": 0.6}},
            "lr_ds.max_confidence: got 0.6 beside tame, expected tame.max",
        ),
    ],
)
def test_settings_of_lr_ds_that_a_component_sets_aside_are_refused(name, settings, message):
    with pytest.raises(UserError, match=message):
        limbeck.methods.create(name, **settings)
    # A plain setting goes to both, and so does what a run's folder has of it.
    method = limbeck.methods.create(name, **settings["lr_ds"])
    assert limbeck.methods.create(name, **method.settings).settings == method.settings
