"""Each thing is built once: methods, networks, weights and data of a comparison and of a run, counted."""

import gc
import weakref
from collections import Counter

import pytest

import limbeck
from limbeck.runs import Reporting
from limbeck.teachers import LiveTeacher

METHODS = ["kd", "lr_ds", "dr_kd"]


@pytest.fixture
def built(monkeypatch):
    """Count what is composed, created, loaded and read."""
    counts = Counter()

    def counted(place, name):
        real = getattr(place, name)

        def call(*args, **kwargs):
            counts[f"{place.__name__.removeprefix('limbeck.')}.{name}"] += 1
            return real(*args, **kwargs)

        monkeypatch.setattr(place, name, call)

    counted(limbeck.methods, "create")
    counted(limbeck.models, "create")
    counted(limbeck.models, "load_weights")
    counted(limbeck.data, "load")
    return counts


@pytest.mark.parametrize("cache", ["off", "views"])
def test_a_comparison_builds_each_thing_once(tiny, tmp_path, built, cache):
    settings = {"kd@hot": {"temperature": 8}, "lr_ds": {"scorer": "influence", "proxy_epochs": 3}}
    compared = {"methods": METHODS, "seeds": 2, "settings": settings}
    recipe = {**tiny, "teacher": {**tiny["teacher"], "cache": cache}, "compare": compared}
    found = limbeck.compare(recipe, out=tmp_path / "c", jobs=1)
    assert not found.failures
    runs = len(METHODS) * 2
    assert built["methods.create"] <= 2 * runs
    # A student a run and one to check; the live and the self-teacher; the proxies of lr_ds.
    assert built["models.create"] == (runs + 1) + 2 + 2
    assert built["models.load_weights"] == 2
    assert built["data.load"] == 1


def test_a_run_builds_each_thing_once(tiny, tmp_path, built):
    limbeck.run({**tiny, "method": "kd"}, out=tmp_path / "run")
    # The method, and `none` for the training of the teacher.
    assert built == {"methods.create": 2, "models.create": 2, "models.load_weights": 1, "data.load": 1}


@pytest.mark.slow
def test_workers_load_the_data_and_the_teacher_once_a_process(tiny, tmp_path, monkeypatch):
    code = tmp_path / "counted_teacher.py"
    code.write_text(
        "import os, pathlib, torch\n"
        "def make(num_classes, in_channels):\n"
        f"    (pathlib.Path({str(tmp_path)!r}) / 'made').open('a').write(f'{{os.getpid()}}\\n')\n"
        "    torch.manual_seed(0)\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, num_classes))\n"
    )
    monkeypatch.chdir(tmp_path)
    recipe = {**tiny, "teacher": {"name": "python:counted_teacher:make"}}
    recipe |= {"compare": {"methods": ["kd", "dist", "lr"], "seeds": 2}, "training": {**tiny["training"], "epochs": 1}}
    found = limbeck.compare(recipe, out=tmp_path / "c", jobs=2)
    assert not found.failures
    processes = Counter((tmp_path / "made").read_text().split())
    assert 2 <= len(processes) <= 3
    assert set(processes.values()) == {1}


def test_a_shared_teacher_is_in_every_log_with_where_it_comes_from(tiny, tmp_path):
    found = limbeck.compare({**tiny, "compare": {"methods": ["kd", "dist"]}}, out=tmp_path / "c", jobs=1)
    for method in ("kd", "dist"):
        lines = (found.folder / method / "seed-0" / "log.txt").read_text().splitlines()
        (line,) = (line for line in lines if line.startswith("teacher resnet8: trained on 60 images in"))
        assert "before this run (kept in" in line


def test_runs_with_a_teacher_in_train_mode_do_not_affect_each_other(tiny, tmp_path):
    recipe = {**tiny, "teacher": {**tiny["teacher"], "train_mode": True}, "compare": {"methods": ["kd", "dist"]}}
    found = limbeck.compare(recipe, out=tmp_path / "c", jobs=1)
    alone = limbeck.run({**recipe, "method": "dist"}, out=tmp_path / "alone").summary
    within = limbeck.runs.read_run(found.folder / "dist" / "seed-0")
    keys = [key for key in alone if key.startswith("teacher.")] + ["test.loss", "test.accuracy"]
    assert len(keys) > 8
    assert {key: within[key] for key in keys} == {key: alone[key] for key in keys}
    measured = list((tmp_path / "cache" / "measured").iterdir())
    assert len(measured) == 2, "one file a split: the teacher of every run has the statistics of the kept one"


def test_a_run_whose_logits_are_all_stored_releases_the_teacher(tiny, tmp_path, monkeypatch):
    recipe = {**tiny, "method": "kd", "teacher": {**tiny["teacher"], "cache": "views"}}
    recipe["data"] = {**tiny["data"], "augment": {}}
    limbeck.run(recipe, out=tmp_path / "cold")
    alive, real = [], LiveTeacher.__init__

    def init(self, *args, **kwargs):
        real(self, *args, **kwargs)
        alive.append(weakref.ref(self.network))

    class Look:
        def step(self, *_):
            pass

        def epoch(self, row, epochs):
            gc.collect()
            left.append([reference() for reference in alive])

    left = []
    monkeypatch.setattr(LiveTeacher, "__init__", init)
    limbeck.run(recipe, out=tmp_path / "warm", reporting=Reporting(progress=Look()))
    assert left == [[None], [None]]
