"""Runs and comparisons with ``teacher.cache``: the same numbers as without, and the teacher is run once."""

import csv
import random
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import limbeck
import limbeck.randomness.seeding
from limbeck.errors import RunError, UserError
from limbeck.runs import Reporting, compare, dump_recipe, load_recipe
from limbeck.runs.cache_commands import build_cache
from limbeck.runs.prefill import shared_caches
from limbeck.teachers import LiveTeacher

TIMES = ("seconds", "samples_per_second")


def cached(tiny, cache="views", dtype="float32", method="kd", **more):
    teacher = {**tiny["teacher"], "cache": cache, "cache_dtype": dtype}
    return {**tiny, "method": method, "teacher": teacher, **more}


def result(folder):
    with (folder / "metrics.csv").open() as file:
        rows = [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]
    return rows, load_file(folder / "student.safetensors")


def same(one, other):
    (rows, weights), (other_rows, other_weights) = result(one), result(other)
    return rows == other_rows and all(torch.equal(weights[name], other_weights[name]) for name in weights)


@pytest.fixture
def counted_rows(monkeypatch):
    """Count the rows that live teachers compute."""
    counts, real = [], LiveTeacher.logits

    def logits(self, inputs, *args, **kwargs):
        counts.append(len(inputs))
        return real(self, inputs, *args, **kwargs)

    monkeypatch.setattr(LiveTeacher, "logits", logits)
    return counts


@pytest.mark.parametrize(
    ("cache", "method"), [("views", "kd"), ("views", "lr_ds"), ("views", "dr_kd"), ("epochs", "lr_ds")]
)
def test_cold_and_warm_runs_are_the_live_run_bit_for_bit(precise, tmp_path, cache, method):
    limbeck.run({**precise, "method": method}, out=tmp_path / "live")
    limbeck.run(cached(precise, cache, method=method), out=tmp_path / "cold")
    limbeck.run(cached(precise, cache, method=method), out=tmp_path / "warm")
    assert same(tmp_path / "live", tmp_path / "cold")
    assert same(tmp_path / "live", tmp_path / "warm")


def test_an_odd_last_batch(precise_if_slow, tmp_path):
    training = {**precise_if_slow["training"], "batch_size": 19}
    limbeck.run({**precise_if_slow, "method": "dist", "training": training}, out=tmp_path / "live")
    for name in ("cold", "warm"):
        limbeck.run(cached(precise_if_slow, method="dist", training=training), out=tmp_path / name)
        assert same(tmp_path / "live", tmp_path / name)


@pytest.fixture
def foreign(precise_if_slow, tmp_path):
    """A recipe whose teacher was trained with images of another normalization and size."""
    limbeck.run({**precise_if_slow, "method": "kd"}, out=tmp_path / "first")
    weights = next((tmp_path / "cache" / "teachers").glob("*/teacher.safetensors"))
    teacher = {"name": "resnet8", "options": {"width": 0.5}, "weights": str(weights)}
    teacher |= {"normalize": {"mean": [0.5], "std": [0.5]}, "size": 36}
    return {**precise_if_slow, "method": "kd", "teacher": teacher}


def test_a_teacher_of_other_inputs_is_the_same_live_cold_and_built(foreign, tmp_path):
    teacher = {**foreign["teacher"], "cache": "views", "cache_dtype": "float32"}
    limbeck.run(foreign, out=tmp_path / "live")
    limbeck.run({**foreign, "teacher": teacher}, out=tmp_path / "cold")
    assert same(tmp_path / "live", tmp_path / "cold")
    shutil.rmtree(tmp_path / "cache" / "logits")
    build_cache({**foreign, "teacher": teacher})
    limbeck.run({**foreign, "teacher": teacher}, out=tmp_path / "built")
    assert same(tmp_path / "live", tmp_path / "built")


def test_rotated_images_are_cached_by_epochs(precise_if_slow, tmp_path):
    data = {**precise_if_slow["data"], "augment": {"crop": 1, "rotation": 10}}
    limbeck.run({**precise_if_slow, "method": "kd", "data": data}, out=tmp_path / "live")
    for name in ("cold", "warm"):
        limbeck.run(cached(precise_if_slow, "epochs", data=data), out=tmp_path / name)
        assert same(tmp_path / "live", tmp_path / name)


def test_float16_cold_and_warm_are_the_same_and_near_the_live_run(precise_if_slow, tmp_path):
    limbeck.run({**precise_if_slow, "method": "kd"}, out=tmp_path / "live")
    for name in ("cold", "warm"):
        limbeck.run(cached(precise_if_slow, dtype="float16"), out=tmp_path / name)
    assert same(tmp_path / "cold", tmp_path / "warm")
    (live, _), (near, _) = result(tmp_path / "live"), result(tmp_path / "cold")
    for row, other in zip(live, near, strict=True):
        assert float(row["train.loss"]) == pytest.approx(float(other["train.loss"]), rel=1e-3)


@pytest.mark.parametrize("warm", [False, True])
def test_a_stopped_and_resumed_run_is_one_that_never_stopped(precise, tmp_path, warm):
    class Stop(Exception):
        pass

    class Stopper:
        def step(self, *_):
            pass

        def epoch(self, row, epochs):
            raise Stop

    limbeck.run({**precise, "method": "lr_ds"}, out=tmp_path / "live")
    recipe = cached(precise, method="lr_ds")
    if warm:
        limbeck.run(recipe, out=tmp_path / "before")
    with pytest.raises(Stop):
        limbeck.run(recipe, out=tmp_path / "run", reporting=Reporting(progress=Stopper()))
    limbeck.run(recipe, out=tmp_path / "run", resume=True)
    assert same(tmp_path / "live", tmp_path / "run")


def test_a_second_method_runs_the_teacher_for_the_recheck_only(tiny, tmp_path, counted_rows):
    logged = []
    limbeck.run(cached(tiny, "epochs"), out=tmp_path / "one", reporting=Reporting(logged.append))
    # The 60 training and 30 test images as they are, on which it is measured, and two epochs' views.
    assert sum(counted_rows) == 60 + 30 + 2 * 60
    counted_rows.clear()
    limbeck.run(cached(tiny, "epochs", method="dist"), out=tmp_path / "two", reporting=Reporting(logged.append))
    assert sum(counted_rows) == 8
    lines = [line for line in logged if line.startswith("logit cache")]
    assert "60 images x 2 epochs x 10 classes x float32 = 4.8 kB" in lines[0]
    assert "0.0% of what this run reads" in lines[0]
    assert "100.0% of what this run reads" in lines[1]


def test_another_training_set_normalization_or_teacher_has_a_cache_of_its_own(tiny, tmp_path):
    changes = [
        {},
        {"teacher.seed": 1},
        {"data.train_limit": 50},
        {"data.augment.flip": False},
        {"data.normalize": {"mean": [0.2], "std": [0.4]}},
        {"training.precision": "bf16"},
        {"training.channels_last": False},
        {"teacher.cache": "epochs"},
        {"teacher.cache": "epochs", "seed": 1},
        {"teacher.cache": "epochs", "training.epochs": 1},
        {"teacher.cache_dtype": "float16"},
        {"teacher.cache_top_k": 3},
    ]
    for number, change in enumerate(changes):
        limbeck.run(cached(tiny), overrides=change, out=tmp_path / str(number))
        assert len(list((tmp_path / "cache" / "logits").iterdir())) == number + 1


@pytest.mark.parametrize(
    ("cache", "jobs"), [("views", 1), ("epochs", 1), pytest.param("views", 2, marks=pytest.mark.slow)]
)
def test_a_comparison_stores_ahead_what_its_runs_read(tiny, tmp_path, cache, jobs, counted_rows):
    logged = []
    more = {"compare": {"methods": ["none", "kd", "dist"], "seeds": 2}}
    compare(cached(tiny, cache, **more), out=tmp_path / "c", jobs=jobs, reporting=Reporting(logged.append))
    rows = [line for line in logged if "rows for" in line]
    assert len(rows) == (1 if cache == "views" else 2)
    if jobs == 1:
        ahead = sum(int(line.split("; ")[1].split()[0]) for line in rows)
        # Eight rows of each of four runs are compared again; the teacher is measured on 60 training and 30 test images.
        assert sum(counted_rows) == ahead + 4 * 8 + 60 + 30
    assert len(list((tmp_path / "cache" / "logits").iterdir())) == len(rows)
    stored = {path: path.read_bytes() for path in (tmp_path / "cache" / "logits").glob("*/*.bin")}
    for method in ("kd", "dist"):
        limbeck.run({**tiny, "method": method, "seed": 1}, out=tmp_path / method)
        assert same(tmp_path / method, tmp_path / "c" / method / "seed-1")
    assert stored == {path: path.read_bytes() for path in stored}


def test_a_teacher_made_again_disturbs_no_draws(precise_if_slow, tmp_path):
    """Damage in the second epoch brings the live teacher back in the middle of a run that had let go of it."""

    class Damage:
        def step(self, *_):
            pass

        def epoch(self, row, epochs):
            (file,) = (tmp_path / "cache" / "logits").glob("*/logits.bin")
            file.write_bytes(bytes(file.stat().st_size))

    logged = []
    for method in ("kd", "ctkd"):
        limbeck.run({**precise_if_slow, "method": method}, out=tmp_path / method)
        recipe = cached(precise_if_slow, "epochs", method=method)
        limbeck.run(recipe, out=tmp_path / f"{method}-before")
        limbeck.run(recipe, out=tmp_path / f"{method}-hurt", reporting=Reporting(logged.append, Damage()))
        assert same(tmp_path / method, tmp_path / f"{method}-hurt")
    assert sum("60 stored rows are damaged and made again" in line for line in logged) == 2


def test_making_a_network_leaves_the_generators_as_they_were():
    limbeck.randomness.seeding.seed_everything(1)
    expected = torch.rand(1), np.random.rand(), random.random()
    limbeck.randomness.seeding.seed_everything(1)
    with limbeck.randomness.seeding.generators_kept():
        limbeck.randomness.seeding.seed_everything(7)
    assert (torch.rand(1), np.random.rand(), random.random()) == expected


def test_which_caches_are_shared():
    def recipe(method, seed, cache):
        return load_recipe("quickstart", {"method": method, "seed": seed, "teacher.cache": cache})

    def shared(cache, *runs):
        return [(s.recipe.source(), s.seeds, s.readers) for s in shared_caches([recipe(*run, cache) for run in runs])]

    runs = [("kd", 0), ("dist", 0), ("kd", 1), ("dist", 1), ("dr_kd", 0), ("dr_kd", 1), ("none", 0), ("lw_kd", 0)]
    assert shared("off", *runs) == []
    assert shared("views", *runs) == [("live", (0, 1), 4), ("self", (0, 1), 2)]
    assert shared("epochs", *runs) == [("live", (0,), 2), ("live", (1,), 2)]
    assert shared("views", ("kd", 0)) == []


def test_methods_without_a_network_as_teacher_log_why(tiny, tmp_path):
    logged = []
    bank = {"lightweight": {"per_class": 40, "epochs": 1}}
    recipe = cached(tiny, method="lw_kd")
    recipe["teacher"] = {**recipe["teacher"], **bank}
    limbeck.run(recipe, out=tmp_path / "lw", reporting=Reporting(logged.append))
    assert "teacher.cache: is not used, as a lightweight teacher's logits are a table already" in logged
    limbeck.run(cached(tiny, method="fitnet"), out=tmp_path / "f", reporting=Reporting(logged.append))
    assert "teacher.cache: is not used, as method 'fitnet' compares features, which are not stored" in logged
    for method in ("none", "tf_kd_reg"):
        limbeck.run(cached(tiny, method=method), out=tmp_path / method)
    assert not (tmp_path / "cache" / "logits").exists()


def test_several_teachers_share_one_cache(precise_if_slow, tmp_path, counted_rows):
    member = precise_if_slow["teacher"]
    teacher = {"members": [{**member, "seed": 1}, {**member, "seed": 2}], "average": "confidence"}
    limbeck.run({**precise_if_slow, "method": "kd", "teacher": teacher}, out=tmp_path / "live")
    teacher |= {"cache": "views", "cache_dtype": "float32"}
    for name in ("cold", "warm"):
        counted_rows.clear()
        limbeck.run({**precise_if_slow, "method": "kd", "teacher": teacher}, out=tmp_path / name)
        assert same(tmp_path / "live", tmp_path / name)
    assert sum(counted_rows) == 2 * 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data.augment.rotation": 5}, "teacher.cache: got 'views' with data.augment.rotation"),
        ({"teacher.cache": "view"}, "teacher.cache: got 'view', input should be 'off', 'views' or 'epochs'"),
        ({"teacher.cache": True}, "teacher.cache: got True"),
        ({"teacher.cache_dtype": "bf16"}, "teacher.cache_dtype: got 'bf16'"),
        ({"teacher.cache_top_k": 10}, "teacher.cache_top_k: got 10, expected 1 to 9"),
        ({"teacher.cache_limit_gb": 1e-5}, "more than teacher.cache_limit_gb 1e-05"),
        ({"teacher.train_mode": True}, "teacher.cache: got 'views' with teacher.train_mode"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(tiny, tmp_path, change, message):
    for call in (limbeck.run, compare):
        with pytest.raises(UserError) as error:
            call(cached(tiny), overrides=change, out=tmp_path / "run")
        assert message in str(error.value)
        assert "\n" not in str(error.value)
        assert not (tmp_path / "run").exists()
    assert not (tmp_path / "cache" / "logits").exists()


def test_a_full_disk_is_refused_before_anything_is_stored(tiny, tmp_path, monkeypatch):
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 0, 9))
    with pytest.raises(UserError, match="where 9 B are free; set output.cache elsewhere"):
        build_cache(cached(tiny))


def test_off_in_yaml_is_off(tiny):
    assert load_recipe({**tiny, "teacher": {**tiny["teacher"], "cache": False}}).teacher.cache == "off"
    recipe = load_recipe(cached(tiny), {"teacher.cache": False})
    assert recipe.teacher.cache == "off"
    assert "cache: 'off'" in dump_recipe(recipe)


def test_a_comparison_beside_another_builder_continues(tiny, tmp_path, monkeypatch):
    logged = []

    def taken(store):
        raise RunError("process 7 is filling it already")

    monkeypatch.setattr("limbeck.runs.prefill.building", taken)
    recipe = cached(tiny, compare={"methods": ["kd", "dist"]})
    compare(recipe, out=tmp_path / "c", jobs=1, reporting=Reporting(logged.append))
    assert "process 7 is filling it already" in logged
    assert not any("rows stored in" in line for line in logged)
