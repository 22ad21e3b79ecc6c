"""Runs with ``weigh``: two proxies trained once and kept, shared by methods and seeds, resumed where they stopped."""

import json

import pytest
import torch

import limbeck
from limbeck.errors import UserError
from limbeck.runs import load_recipe
from stopped_runs import assert_same_run, log, stopping


def weighed(tiny, method="weigh+kd", **settings):
    # With four epochs it explains some labels better than the proxies do, so that its weight is not 0.
    teacher = {**tiny["teacher"], "training": {**tiny["teacher"]["training"], "epochs": 4}}
    return {**tiny, "method": {"name": method, **settings}, "teacher": teacher}


def trainings(folder):
    return [line for line in log(folder).splitlines() if line.startswith("training resnet8 as proxy")]


def test_two_proxies_are_trained_on_half_of_the_set_each_for_the_students_epochs(tiny, tmp_path):
    done = limbeck.run(weighed(tiny), out=tmp_path / "run")
    halves = [int(line.split(" on ")[1].split()[0]) for line in trainings(tmp_path / "run")]
    assert sum(halves) == 60
    assert all(line.split(", ")[1].startswith("2 epochs on") for line in trainings(tmp_path / "run"))
    assert trainings(tmp_path / "run")[0].startswith("training resnet8 as proxy 1, 2 epochs on")
    share = done.summary["weigh.share"]
    assert 0 < share < 1
    assert done.summary["weigh.weight"] == pytest.approx(share**2)
    line = f"weigh: the teacher explains {100 * share:.2f} % of the labels better than a student without it"
    assert f"{line} (on 60 training images)" in log(tmp_path / "run")


def test_methods_and_seeds_share_the_proxies(tiny, tmp_path):
    first = limbeck.run(weighed(tiny, "tame+weigh+kd", max_confidence=0.105), out=tmp_path / "first")
    second = limbeck.run({**weighed(tiny, "weigh+dist"), "seed": 7}, out=tmp_path / "second")
    assert len(trainings(tmp_path / "first")) == 2
    assert not trainings(tmp_path / "second")
    assert log(tmp_path / "second").count("before this run (kept in") == 3
    assert first.summary["weigh.share"] == second.summary["weigh.share"]
    kept = tmp_path / "cache" / "teachers"
    assert len([path for path in kept.iterdir() if path.is_dir()]) == 3


@pytest.mark.parametrize("methods", [["weigh+kd", "weigh+dist"], ["weigh+dist", "weigh+kd"]])
def test_a_shared_measurement_is_logged_for_each_method(tiny, tmp_path, methods):
    recipe = {**weighed(tiny), "compare": {"methods": methods, "seeds": 1}}
    limbeck.compare(recipe, out=tmp_path / "all", jobs=1)
    for method in methods:
        folder = next(path.parent for path in (tmp_path / "all").rglob("summary.json") if method in str(path))
        measured = json.loads((folder / "summary.json").read_text()).get("weigh.temperature")
        assert (measured is None) is (method == "weigh+dist")
        assert (", at T = " in log(folder)) is (method == "weigh+kd")


def test_other_trainings_have_other_proxies(tiny, tmp_path):
    recipe = weighed(tiny)
    limbeck.run(recipe, out=tmp_path / "first")
    for name, changes in (
        ("epochs", {"training.epochs": 3}),
        ("seed", {"teacher.seed": 3}),
        ("student", {"student.options": {"width": 0.5}}),
    ):
        limbeck.run(load_recipe(recipe, changes), out=tmp_path / name)
        assert len(trainings(tmp_path / name)) == 2, name


def test_a_run_that_stopped_resumes_without_measuring_again(tiny, tmp_path):
    whole = limbeck.run(weighed(tiny, "tame+weigh+lr", max_confidence=0.105), out=tmp_path / "whole")
    recipe = weighed(tiny, "tame+weigh+lr", max_confidence=0.105)
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(recipe, out=tmp_path / "run", reporting=stopping(1, of=2))
    before = log(tmp_path / "run").count("weigh: ")
    resumed = limbeck.run(recipe, out=tmp_path / "run", resume=True)
    assert (before, log(tmp_path / "run").count("weigh: ")) == (1, 1)
    assert_same_run(resumed.folder, whole.folder)
    assert resumed.summary["weigh.share"] == whole.summary["weigh.share"]


def test_a_proxy_that_stopped_is_resumed(tiny, tmp_path, monkeypatch):
    whole = limbeck.run(weighed(tiny), out=tmp_path / "whole")
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "other"))
    # The teacher has 4 epochs: the first training of 2 epochs is that of a proxy.
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(weighed(tiny), out=tmp_path / "run", reporting=stopping(1, of=2))
    assert list((tmp_path / "other" / "teachers").glob("*.partial"))
    resumed = limbeck.run(weighed(tiny), out=tmp_path / "run", resume=True)
    assert "proxy 1: resuming after epoch 1 of 2" in log(tmp_path / "run")
    assert_same_run(resumed.folder, whole.folder)


def test_by_row_every_sample_has_a_weight_that_a_resumed_run_keeps(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("limbeck.build.teacher_scale.MEASURED_SAMPLES", 10)
    recipe = weighed(tiny, by_row=True)
    whole = limbeck.run(recipe, out=tmp_path / "whole")
    assert "(on 60 training images)" in log(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(recipe, out=tmp_path / "run", reporting=stopping(1, of=2))
    assert_same_run(limbeck.run(recipe, out=tmp_path / "run", resume=True).folder, whole.folder)
    plain = limbeck.run(weighed(tiny), out=tmp_path / "plain")
    assert "(on 10 training images)" in log(tmp_path / "plain")
    assert plain.summary["weigh.weight"] != whole.summary["weigh.weight"]


def test_cached_runs_are_the_live_run(precise_if_slow, tmp_path):
    recipe = weighed(precise_if_slow, "tame+weigh+kd", max_confidence=0.105)
    live = limbeck.run(recipe, out=tmp_path / "live")
    cached = {**recipe, "teacher": {**recipe["teacher"], "cache": "views", "cache_dtype": "float32"}}
    for name in ("cold", "warm"):
        assert_same_run(limbeck.run(cached, out=tmp_path / name).folder, live.folder)


@pytest.mark.parametrize("method", ["weigh+dr_kd", "weigh+lw_kd", "weigh+tf_kd_reg", "weigh+lr_ds"])
def test_teachers_of_every_kind(tiny, tmp_path, method):
    lightweight = {"lightweight": {"per_class": 20, "epochs": 2}} if "lw" in method else {}
    settings = {"scorer": "agreement"} if "lr_ds" in method else {}
    recipe = weighed(tiny, method, **settings)
    recipe["teacher"] |= lightweight
    done = limbeck.run(recipe, out=tmp_path / "run")
    of_labels = method in ("weigh+lw_kd", "weigh+tf_kd_reg")
    assert bool(trainings(tmp_path / "run")) is not of_labels
    assert done.summary["weigh.weight"] == 1 or not of_labels
    assert ("weigh: the teacher's logits depend on the labels" in log(tmp_path / "run")) is of_labels


@pytest.mark.parametrize("method", ["tame+kd", "tame+lw_kd", "tame+weigh+dist", "lr_ds"])
def test_proxies_tame_a_teacher_to_their_accuracy(tiny, tmp_path, method):
    recipe = weighed(tiny, method, max_confidence="auto")
    recipe["teacher"] |= {"lightweight": {"per_class": 20, "epochs": 2}} if "lw_kd" in method else {}
    whole = limbeck.run(recipe, out=tmp_path / "whole")
    assert len(trainings(tmp_path / "whole")) == 2
    assert whole.summary["tame.temperature"] >= 1
    assert "expected at most" in log(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(recipe, out=tmp_path / "run", reporting=stopping(1, of=2))
    assert_same_run(limbeck.run(recipe, out=tmp_path / "run", resume=True).folder, whole.folder)


def test_a_number_needs_no_proxies(tiny, tmp_path):
    done = limbeck.run(weighed(tiny, weight=0.5), out=tmp_path / "run")
    assert not trainings(tmp_path / "run")
    assert (done.summary["weigh.weight"], "weigh.share" in done.summary) == (0.5, False)
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["weigh.weight"] == 0.5


def test_a_half_smaller_than_a_batch_is_refused_before_anything_runs(tiny, tmp_path):
    recipe = {**weighed(tiny), "training": {**tiny["training"], "batch_size": 40}}
    with pytest.raises(UserError, match="training.batch_size: got 40 with weigh or tame, expected at most 30 images"):
        limbeck.run(recipe, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_smaller_of_uneven_halves_counts(tiny, tmp_path):
    # Five images of each of ten classes make halves of 30 and 20.
    recipe = {**weighed(tiny), "data": {**tiny["data"], "train_limit": 50}}
    recipe["training"] = {**tiny["training"], "batch_size": 24}
    with pytest.raises(UserError, match="training.batch_size: got 24 with weigh or tame, expected at most 20 images"):
        limbeck.run(recipe, out=tmp_path / "run")


def test_a_half_too_short_for_the_schedule_is_refused_before_anything_runs(tiny, tmp_path):
    training = {**tiny["training"], "batch_size": 20, "epochs": 2, "schedule": {"name": "one_cycle", "pct_start": 0.2}}
    with pytest.raises(UserError, match="proxies of weigh or tame, .*: schedule one_cycle: got 4 batches in all"):
        limbeck.run({**weighed(tiny), "training": training}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    short = {**training, "batch_size": 40, "epochs": 1}
    with pytest.raises(UserError, match="schedule one_cycle: got 2 batches in all, too few for it"):
        limbeck.run({**tiny, "method": "kd", "training": short}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_draws_of_a_training_do_not_depend_on_the_proxies(tiny, tmp_path):
    recipe = weighed(tiny, "weigh+dist")
    first = limbeck.run(recipe, out=tmp_path / "first")
    again = limbeck.run(recipe, out=tmp_path / "again")
    assert trainings(tmp_path / "first")
    assert not trainings(tmp_path / "again")
    assert_same_run(first.folder, again.folder)
    assert torch.equal(*(next(run.student.parameters()) for run in (first, again)))


def test_the_seeds_of_a_comparison_measure_once(tiny, tmp_path, monkeypatch):
    counts, real = [], limbeck.Distiller.measure_teacher

    def measure_teacher(self, batches, **more):
        counts.append(self.method.name)
        return real(self, batches, **more)

    monkeypatch.setattr(limbeck.Distiller, "measure_teacher", measure_teacher)
    recipe = weighed(tiny)
    compared = {"methods": ["weigh+kd", "weigh+dist", "lr_ds@surer"], "seeds": 2}
    compared["settings"] = {"lr_ds@surer": {"max_confidence": 0.105}}
    limbeck.compare({**recipe, "method": "kd", "compare": compared}, out=tmp_path / "all", jobs=1)
    assert counts == ["weigh+kd", "lr_ds"]
    logs = [path.read_text() for path in (tmp_path / "all").rglob("log.txt")]
    assert sum("of their full weight" in text for text in logs) == 6
    monkeypatch.setattr(limbeck.Distiller, "measure_teacher", real)
    alone = limbeck.run({**recipe, "method": "weigh+dist", "seed": 1}, out=tmp_path / "alone")
    assert_same_run(tmp_path / "all" / "weigh+dist" / "seed-1", alone.folder)


def test_weight_auto_is_a_setting_of_any_method(tiny, tmp_path):
    recipe = {**weighed(tiny), "method": {"name": "kd", "weight": "auto"}}
    whole = limbeck.run(recipe, out=tmp_path / "whole")
    long = limbeck.run(weighed(tiny), out=tmp_path / "long")
    assert torch.equal(*(next(run.student.parameters()) for run in (whole, long)))
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(recipe, out=tmp_path / "run", reporting=stopping(1, of=2))
    assert_same_run(limbeck.run(recipe, out=tmp_path / "run", resume=True).folder, whole.folder)
    compared = {"methods": ["kd", "kd@auto"], "seeds": 1, "settings": {"kd@auto": {"weight": 0.5}}}
    done = limbeck.compare({**recipe, "method": "kd", "compare": compared}, out=tmp_path / "all", jobs=1)
    assert "kd@auto: weight 0.5" in done.markdown
    again = limbeck.compare({**recipe, "method": "kd", "compare": compared}, out=tmp_path / "all", jobs=1, resume=True)
    assert again.markdown == done.markdown


@pytest.mark.parametrize(("share", "expected"), [(0.77, True), (0.95, False)])
def test_an_unreliable_teacher_is_warned_of(tiny, tmp_path, monkeypatch, share, expected):
    monkeypatch.setattr("limbeck.distiller.teacher_scale.teacher_share", lambda *_: share)
    for method in ("weigh+dist", "lr_ds"):
        done = limbeck.run(weighed(tiny, method), out=tmp_path / method)
        assert ("warning: students of such teachers ended up to 2.4 points below" in log(done.folder)) is expected
