"""Comparisons: one shared teacher, processes, the table, resuming."""

import csv
import json

import pytest
import torch
from safetensors.torch import load_file

import limbeck
from data_layouts import write_mnist
from limbeck.errors import RunError, UserError
from limbeck.locking import locked
from limbeck.report.page.reading import read_results
from limbeck.runs import Reporting
from stopped_runs import assert_same_run


@pytest.fixture
def recipe(tiny):
    return {**tiny, "compare": {"methods": ["none", "kd", "lr+dist"], "seeds": 2}}


def lines_of(folder):
    return {line["method"]: line for line in csv.DictReader((folder / "table.csv").open())}


BAD = {"lr@bad": {"ce_weight": 1e38, "kd_weight": 1e38}}


def test_a_comparison_in_this_process(recipe, tmp_path):
    logged = []
    found = limbeck.compare(recipe, out=tmp_path / "c", jobs=1, reporting=Reporting(logged.append))
    assert [result.method for result in found.results] == ["none", "kd", "lr+dist"]
    assert {path.name for path in found.folder.iterdir()} >= {"table.md", "table.csv", "plot.png", "plot.svg"}
    assert sum("training resnet8 as teacher" in line for line in logged) == 1
    rows = list(csv.DictReader((found.folder / "table.csv").open()))
    assert [row["method"] for row in rows] == ["teacher", "none", "kd", "lr+dist"]
    assert "| lr+dist |" in (found.folder / "table.md").read_text()
    assert (found.folder / "plot.png").read_bytes()[:4] == b"\x89PNG"
    for result in found.results:
        summaries = [limbeck.runs.read_run(found.folder / result.method / f"seed-{seed}") for seed in (0, 1)]
        assert result.figures["accuracy"] == tuple(summary["test.accuracy"] for summary in summaries)


def test_agreement_is_the_share_of_equal_predictions(recipe, tmp_path):
    found = limbeck.compare(recipe, out=tmp_path / "c", jobs=1)
    data = limbeck.data.load("mnist", root=recipe["data"]["root"])
    teacher = limbeck.models.create("resnet8", num_classes=10, in_channels=1, width=0.5)
    limbeck.models.load_weights(teacher, next((tmp_path / "cache" / "teachers").glob("*/teacher.safetensors")))
    batch = next(limbeck.data.Views(data.test, batch_size=30, mean=data.mean, std=data.std).epoch(0))
    teacher_classes = teacher.eval()(batch.inputs).argmax(1)
    student = limbeck.models.create("resnet8", num_classes=10, in_channels=1, width=0.25)
    student.load_state_dict(load_file(found.folder / "kd" / "seed-1" / "student.safetensors"))
    same = (student.eval()(batch.inputs).argmax(1) == teacher_classes).double().mean().item()
    assert found.results[1].agreement[1] == pytest.approx(same)
    assert found.teacher_figure == pytest.approx((teacher_classes == batch.labels).double().mean().item())


def test_processes_give_the_same_numbers_and_report_progress(recipe, tmp_path):
    ticks, changes = [], {"compare.methods": ["none", "lr@bad", "kd", "lr+dist"], "compare.settings": BAD}
    apart = limbeck.compare(
        recipe, overrides=changes, out=tmp_path / "two", jobs=2, tick=lambda *tick: ticks.append(tick)
    )
    alone = limbeck.compare(recipe, overrides=changes, out=tmp_path / "one", jobs=1)
    assert [r.figures["accuracy"] for r in apart.results] == [r.figures["accuracy"] for r in alone.results]
    for found in (apart.folder / name for name in ("none/seed-1", "kd/seed-0", "lr+dist/seed-1")):
        assert_same_run(found, alone.folder / found.relative_to(apart.folder))
    assert sorted(apart.failures) == sorted(alone.failures)
    assert len(apart.failures) == 2
    assert ticks[-1] == (12, 12)


def test_a_comparison_resumes(recipe, tmp_path):
    first = limbeck.compare(recipe, out=tmp_path / "c", jobs=1)
    kept = tmp_path / "c" / "kd" / "seed-0" / "summary.json"
    before = kept.stat().st_mtime_ns
    (tmp_path / "c" / "none" / "seed-1" / "summary.json").unlink()
    again = limbeck.compare(recipe, out=tmp_path / "c", jobs=1, resume=True)
    assert kept.stat().st_mtime_ns == before
    assert [r.figures["accuracy"] for r in again.results] == [r.figures["accuracy"] for r in first.results]


def test_a_run_that_fails_is_a_row_and_the_others_are_trained(tiny, tmp_path):
    logged = []
    changes = {"compare.methods": ["lr@bad", "none"], "compare.settings": BAD, "training.epochs": 1}
    found = limbeck.compare(tiny, overrides=changes, out=tmp_path / "c", jobs=1, reporting=Reporting(logged.append))
    reason = next(line.partition("failed: ")[2] for line in logged if line.startswith("lr@bad, seed 0: failed: "))
    assert reason.startswith("epoch 1, step 1 of 3: the gradient of")
    assert found.failures == (f"lr@bad, seed 0 failed: {reason}",)
    assert [result.seeds for result in found.results] == [0, 1]
    assert (lines_of(found.folder)["lr@bad"]["status"], lines_of(found.folder)["none"]["status"]) == (
        f"seed 0: {reason}",
        "complete",
    )
    assert "| lr@bad | failed |" in found.markdown
    assert reason in (found.folder / "table.md").read_text()
    # Methods may be added, left out and put into another order; the failed run is tried again.
    again = limbeck.compare(
        tiny,
        overrides={**changes, "compare.methods": ["label_smoothing", "none", "lr@bad"]},
        out=tmp_path / "c",
        jobs=1,
        resume=True,
    )
    assert [(result.method, result.seeds) for result in again.results] == [
        ("label_smoothing", 1),
        ("none", 1),
        ("lr@bad", 0),
    ]
    assert again.results[1].figures["accuracy"] == found.results[1].figures["accuracy"]


def test_seeds_and_methods_change_on_resume_and_the_table_has_the_present_ones(tiny, tmp_path):
    first = limbeck.compare(tiny, overrides={"compare.methods": "none", "compare.seeds": 2}, out=tmp_path / "c", jobs=1)
    kept = tmp_path / "c" / "none" / "seed-1" / "summary.json"
    before = kept.stat().st_mtime_ns
    changes = {"compare.methods": "label_smoothing,none", "seed": 1, "compare.seeds": 1}
    second = limbeck.compare(tiny, overrides=changes, out=tmp_path / "c", jobs=1, resume=True)
    assert [result.method for result in second.results] == ["label_smoothing", "none"]
    assert second.results[1].figures["accuracy"] == first.results[0].figures["accuracy"][1:]
    assert kept.stat().st_mtime_ns == before
    assert list(lines_of(second.folder)) == ["label_smoothing", "none"]
    limbeck.compare(tiny, overrides={**changes, "compare.methods": "none"}, out=tmp_path / "c", jobs=1, resume=True)
    (shown,) = read_results([tmp_path / "c"])
    assert [(run.method, run.seed) for run in shown.runs] == [("none", 1)]


def test_where_every_run_fails_there_is_a_table_with_the_reasons_and_no_page(tiny, tmp_path, request):
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(json.dumps(tiny))
    words = ["--methods", "none", "--jobs", "1", "training.epochs=1", "training.optimizer.lr=1e30"]
    code, out, err = request.getfixturevalue("limbeck")("compare", recipe, *words, "--out", tmp_path / "c")
    assert code == 1
    assert "none, seed 0 failed: epoch 1, step" in out
    assert f"table: {tmp_path}/c/table.md, table.csv\n" in out
    assert "1 of the runs failed; the same command with --resume tries them again" in err
    assert not (tmp_path / "c" / "report.html").exists()


def test_a_resumed_comparison_names_the_key_that_differs(tiny, tmp_path):
    limbeck.compare(tiny, overrides={"compare.methods": "none"}, out=tmp_path / "c", jobs=1)
    with pytest.raises(UserError, match=r"^training\.batch_size: the run in .*none/seed-0 has 20, got 30; expected"):
        limbeck.compare(tiny, overrides={"training.batch_size": 30}, out=tmp_path / "c", jobs=1, resume=True)
    settings = {"label_smoothing": {"smoothing": 0.3}}
    changes = {"compare.methods": "label_smoothing", "compare.settings": settings}
    limbeck.compare(tiny, overrides=changes, out=tmp_path / "c", jobs=1, resume=True)
    settings["label_smoothing"]["smoothing"] = 0.2
    with pytest.raises(UserError, match=r"smoothing: the run in .*label_smoothing/seed-0 has 0\.3, got 0\.2"):
        limbeck.compare(tiny, overrides=changes, out=tmp_path / "c", jobs=1, resume=True)


def test_a_resumed_comparison_refuses_other_data_and_accepts_more_epochs(tiny, tmp_path):
    changes = {"compare.methods": "none", "training.epochs": 1, "training.schedule": "constant"}
    first = limbeck.compare(tiny, overrides=changes, out=tmp_path / "c", jobs=1)
    changes["training.epochs"] = 2
    more = limbeck.compare(tiny, overrides=changes, out=tmp_path / "c", jobs=1, resume=True)
    assert more.results[0].figures["loss"] != first.results[0].figures["loss"]
    assert limbeck.runs.read_run(tmp_path / "c" / "none" / "seed-0")["epoch"] == 2
    assert limbeck.runs.read_run(tmp_path / "c" / "none" / "seed-0")["training.extended_from"] == [1]
    assert "none, seed 0: extended from 1 epochs, not trained for all at once" in more.notes
    assert "extended" not in " ".join(first.notes)
    write_mnist(tmp_path / "mnist", train=60, test=20)
    with pytest.raises(UserError, match="data: the test images are not those"):
        limbeck.compare(tiny, overrides=changes, out=tmp_path / "c", jobs=1, resume=True)


def test_overwrite_deletes_the_comparison_and_nothing_else(tiny, tmp_path):
    changes = {"compare.methods": "none", "training.epochs": 1}
    limbeck.compare(tiny, overrides=changes, out=tmp_path / "c", jobs=1)
    (tmp_path / "c" / "notes.txt").touch()
    with pytest.raises(
        UserError, match="expected another --out, or --resume to continue it, or --overwrite to replace it"
    ):
        limbeck.compare(tiny, overrides=changes, out=tmp_path / "c", jobs=1)
    with pytest.raises(UserError, match="resume and overwrite: got both"):
        limbeck.compare(tiny, overrides=changes, out=tmp_path / "c", jobs=1, resume=True, overwrite=True)
    changes = {"compare.methods": "label_smoothing", "training.epochs": 2}
    found = limbeck.compare(tiny, overrides=changes, out=tmp_path / "c", jobs=1, overwrite=True)
    assert [result.method for result in found.results] == ["label_smoothing"]
    entries = {entry.name for entry in (tmp_path / "c").iterdir()}
    assert "none" not in entries
    assert entries >= {"notes.txt", "label_smoothing", "table.md"}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(UserError, match="mine: is not empty and holds no comparison"):
        limbeck.compare(tiny, out=tmp_path / "mine", jobs=1, overwrite=True)


@pytest.mark.parametrize("how", ["resume", "overwrite"])
def test_the_folder_of_a_run_is_not_turned_into_that_of_a_comparison(tiny, tmp_path, how):
    limbeck.run(tiny, out=tmp_path / "run")
    before = (tmp_path / "run" / "recipe.yaml").read_bytes()
    with pytest.raises(UserError, match="holds a single run, expected the folder of a comparison"):
        limbeck.compare(tiny, overrides={"compare.methods": "none"}, out=tmp_path / "run", jobs=1, **{how: True})
    assert (tmp_path / "run" / "recipe.yaml").read_bytes() == before


def test_one_process_works_in_a_comparisons_folder(tiny, tmp_path):
    (tmp_path / "c").mkdir()
    with (
        locked(tmp_path / "c" / ".lock", "c"),
        pytest.raises(UserError, match=r"c: process \d+ on .* is working on it"),
    ):
        limbeck.compare(tiny, out=tmp_path / "c", jobs=1)
    assert not (tmp_path / "c" / "recipe.yaml").exists()


def test_a_teacher_that_fails_leaves_the_folder_to_the_corrected_command(tiny, tmp_path):
    changes = {"compare.methods": "kd", "teacher.training.optimizer.lr": 1e30}
    with pytest.raises(RunError, match="the loss part"):
        limbeck.compare(tiny, overrides=changes, out=tmp_path / "c", jobs=1)
    assert not (tmp_path / "c").exists()


def test_a_home_folder_is_found(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    changes = {"compare.methods": "none", "training.epochs": 1}
    assert limbeck.compare(tiny, overrides=changes, out="~/c", jobs=1).folder == tmp_path / "c"


def test_settings_of_a_comparison_are_merged_by_key_with_the_recipes_own(tiny, tmp_path):
    base = {**tiny, "method": {"name": "dist", "temperature": 1.5}}
    changes = {"compare.methods": "dist", "compare.settings": {"dist": {"beta": 3}}, "training.epochs": 1}
    found = limbeck.compare(base, overrides=changes, out=tmp_path / "c", jobs=1)
    assert found.notes[-1] == "dist: temperature 1.5, beta 3.0"


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
    assert len({result.figures["loss"] for result in found.results}) == 3
    # Each is what the same settings give without a label.
    alone = limbeck.run(base, overrides={"method.temperature": 9}, out=tmp_path / "alone")
    assert found.results[1].figures["loss"] == (alone.summary["test.loss"],)


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
        ({"compare.seeds": 10**11}, "compare.seeds: got 100000000000"),
        ({"compare.seeds": 2, "seed": 2**32 - 1}, "compare.seeds: got 2 from seed 4294967295 on, expected seeds below"),
        ({"compare.methods": "kd,@x"}, "compare.methods: got '@x', expected a method's name in front of the @"),
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
