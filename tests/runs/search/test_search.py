"""``limbeck search``: what it trains, chooses, measures, keeps and continues."""

import csv
import json

import optuna
import pytest
import yaml

import limbeck
from limbeck.errors import UserError
from limbeck.locking import LockedError, locked
from limbeck.runs import Reporting
from tiny_search import trials


def test_the_best_quarter_goes_on_at_each_rung(searched):
    done, *_ = searched
    lines = trials(done.folder / "trials.csv")["trials"]
    assert [line["epochs"] for line in lines].count("4") == 2
    first = sorted(range(5), key=lambda place: (-float(lines[place]["validation@1"]), place))
    assert {place for place, line in enumerate(lines) if line["validation@4"]} == set(first[:2])
    assert [line["state"] for line in lines] == ["complete" if n in first[:2] else "stopped" for n in range(5)]
    best = max(first[:2], key=lambda place: (float(lines[place]["validation@4"]), -place))
    assert done.figure == float(lines[best]["validation@4"])
    assert (done.best.method, dict(done.best.settings)) == (lines[best]["method"], json.loads(lines[best]["settings"]))


def test_the_methods_own_defaults_are_tried_first(searched):
    done, *_ = searched
    first, second, *_ = trials(done.folder / "trials.csv")["trials"]
    for line in (first, second):
        defaults = limbeck.methods.create(line["method"]).settings[line["method"]]
        given = json.loads(line["settings"])
        assert given == {key: defaults[key] for key in given}
    assert [first["method"], second["method"]] == ["kd", "dist"]


def test_a_setting_trained_from_rung_to_rung_is_a_run_that_never_stopped(searched, tmp_path):
    done, *_ = searched
    (number, line), *_ = [
        (n, line) for n, line in enumerate(trials(done.folder / "trials.csv")["trials"]) if line["validation@4"]
    ]
    whole = limbeck.run(done.folder / "trials" / f"{number:03}" / "recipe.yaml", out=tmp_path / "whole")
    assert whole.summary["validation.accuracy"] == float(line["validation@4"])


def test_trials_are_measured_on_validation_alone_and_cut_from_the_training_samples(searched):
    done, *_ = searched
    for metrics in done.folder.glob("*/00?/metrics.csv"):
        header = metrics.read_text().splitlines()[0].split(",")
        assert "validation.accuracy" in header
        assert not [column for column in header if column.startswith("test.")]
        with metrics.open() as file:
            figures = [(row["epoch"], row["validation.accuracy"]) for row in csv.DictReader(file)]
        # The control has one rung, the last epoch.
        rungs = {"1", "4"} if metrics.parts[-3] == "trials" else {"4"}
        assert all(bool(figure) == (epoch in rungs) for epoch, figure in figures)
    plan = yaml.safe_load((done.folder / "search.yaml").read_text())
    assert (plan["training"], plan["validation"]) == ("80 rows", "20 rows")


def test_the_control_has_as_many_epochs_and_no_defaults(searched):
    done, *_ = searched
    lines = trials(done.folder / "trials.csv")
    # 5 to epoch 1, 2 more to epoch 4: 11 epochs are two whole runs.
    assert [line["epochs"] for line in lines["random"]] == ["4", "4"]
    tried = {line["settings"] for line in lines["trials"]}
    assert not tried & {line["settings"] for line in lines["random"]}


def test_the_final_table_has_all_training_samples_and_says_what_was_chosen(searched, tmp_path):
    done, _, lines, _ = searched
    names = [result.method for result in done.comparison.results]
    assert names == ["none", "kd", f"{done.best.method}@found", names[3]]
    assert names[3].endswith("@random")
    assert "100 training rows" in done.comparison.title
    (found,) = [note for note in done.comparison.notes if note.startswith(f"{names[2]}: the best of 5 settings")]
    assert found in json.loads((done.comparison.folder / "comparison.json").read_text())["notes"]
    assert "validation accuracy on 20 rows" in found
    assert "11 epochs" in found
    assert sum(line.startswith("search: 5 settings of kd, dist: 5 to epoch 1, 2 to epoch 4") for line in lines) == 1
    best = limbeck.run(done.folder / "best.yaml", out=tmp_path / "best")
    assert best.summary["test.accuracy"] == done.comparison.results[2].figures["accuracy"][0]


def test_progress_goes_to_its_end(searched):
    *_, ticks = searched
    counts = [count for count, _ in ticks]
    assert counts == sorted(counts)
    assert ticks[-1] == (11 + 8 + 16, 11 + 8 + 16)


def test_optuna_reads_the_study(searched):
    done, *_ = searched
    plan = yaml.safe_load((done.folder / "search.yaml").read_text())
    backend = optuna.storages.journal.JournalFileBackend(str(done.folder / "study.journal"))
    study = optuna.load_study(study_name=plan["study"], storage=optuna.storages.JournalStorage(backend))
    lines = trials(done.folder / "trials.csv")["trials"]
    assert study.best_value == done.figure
    assert [trial.intermediate_values[1] for trial in study.trials] == [float(line["validation@1"]) for line in lines]
    assert [trial.params["method"] for trial in study.trials] == [line["method"] for line in lines]


def test_a_stopped_search_that_is_resumed_is_one_that_never_stopped(searched, recipe, tmp_path):
    done, *_ = searched

    def at_epoch(count):
        def tick(so_far, _):
            if so_far == count:
                raise KeyboardInterrupt

        return {"tick": tick}

    def at_line(start):
        def log(line):
            if line.startswith(start):
                raise KeyboardInterrupt

        return {"reporting": Reporting(log)}

    out = {"out": tmp_path / "s", "jobs": 1}
    # After a figure was stored, within the second trial of the last rung, in the control, and in the final table.
    for stop in (at_line("trials 3,"), at_epoch(9), at_epoch(13), at_epoch(23)):
        with pytest.raises(KeyboardInterrupt):
            limbeck.search(recipe, **out, **stop, resume=True)
        assert trials(tmp_path / "s/trials.csv")["trials"][3]["validation@1"]
    again = limbeck.search(recipe, **out, resume=True)
    assert trials(again.folder / "trials.csv") == trials(done.folder / "trials.csv")
    assert [result.figures for result in again.comparison.results] == [r.figures for r in done.comparison.results]


def test_another_search_is_not_continued_and_nothing_foreign_is_deleted(searched, recipe):
    done, first, *_ = searched
    with pytest.raises(UserError, match="holds a search, expected another --out, or --resume to continue it"):
        limbeck.search(first, out=done.folder)
    for changes, text in (
        ({"search.runs": 6}, "settings: the search in .* has 5, got 6; expected the same to resume"),
        ({"search.validation": 0.3}, "training: the search in .* has '80 rows', got '70 rows'"),
        ({"training.epochs": 5}, "training.epochs: the search in .* has 4, got 5"),
        ({"training.optimizer.lr": 0.02}, "training.optimizer.lr: the run in .* has 0.01, got 0.02"),
    ):
        with pytest.raises(UserError, match=text):
            limbeck.search(first, overrides=changes, out=done.folder, resume=True, jobs=1)
    with pytest.raises(UserError, match="holds a search, expected the folder of a comparison"):
        limbeck.compare(first, out=done.folder, overwrite=True)
    (done.folder / "mine.txt").touch()
    with pytest.raises(UserError, match="holds 'mine.txt', which is no file of a search"):
        limbeck.search(first, out=done.folder, overwrite=True)
    (done.folder / "mine.txt").unlink()
    with locked(done.folder / ".lock", "it"), pytest.raises(LockedError, match="is working on it"):
        limbeck.search(first, out=done.folder, overwrite=True, jobs=1)
    assert (done.folder / "best.yaml").is_file()


def test_a_setting_that_fails_is_a_line_and_the_others_are_compared(recipe, tmp_path):
    recipe["search"] = {
        "methods": ["kd"],
        "settings": {"kd": {"temperature": 1}},
        "training": {"optimizer": {"lr": [1e30, 0.01]}},
        "seeds": 1,
        "control": False,
    }
    done = limbeck.search(recipe, overrides={"training.epochs": 1}, out=tmp_path / "s", jobs=1)
    lines = trials(done.folder / "trials.csv")["trials"]
    assert sorted(line["state"] for line in lines) == ["complete", "failed"]
    (failed,) = [line for line in lines if line["state"] == "failed"]
    assert json.loads(failed["training"]) == {"optimizer.lr": 1e30}
    assert "loss part" in failed["reason"]
    assert done.best.training == {"optimizer.lr": 0.01}
    assert [result.method for result in done.comparison.results] == ["none", "kd", "kd@found"]


def test_the_command_prints_the_table_and_the_choice(searched, tmp_path, limbeck):
    done, recipe, *_ = searched
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(recipe))
    code, out, _ = limbeck("search", path, "--out", done.folder, "--resume", "--jobs", "1")
    assert code == 0
    assert f"{done.best.method}@found" in out
    assert f"best: {done.best.text}" in out
    assert "best.yaml" in out
