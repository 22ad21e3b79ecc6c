"""Runs with ``tame``: measured once before the first epoch, in the log and the summary, and resumed without again."""

import csv

import pytest

import limbeck
from limbeck.distiller import Distiller
from limbeck.errors import UserError
from stopped_runs import assert_same_run, log, stopping


@pytest.fixture
def measured(monkeypatch):
    """Count the measurements."""
    counts, real = [], Distiller.measure_teacher

    def measure_teacher(self, batches, **more):
        counts.append(real(self, batches, **more))
        return counts[-1]

    monkeypatch.setattr(Distiller, "measure_teacher", measure_teacher)
    return counts


def tamed(tiny, method="tame+kd", **more):
    # A teacher of one epoch is hardly surer than chance.
    return {**tiny, "method": {"name": method, "max_confidence": 0.105}, **more}


@pytest.mark.parametrize("method", ["tame+kd", "tame+lr", "tame+dr_kd", "tame+lw_kd", "tame+lr_ds", "tame+revise+dist"])
def test_a_run_measures_its_teacher_once(tiny, tmp_path, measured, method):
    lightweight = {"lightweight": {"per_class": 20, "epochs": 2}}
    teacher = {**tiny["teacher"], **(lightweight if "lw" in method else {})}
    done = limbeck.run(tamed(tiny, method, teacher=teacher), out=tmp_path / "run")
    (figures,) = measured
    tau = figures["tame.temperature"]
    assert tau > 1
    assert done.summary["tame.temperature"] == pytest.approx(tau)
    assert log(tmp_path / "run").count("tame: the teacher's logits are divided by") == 1
    assert "on 60 training images, expected at most 10.50 %)" in log(tmp_path / "run")


def test_seeds_share_the_temperature_and_plain_methods_have_none(tiny, tmp_path, measured):
    summaries = [limbeck.run({**tamed(tiny), "seed": seed}, out=tmp_path / str(seed)).summary for seed in (0, 1)]
    assert summaries[0]["tame.temperature"] == summaries[1]["tame.temperature"]
    assert "tame.temperature" not in limbeck.run({**tiny, "method": "kd"}, out=tmp_path / "kd").summary
    assert len(measured) == 2


def test_a_stopped_run_resumes_without_a_second_measurement(tiny, tmp_path, measured):
    whole = limbeck.run(tamed(tiny, "tame+lr"), out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(tamed(tiny, "tame+lr"), out=tmp_path / "run", reporting=stopping(1, of=2))
    assert len(measured) == 2
    resumed = limbeck.run(tamed(tiny, "tame+lr"), out=tmp_path / "run", resume=True)
    assert len(measured) == 2
    assert_same_run(resumed.folder, whole.folder)
    assert resumed.summary["tame.temperature"] == whole.summary["tame.temperature"]


@pytest.mark.parametrize("cache", ["views", "epochs"])
def test_cached_runs_are_the_live_run(precise_if_slow, tmp_path, cache):
    recipe = tamed(precise_if_slow, "tame+revise+kd")
    live = limbeck.run(recipe, out=tmp_path / "live")
    cached = {**recipe, "teacher": {**recipe["teacher"], "cache": cache, "cache_dtype": "float32"}}
    for name in ("cold", "warm"):
        assert_same_run(limbeck.run(cached, out=tmp_path / name).folder, live.folder)


def test_a_recipe_gives_the_temperature(tiny, tmp_path, measured):
    method = {"name": "tame+kd", "tau": 2.5}
    done = limbeck.run({**tiny, "method": method}, out=tmp_path / "run")
    assert (done.summary["tame.temperature"], measured) == (2.5, [])


def test_what_cannot_be_reached_is_refused_before_anything_runs(tiny, tmp_path):
    with pytest.raises(UserError, match=r"max_confidence: got 0.1, expected a number above 0.1 \(1 / 10 classes\)"):
        limbeck.run({**tiny, "method": {"name": "tame+kd", "max_confidence": 0.1}}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_comparison_has_it_too(tiny, tmp_path):
    compared = {"methods": ["kd", "tame+kd"], "seeds": 1, "settings": {"tame+kd": {"max_confidence": 0.105}}}
    limbeck.compare({**tiny, "compare": compared}, out=tmp_path / "all")
    (folder,) = [path for path in (tmp_path / "all").rglob("*") if path.name == "metrics.csv" and "tame" in str(path)]
    with folder.open() as file:
        assert len(list(csv.DictReader(file))) == 2


def test_a_part_of_a_large_training_set_has_its_own_positions(tiny, tmp_path, measured, monkeypatch):
    recipe = tamed(tiny, "tame+kd")
    limbeck.run(
        {**recipe, "teacher": {**recipe["teacher"], "cache": "views", "cache_dtype": "float32"}}, out=tmp_path / "all"
    )
    monkeypatch.setattr("limbeck.build.teacher_scale.MEASURED_SAMPLES", 25)
    for name, cache in (("live", {}), ("cached", {"cache": "views", "cache_dtype": "float32"})):
        limbeck.run({**recipe, "teacher": {**recipe["teacher"], **cache}}, out=tmp_path / name)
        assert "on 25 training images, expected" in log(tmp_path / name)
    whole, live, cached = measured
    assert live == cached
    assert live != whole
