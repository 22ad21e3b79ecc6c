"""The numbers of a search: rungs and budgets, what is drawn, and the recipes of its trials."""

import itertools
import random

import pytest
import torch

from limbeck.build.context import Context
from limbeck.errors import UserError
from limbeck.recipes.loading import load_recipe
from limbeck.runs.search.defaults import RANGES
from limbeck.runs.search.dimensions import Choice, Range
from limbeck.runs.search.halving import affordable, rounds, rungs, total_epochs
from limbeck.runs.search.preparing import trial_recipe
from limbeck.runs.search.space import Point, Space, make_space
from limbeck.runs.search.study import Study, draw


def played(epochs, settings):
    """The epochs of halving by playing it with random figures."""
    alive, trained = dict.fromkeys(range(settings), 0), 0
    for rung in rungs(epochs, settings):
        kept = sorted(alive, key=lambda _: random.random())[: rung.settings]
        trained += sum(rung.epoch - alive[n] for n in kept)
        alive = dict.fromkeys(kept, rung.epoch)
    return trained


@pytest.mark.parametrize("epochs", [1, 2, 5, 16, 30, 240])
def test_the_epochs_of_a_round(epochs):
    for settings in (2, 3, 5, 12, 24, 47):
        planned = rungs(epochs, settings)
        assert planned[0].settings == settings
        assert planned[-1].epoch == epochs
        assert total_epochs(planned) == played(epochs, settings)


def test_24_settings_take_less_than_five_runs_from_ten_epochs_on():
    assert all(total_epochs(rungs(epochs, 24)) <= 5 * epochs for epochs in range(10, 400))


def test_more_settings_take_no_fewer_epochs():
    costs = [total_epochs(rungs(60, settings)) for settings in range(2, 48)]
    assert all(a <= b for a, b in itertools.pairwise(costs))


def test_rounds_and_budgets():
    assert [sum(rounds(n)) for n in range(2, 200)] == list(range(2, 200))
    for runs in (2.5, 5, 11):
        settings = affordable(runs, 30, most=100)
        assert sum(total_epochs(rungs(30, size)) for size in rounds(settings)) <= 30 * runs
        assert sum(total_epochs(rungs(30, size)) for size in rounds(settings + 1)) > 30 * runs


@pytest.mark.parametrize("name", RANGES)
def test_the_default_ranges_of_every_method_are_valid_and_hold_its_own_settings(name):
    recipe = load_recipe("quickstart", {"search.methods": [name]})
    space = make_space(recipe)
    default = space.default(name, recipe)
    assert set(default) - {"method"} == {f"{name}.{key}" for key in RANGES[name]} - {
        f"{name}.{key}" for key in RANGES[name] if key == "temperature" and "auto" in str(default)
    }


SPACE = Space({"kd": {"alpha": Range(0.0, 1.0)}, "dist": {"gather": Choice((True, False))}}, {})


def test_points_are_a_function_of_the_seed_and_differ():
    first, again, other = (draw(SPACE, 5, seed=seed, valid=lambda _: True) for seed in (1, 1, 2))
    assert [t.params for t in first] == [t.params for t in again] != [t.params for t in other]
    assert len({repr(t.params) for t in first}) == 5


def test_points_that_cannot_be_run_are_not_drawn():
    drawn = draw(SPACE, 5, seed=0, valid=lambda point: point.method == "kd" and point.settings["alpha"] > 0.5)
    assert [t.params["method"] for t in drawn] == ["kd"] * 5
    assert all(t.params["kd.alpha"] > 0.5 for t in drawn)


@pytest.mark.parametrize("higher", [True, False])
def test_a_later_round_draws_near_the_best_of_the_earlier(higher, tmp_path):
    space = Space({"kd": {"alpha": Range(0.0, 1.0)}}, {})
    study = Study(tmp_path, "s", higher_is_better=higher)
    numbers = study.extend(draw(space, 24, seed=0, valid=lambda _: True), 0)
    for number in numbers:
        distance = abs(study.point(number).settings["alpha"] - 0.9)
        study.report(number, 1, -distance if higher else distance)
        study.stop(number)
    best = min(numbers, key=lambda n: abs(study.point(n).settings["alpha"] - 0.9))
    assert study.ordered(numbers, 1)[0] == best
    later = draw(space, 12, seed=1, valid=lambda _: True, history=study.history(24), direction=study.direction)
    away = [abs(t.params["kd.alpha"] - 0.9) for t in later]
    assert sum(away) / len(away) < 0.2 < sum(abs(study.point(n).settings["alpha"] - 0.9) for n in numbers) / 24


def test_whole_numbers_stay_whole():
    recipe = load_recipe("quickstart", {"search.settings.dkd.warmup": {"low": 0, "high": 4}})
    assert make_space(recipe).settings["dkd"]["warmup"] == Range(0, 4, whole=True)
    recipe = load_recipe("quickstart", {"search.settings.kd.temperature": {"low": 1, "high": 4}})
    assert make_space(recipe).settings["kd"]["temperature"] == Range(1, 4)


def test_settings_of_a_part_and_of_the_training():
    recipe = load_recipe(
        "quickstart", {"search.methods": ["lr+dist"], "search.settings": {"lr+dist": {"dist": {"beta": [1, 3]}}}}
    )
    point = Point("lr+dist", {"dist.beta": 3}, {"optimizer.lr": 0.3, "batch_size": 32})
    assert make_space(recipe).settings == {"lr+dist": {"dist.beta": Choice((1, 3))}}
    run = point.recipe(recipe, seed=7)
    assert run.method.composed.settings["dist"]["beta"] == 3
    assert (run.training.optimizer.lr, run.training.optimizer.arguments["momentum"]) == (0.3, 0.9)
    assert (run.training.batch_size, run.seed) == (32, 7)


def test_a_validation_split_takes_from_the_training_samples_and_from_no_others():
    recipe = load_recipe("quickstart", {"teacher.train_limit": 3000})
    made = trial_recipe(recipe)
    data = Context(made).data
    assert (len(data.train), len(data.validation), made.teacher.train_limit) == (1600, 400, 3000)
    train, held_out = ({row.numpy().tobytes() for row in split.images} for split in (data.train, data.validation))
    assert not train & held_out
    assert torch.equal(data.validation.labels.bincount(), torch.full((10,), 40))
    own = load_recipe("quickstart", {"data.validation": 0.1})
    assert trial_recipe(own).data == own.data


def test_a_share_that_leaves_nothing():
    recipe = load_recipe("quickstart", {"data.train_limit": 10, "search.validation": 0.01})
    with pytest.raises(UserError, match="search.validation: got 0.01, expected one that leaves some of 10 images"):
        trial_recipe(recipe)
