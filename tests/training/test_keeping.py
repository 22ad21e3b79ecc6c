"""The epoch that is kept and the end by patience, against loops by hand and against trainings of fewer epochs."""

import math

import numpy as np
import pytest
import torch

from error_rate import CLASSES, ErrorRate, Lists, Net, batches_of
from limbeck import Distiller
from limbeck.errors import RunError, UserError
from limbeck.randomness.seeding import seed_everything
from limbeck.tasks import Metric
from limbeck.training import Engine, OptimizerSettings, TrainingSettings, make_fabric
from limbeck.training.checkpoint import load_checkpoint
from limbeck.training.keeping import best_position, without_gain
from limbeck.validation import validated


class Stop(Exception):
    """Ends a training."""


def engine(folder=None, *, epochs=8, stop=None, task=None, splits=("validation", "test"), logged=None, lr=0.3, **more):
    seed_everything(0)
    settings = TrainingSettings(
        epochs=epochs,
        batch_size=16,
        device="cpu",
        precision="fp32",
        schedule="constant",
        optimizer=OptimizerSettings(name="sgd", lr=lr, momentum=0.9),
        **more,
    )
    batches = {name: Lists(batches_of(1, size=12, seed=seed)) for seed, name in enumerate(("validation", "test"), 5)}

    def before_epoch(epoch):
        if epoch == stop:
            raise Stop

    return Engine(
        Distiller(Net(), method="none", task=task or ErrorRate(CLASSES)),
        Lists(batches_of()),
        settings,
        fabric=make_fabric(settings),
        splits={name: batches[name] for name in splits},
        checkpoint=folder,
        before_epoch=before_epoch,
        log=(lambda line: None) if logged is None else logged.append,
    )


def weights(trained):
    return torch.cat([value.flatten().double() for value in trained.network.state_dict().values()])


def figures(record, name="validation.error"):
    return [row[name] for row in record if name in row]


def times_left_out(record):
    return [{k: v for k, v in row.items() if k not in ("seconds", "samples_per_second")} for row in record]


def test_best_and_patience_against_loops():
    drawn = np.random.default_rng(0).integers(0, 6, (200, 9)) / 10
    for values in drawn:
        assert best_position(values.tolist(), higher_is_better=True) == int(np.argmax(values))
        assert best_position(values.tolist(), higher_is_better=False) == int(np.argmin(values))
        # Without a least gain, the evaluations since the first place of the running maximum.
        assert without_gain(values.tolist(), higher_is_better=True) == len(values) - 1 - int(np.argmax(values))
        reference, waited = math.inf, 0
        for value in values.tolist():
            gained = reference - value > 0.15
            reference, waited = (value, 0) if gained else (reference, waited + 1)
        assert without_gain(values.tolist(), higher_is_better=False, min_gain=0.15) == waited
    assert without_gain([], higher_is_better=True) == 0


@pytest.mark.parametrize("more", [{}, {"ema": 0.8}, {"evaluate_every": 3}])
def test_the_kept_network_is_that_of_a_training_which_ends_there(more):
    logged = []
    trained = engine(keep="best", logged=logged, **more)
    record = trained.fit()
    # The lower the better here.
    expected = next(row for row in record if row.get("validation.error") == min(figures(record)))
    assert trained.keeping.chosen(record) is expected
    epoch = expected["epoch"]
    assert epoch < len(record) == 8, "the last epoch would be kept anyway"
    shorter = engine(epochs=epoch, **more)
    shorter.fit()
    assert torch.equal(weights(trained), weights(shorter))
    for name in ("validation", "test"):
        assert trained.measured[name].error == expected[f"{name}.error"] == shorter.measured[name].error
    assert trained.keeping.summary(record) == {"chosen_by": "validation error rate", "chosen_epoch": epoch}
    assert logged[-1].startswith(f"training.keep: epoch {epoch} of 8 is kept, the best validation error rate, ")


def test_equal_figures_keep_the_first_epoch_and_end_the_training():
    logged = []
    trained = engine(keep="best", patience=3, lr=1e-12, logged=logged)
    record = trained.fit()
    assert len(set(figures(record))) == 1
    assert len(record) == 4
    assert trained.keeping.chosen(record)["epoch"] == 1
    assert trained.keeping.summary(record)["stopped_early"] is True
    assert logged[0] == (
        "training.patience: ended after epoch 4 of 8: 3 evaluations without a better validation error rate"
    )


def test_patience_counts_evaluations():
    record = engine(patience=2, lr=1e-12, evaluate_every=2).fit()
    assert [row["epoch"] for row in record] == [1, 2, 3, 4, 5, 6]
    assert len(figures(record)) == 3


def test_the_end_by_patience_keeps_the_last_network_unless_the_best_is_kept():
    last = engine(patience=2, min_gain=0.5)
    best = engine(patience=2, min_gain=0.5, keep="best")
    assert len(last.fit()) == len(best.fit()) == 3
    shorter = engine(epochs=3)
    shorter.fit()
    assert torch.equal(weights(last), weights(shorter))
    assert times_left_out(best.record) == times_left_out(last.record)
    assert not last.keeping.state()


def test_nothing_changes_where_nothing_is_chosen(tmp_path):
    plain, kept = engine(tmp_path / "plain"), engine(tmp_path / "kept", keep="best", patience=8)
    plain.fit()
    kept.fit()
    states = [load_checkpoint(tmp_path / name) for name in ("plain", "kept")]
    assert states[1].keys() - states[0].keys() == {"best"}
    # The checkpoint has the last weights beside the best ones: a resumed training goes on from these.
    for name, value in states[0]["distiller"].items():
        assert torch.equal(value, states[1]["distiller"][name])
    assert times_left_out(plain.record) == times_left_out(kept.record)
    assert plain.keeping.summary(plain.record) == {}


@pytest.mark.parametrize("stop", [1, 4, 6])
@pytest.mark.parametrize("hurt", [False, True])
def test_a_stopped_training_keeps_and_ends_as_one_that_never_stopped(tmp_path, stop, hurt):
    choice = {"keep": "best", "patience": 2, "min_gain": 0.05}
    whole = engine(tmp_path / "whole", **choice)
    whole.fit()
    assert stop < len(whole.record) < 8, "a stop behind the end would show nothing"
    with pytest.raises(Stop):
        engine(tmp_path / "last", stop=stop, **choice).fit()
    if hurt and stop > 1:
        (tmp_path / "last" / "state.pt").write_bytes(b"")
    resumed = engine(tmp_path / "last", **choice)
    seed_everything(77)
    resumed.fit(resume=True)
    assert times_left_out(resumed.record) == times_left_out(whole.record)
    assert torch.equal(weights(resumed), weights(whole))
    assert resumed.measured["test"].numbers() == whole.measured["test"].numbers()
    states = [load_checkpoint(tmp_path / name)["best"] for name in ("whole", "last")]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_training_that_ended_stays_ended(tmp_path):
    ended = engine(tmp_path / "last", patience=2, min_gain=0.5, keep="best", checkpoint_every=5)
    ended.fit()
    for epochs in (8, 20):
        again = engine(tmp_path / "last", epochs=epochs, patience=2, min_gain=0.5, keep="best", checkpoint_every=5)
        assert len(again.fit(resume=True)) == 3
        assert torch.equal(weights(again), weights(ended))
        assert again.measured["test"].numbers() == ended.measured["test"].numbers()


def test_a_choice_without_its_split_is_one_line():
    for choice in ({"keep": "best"}, {"patience": 2}):
        with pytest.raises(UserError, match=r"^training\.(keep|patience): got .* no validation split; expected data"):
            engine(splits=["test"], **choice)
    engine(splits=["test"])


def test_a_metric_without_a_direction_cannot_choose():
    class Undirected(ErrorRate):
        metrics = (Metric("error", "error rate", higher_is_better=None), *ErrorRate.metrics[1:])

    with pytest.raises(
        UserError, match=r"^training\.patience: got 2, but error rate, by which it would be chosen, has"
    ):
        engine(task=Undirected(CLASSES), patience=2)


def test_a_split_without_the_figure_cannot_choose():
    class Other(ErrorRate):
        metrics = (Metric("absent", "absent figure"), *ErrorRate.metrics)

    with pytest.raises(RunError, match="the validation split has no absent figure, by which the best epoch is chosen"):
        engine(task=Other(CLASSES), keep="best", epochs=1).fit()


def test_settings_are_checked():
    for wrong, message in (
        ({"min_gain": 0.1}, "^training.min_gain: got 0.1 without patience, expected it beside patience"),
        ({"keep": "worst"}, "^training.keep: got 'worst'"),
        ({"patience": 0}, "^training.patience: got 0"),
        ({"patience": True}, "^training.patience: got True"),
        ({"min_gain": -1, "patience": 1}, "^training.min_gain: got -1"),
        ({"temperature_scaling": 2}, "^training.temperature_scaling: got 2"),
    ):
        with pytest.raises(UserError, match=message) as error:
            validated(TrainingSettings, wrong, "training")
        assert "\n" not in str(error.value)
    choosing = TrainingSettings(patience=3)
    assert "evaluate_every" not in choosing.without_effect
    assert "evaluate_every" in TrainingSettings(temperature_scaling=True).without_effect
    assert {"keep", "patience", "min_gain", "temperature_scaling"} <= TrainingSettings().unset_later
