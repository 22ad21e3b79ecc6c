"""Comparisons: one shared teacher, processes, the table, resuming."""

import csv
import importlib
import os

import pytest
import torch
from safetensors.torch import load_file

import limbeck
from limbeck.errors import UserError
from limbeck.runs import Reporting

# limbeck.runs.compare is the function.
compare = importlib.import_module("limbeck.runs.compare")


@pytest.fixture
def recipe(tiny):
    return {**tiny, "compare": {"methods": ["none", "kd", "lr+dist"], "seeds": 2}}


def test_a_comparison_in_this_process(recipe, tmp_path):
    heard = []
    found = limbeck.compare(recipe, out=tmp_path / "c", jobs=1, reporting=Reporting(heard.append))
    assert [result.method for result in found.results] == ["none", "kd", "lr+dist"]
    assert {path.name for path in found.folder.iterdir()} >= {"table.md", "table.csv", "plot.png", "plot.svg"}
    assert sum("training resnet8 as teacher" in line for line in heard) == 1
    rows = list(csv.DictReader((found.folder / "table.csv").open()))
    assert [row["method"] for row in rows] == ["teacher", "none", "kd", "lr+dist"]
    assert "| lr+dist |" in (found.folder / "table.md").read_text()
    assert (found.folder / "plot.png").read_bytes()[:4] == b"\x89PNG"
    for result in found.results:
        summaries = [limbeck.runs.read_run(found.folder / result.method / f"seed-{seed}") for seed in (0, 1)]
        assert result.accuracies == tuple(summary["test.accuracy"] for summary in summaries)


def test_agreement_is_the_share_of_equal_predictions(recipe, tmp_path):
    found = limbeck.compare(recipe, out=tmp_path / "c", jobs=1)
    data = limbeck.data.load("mnist", root=recipe["data"]["root"])
    teacher = limbeck.models.create("resnet8", num_classes=10, in_channels=1, width=0.5)
    limbeck.models.load_weights(teacher, next((tmp_path / "cache" / "teachers").glob("*/teacher.safetensors")))
    batch = next(limbeck.data.Views(data.test, batch_size=30, mean=data.mean, std=data.std).epoch(0))
    said = teacher.eval()(batch.inputs).argmax(1)
    student = limbeck.models.create("resnet8", num_classes=10, in_channels=1, width=0.25)
    student.load_state_dict(load_file(found.folder / "kd" / "seed-1" / "student.safetensors"))
    same = (student.eval()(batch.inputs).argmax(1) == said).double().mean().item()
    assert found.results[1].agreement[1] == pytest.approx(same)
    assert found.teacher_accuracy == pytest.approx((said == batch.labels).double().mean().item())


def test_processes_give_the_same_numbers_and_tell_how_far_they_are(recipe, tmp_path):
    ticks = []
    apart = limbeck.compare(recipe, out=tmp_path / "two", jobs=2, tick=lambda *tick: ticks.append(tick))
    alone = limbeck.compare(recipe, out=tmp_path / "one", jobs=1)
    assert [r.accuracies for r in apart.results] == [r.accuracies for r in alone.results]
    assert ticks[-1] == (12, 12)


def test_processes_share_the_cores_and_get_no_more_threads_than_their_parent(monkeypatch):
    monkeypatch.setattr(compare, "_cores", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    for jobs, share in ((1, 2), (4, 2), (8, 1), (16, 1)):
        with compare._one_share_each(jobs) as threads:
            assert (threads, os.environ["OMP_NUM_THREADS"]) == (share, str(share))
    assert os.environ["OMP_NUM_THREADS"] == "2"


def test_a_comparison_resumes(recipe, tmp_path):
    first = limbeck.compare(recipe, out=tmp_path / "c", jobs=1)
    kept = tmp_path / "c" / "kd" / "seed-0" / "summary.json"
    before = kept.stat().st_mtime_ns
    (tmp_path / "c" / "none" / "seed-1" / "summary.json").unlink()
    again = limbeck.compare(recipe, out=tmp_path / "c", jobs=1, resume=True)
    assert kept.stat().st_mtime_ns == before
    assert [r.accuracies for r in again.results] == [r.accuracies for r in first.results]


def test_methods_share_the_seeds_student_and_views(recipe, tmp_path):
    changed = {**recipe, "training": {**recipe["training"], "optimizer": {"name": "sgd", "lr": 1e-12}}}
    found = limbeck.compare(changed, out=tmp_path / "c", jobs=1)
    one, other = (
        load_file(found.folder / name / "seed-1" / "student.safetensors")["conv1.weight"] for name in ("none", "kd")
    )
    assert torch.allclose(one, other, atol=1e-6)


def test_one_method_with_several_settings(recipe, tmp_path):
    base = {**recipe, "method": {"name": "kd", "alpha": 0.4}}
    settings = {"kd@hot": {"temperature": 9}, "kd@cold-all": {"temperature": 1, "alpha": 1}}
    changes = {"compare.methods": ["kd", *settings], "compare.settings": settings, "compare.seeds": 1}
    found = limbeck.compare(base, overrides=changes, out=tmp_path / "c", jobs=1)
    assert [result.method for result in found.results] == ["kd", "kd@hot", "kd@cold-all"]
    assert found.notes[-3:] == (
        "kd: alpha 0.4",
        "kd@hot: temperature 9.0, alpha 0.4",
        "kd@cold-all: temperature 1.0, alpha 1.0",
    )
    assert len({result.nll for result in found.results}) == 3
    # Each is what the same settings give without a label.
    alone = limbeck.run(base, overrides={"method.temperature": 9}, out=tmp_path / "alone")
    assert found.results[1].nll == (alone.summary["test.loss"],)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"compare.methods": "none,kd@hot"},
            "compare.settings.kd@hot: not given, expected what kd@hot has other than kd",
        ),
        (
            {"compare.methods": "kd,kd@a/b"},
            "compare.methods: got 'kd@a/b', expected letters, digits, _ and - behind the @",
        ),
        (
            {"compare.settings": {"kd@hot": {"heat": 2}}},
            "compare.settings.kd@hot: method kd: unknown setting 'heat'",
        ),
        ({"compare.methods": "none,dits"}, "compare: unknown method 'dits'"),
        ({"compare.seeds": 0}, "compare.seeds: got 0"),
        ({"compare.settings": {"kd": {"temperature": 0}}}, "kd.temperature: got 0"),
        ({"teacher": {"name": "resnet8"}}, "teacher resnet8: has no weights"),
        ({"training.batch_size": 100}, "training.batch_size: got 100"),
    ],
)
def test_mistakes_stop_it_before_any_run(recipe, tmp_path, change, message):
    base = {**recipe, "teacher": {}} if "teacher" in change else recipe
    with pytest.raises(UserError) as error:
        limbeck.compare(base, overrides=change, out=tmp_path / "c", jobs=1)
    assert message in str(error.value)
    assert not (tmp_path / "c").exists()


def test_a_folder_in_use_and_a_wrong_number_of_jobs(recipe, tmp_path):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "thesis.txt").touch()
    with pytest.raises(UserError, match="c: is not empty and holds no comparison"):
        limbeck.compare(recipe, out=tmp_path / "c")
    with pytest.raises(UserError, match="jobs: got 0"):
        limbeck.compare(recipe, out=tmp_path / "d", jobs=0)
