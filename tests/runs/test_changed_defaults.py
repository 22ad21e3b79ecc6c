"""Resuming a run that began with other defaults: what is new, changed or gone is named, and what was given counts."""

import json

import pytest
import yaml

import limbeck
from limbeck.errors import UserError
from limbeck.recipes.loading import load_recipe
from limbeck.runs.attempts import Planned, attempt_in_worker, transferable
from limbeck.runs.changed_defaults import given_keys
from limbeck.runs.comparison_folder import ComparisonFolder
from limbeck.runs.continued_plans import continued_plans
from limbeck.runs.folder import RunFolder
from limbeck.runs.method_recipes import method_recipe
from stopped_runs import assert_equal_runs, log, stopping


@pytest.fixture
def begun(tiny, tmp_path):
    """A run that was stopped after the first of two epochs, as a version with other defaults would have left it."""

    def stop(recipe=None, *, record=None, changes=(), without=(), more=()):
        recipe = recipe or {**tiny, "method": "kd"}
        with pytest.raises(KeyboardInterrupt):
            limbeck.run(recipe, out=tmp_path / "run", reporting=stopping(1, of=2))
        edit(tmp_path / "run" / "recipe.yaml", changes, without, more)
        path = tmp_path / "run" / "provenance.json"
        stored = json.loads(path.read_text())
        record(stored) if record else None
        path.write_text(json.dumps(stored))
        return recipe

    return stop


def edit(path, changes, without, more):
    values = yaml.safe_load(path.read_text())
    for key, value in (*changes, *more):
        *groups, last = key.split(".")
        group = values
        for name in groups:
            group = group[name]
        group[last] = value
    for key in without:
        *groups, last = key.split(".")
        group = values
        for name in groups:
            group = group[name]
        del group[last]
    path.write_text(yaml.safe_dump(values))


def resumed(recipe, tmp_path, **overrides):
    return limbeck.run(recipe, overrides=overrides, out=tmp_path / "run", resume=True)


def test_a_default_that_has_changed_is_named_and_the_run_keeps_its_own(begun, tiny, tmp_path):
    whole = limbeck.run(
        {**tiny, "method": "kd", "training": {**tiny["training"], "clip_norm": 0.5}}, out=tmp_path / "whole"
    )
    # As if clip_norm had been 0.5 by default when the run began.
    given = {**tiny, "method": "kd", "training": {**tiny["training"], "clip_norm": 0.5}}

    def forget(stored):
        stored["recipe"]["given"].remove("training.clip_norm")

    begun(given, record=forget)
    done = resumed({**tiny, "method": "kd"}, tmp_path)
    line = "training.clip_norm: the default is nothing, was 0.5 in the run, which keeps it\n"
    assert line in log(done.folder)
    assert_equal_runs(done.folder, whole.folder)


def test_a_setting_that_was_given_and_is_not_any_more_is_a_changed_one(begun, tiny, tmp_path):
    begun({**tiny, "method": "kd", "training": {**tiny["training"], "clip_norm": 0.5}})
    with pytest.raises(UserError, match=r"^training\.clip_norm: the run in \S+ has 0\.5, got nothing"):
        resumed({**tiny, "method": "kd"}, tmp_path)


def test_a_setting_that_is_given_now_is_a_changed_one(begun, tiny, tmp_path):
    recipe = begun()
    with pytest.raises(UserError, match=r"^training\.clip_norm: the run in \S+ has nothing, got 0\.5"):
        resumed(recipe, tmp_path, **{"training.clip_norm": 0.5})


def test_the_settings_of_a_method_have_defaults_too(begun, tiny, tmp_path):
    """A default of a method stands in no recipe.yaml: that of the run is in its record."""

    def earlier(stored):
        assert stored["recipe"]["method"]["temperature"] == 4.0
        stored["recipe"]["method"]["temperature"] = 2.0

    recipe = begun(record=earlier)
    done = resumed(recipe, tmp_path)
    assert "method.temperature: the default is 4.0, was 2.0 in the run, which keeps it\n" in log(done.folder)
    assert yaml.safe_load((done.folder / "recipe.yaml").read_text())["method"]["temperature"] == 2.0
    with pytest.raises(UserError, match=r"^method\.temperature: the run in \S+ has 2\.0, got 8"):
        resumed({**tiny, "method": {"name": "kd", "temperature": 8}}, tmp_path)


def test_a_composition_keeps_the_settings_of_its_parts(begun, tiny, tmp_path):
    def earlier(stored):
        stored["recipe"]["method"]["lr.eta"] = 0.7

    recipe = begun({**tiny, "method": "lr+dist"}, record=earlier)
    done = resumed(recipe, tmp_path)
    assert "method.lr.eta: the default is 0.8, was 0.7 in the run, which keeps it\n" in log(done.folder)
    assert load_recipe(done.folder / "recipe.yaml").method.composed.settings["lr"]["eta"] == 0.7


def test_what_is_new_since_the_run_began_is_named(begun, tiny, tmp_path):
    def earlier(stored):
        del stored["recipe"]["method"]["temperature"]

    recipe = begun(record=earlier, without=["training.mix", "training.label_smoothing", "training.checkpoint_minutes"])
    whole = limbeck.run(recipe, out=tmp_path / "whole")
    done = resumed(recipe, tmp_path)
    lines = log(done.folder)
    assert "new since the run began: training.label_smoothing = 0.0\n" in lines
    assert "new since the run began: training.mix = {" in lines
    assert "new since the run began: method.temperature = 4.0\n" in lines
    # It changes no number.
    assert "checkpoint_minutes" not in lines
    assert_equal_runs(done.folder, whole.folder)


def test_a_new_setting_that_is_given_is_a_changed_one(begun, tiny, tmp_path):
    recipe = begun(without=["training.label_smoothing"])
    with pytest.raises(UserError, match=r"^training\.label_smoothing: the run in \S+ has 0\.0, got 0\.1"):
        resumed(recipe, tmp_path, **{"training.label_smoothing": 0.1})


def test_a_setting_that_is_gone_is_named(begun, tiny, tmp_path):
    more = [("training.speed", 9), ("teacher.lightweight.color", "red")]
    recipe = begun(more=more, record=lambda stored: stored["recipe"]["method"].update(margin=0.3))
    done = resumed(recipe, tmp_path)
    assert "training.speed: is no setting any more, was 9 in the run\n" in log(done.folder)
    assert "method.margin: is no setting any more, was 0.3 in the run\n" in log(done.folder)
    assert "teacher.lightweight.color: is no setting any more, was red in the run\n" in log(done.folder)


def test_a_setting_that_is_gone_and_was_given_is_refused(begun, tiny, tmp_path):
    record = lambda stored: stored["recipe"]["given"].append("training.speed")  # noqa: E731
    recipe = begun(more=[("training.speed", 9)], record=record)
    line = r"^training\.speed: the run in \S+ has 9, which is no setting any more; expected the version"
    with pytest.raises(UserError, match=line):
        resumed(recipe, tmp_path)


def test_a_run_of_before_records_is_taken_at_its_word_if_its_version_is_another(begun, tiny, tmp_path):
    def without_record(stored):
        del stored["recipe"]

    recipe = begun(record=without_record, changes=[("training.clip_norm", 0.5)])
    with pytest.raises(UserError, match=r"^training\.clip_norm: the run in \S+ has 0\.5, got nothing"):
        resumed(recipe, tmp_path)
    path = tmp_path / "run" / "provenance.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({**stored, "versions": {**stored["versions"], "limbeck": "0.0.1"}}))
    done = resumed(recipe, tmp_path)
    assert "training.clip_norm: the default is nothing, was 0.5 in the run, which keeps it\n" in log(done.folder)


def test_a_comparison_keeps_its_defaults_for_all_of_its_runs(tiny, tmp_path):
    recipe = load_recipe({**tiny, "compare": {"methods": ["none", "kd"], "seeds": 1}})
    folder = ComparisonFolder(tmp_path / "table", resume=True)

    def plan(recipe, path):
        return [Planned(m, method_recipe(recipe, m, 0), RunFolder(path / m)) for m in recipe.compare.methods]

    first = plan(recipe, folder.path)[1]
    earlier = limbeck.run(first.recipe, overrides={"training.clip_norm": 0.5}, out=first.folder.path)
    path = earlier.folder / "provenance.json"
    stored = json.loads(path.read_text())
    stored["recipe"]["given"] = [key for key in stored["recipe"]["given"] if key in ("method.name", "data.name")]
    stored["recipe"]["method"]["temperature"] = 2.0
    path.write_text(json.dumps(stored))
    (folder.path / "recipe.yaml").write_text("{}")
    lines = []
    continued, plans = continued_plans(recipe, folder, plan, lines.append)
    assert continued.training.clip_norm == plans[0].recipe.training.clip_norm == 0.5
    assert plans[1].recipe.method.composed.settings["kd"]["temperature"] == 2.0
    assert [line.partition(":")[0] for line in lines] == ["method.temperature", "training.clip_norm"]


def test_what_is_given_is_recorded_by_workers_too(tiny, tmp_path):
    recipe = method_recipe(load_recipe(tiny, {"training.epochs": 1}), "label_smoothing", 3)
    assert attempt_in_worker(transferable(recipe), tmp_path / "run").figure
    assert load_recipe(tmp_path / "run" / "recipe.yaml") == recipe
    given = set(json.loads((tmp_path / "run" / "provenance.json").read_text())["recipe"]["given"])
    assert {"training.epochs", "data.root", "method.name", "seed"} <= given
    assert not {"training.clip_norm", "teacher.cache", "training.schedule.name"} & given


def test_the_keys_that_a_recipe_gives():
    recipe = load_recipe("quickstart", {"training.optimizer.lr": 0.3, "method": {"name": "kd", "temperature": 2}})
    given = set(given_keys(recipe))
    assert {"training.optimizer.lr", "method.temperature", "data.name"} <= given
    assert "training.optimizer.decay_norm_and_bias" not in given
