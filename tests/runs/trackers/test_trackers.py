"""TensorBoard, W&B and MLflow, offline: what a comparison with them wrote, stopped and resumed, beside one without."""

import csv
import json
import math
import sqlite3

import pytest
from offline_runs import counted_connections, mlflow_metrics, tensorboard_events, wandb_records, wandb_rows

import limbeck
from data_layouts import write_mnist
from stopped_runs import assert_same_run, stopping

ALL = ["tensorboard", "wandb", "mlflow"]
RUNS = ("none/seed-0", "tf_kd_reg/seed-0")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A comparison without trackers, and the same with all of them, stopped after the second epoch and resumed."""
    folder = tmp_path_factory.mktemp("trackers")
    write_mnist(folder / "mnist", train=60, test=30)
    recipe = {
        "name": "tiny",
        "data": {"name": "mnist", "root": str(folder / "mnist"), "augment": {"crop": 2}},
        "student": {"name": "resnet8", "options": {"width": 0.25}},
        "training": {"epochs": 3, "batch_size": 20, "precision": "fp32", "device": "cpu"},
        "compare": {"methods": ["none", "tf_kd_reg"]},
    }
    tracked = {**recipe, "output": {"trackers": ALL}}
    with pytest.MonkeyPatch.context() as patch, counted_connections(patch) as connections:
        patch.setenv("WANDB_MODE", "offline")
        patch.setattr("limbeck.runs.pictures.save_class_picture", lambda figures, path, title: path)
        limbeck.compare(recipe, out=folder / "plain", jobs=1)
        with pytest.raises(KeyboardInterrupt):
            limbeck.compare(tracked, out=folder / "tracked", jobs=1, reporting=stopping(2))
        comparison = limbeck.compare(tracked, out=folder / "tracked", jobs=1, resume=True)
        yield folder, comparison, connections


def rows_of(folder):
    with (folder / "metrics.csv").open() as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def state_of(folder):
    return json.loads((folder / "trackers.json").read_text())


def test_trackers_change_no_number(made):
    folder, _, _ = made
    for run in RUNS:
        assert_same_run(folder / "plain" / run, folder / "tracked" / run)


def test_nothing_goes_to_the_network(made):
    assert made[2] == []


def curves_of(rows, name):
    """The curve of a column, from the file."""
    return [(int(row["epoch"]), row[name]) for row in rows]


@pytest.mark.parametrize("run", RUNS)
def test_tensorboard_has_each_epoch_of_each_column_once(made, run):
    folder = made[0] / "tracked" / run
    events, rows = tensorboard_events(folder / "tensorboard"), rows_of(folder)
    for column in set(rows[0]) - {"epoch"}:
        found = [(event.step, event.value) for event in events.Scalars(column.replace(".", "/", 1))]
        assert found == [(step, pytest.approx(value)) for step, value in curves_of(rows, column)], column


@pytest.mark.parametrize("run", RUNS)
def test_mlflow_has_each_epoch_of_each_column_once(made, run):
    folder = made[0] / "tracked" / run
    found = mlflow_metrics(made[0] / "tracked" / "mlflow.db", state_of(folder)["mlflow"]["id"])
    rows = rows_of(folder)
    for column in set(rows[0]) - {"epoch"}:
        assert found[column.replace(".", "/", 1)] == curves_of(rows, column), column
    summary = json.loads((folder / "summary.json").read_text())
    assert found["final/test.accuracy"] == [(3, summary["test.accuracy"])]


def offline_files(folder):
    return sorted((folder / "wandb").glob("offline-run-*/*.wandb"))


def test_wandb_has_each_epoch_once_over_the_stop(made):
    folder = made[0] / "tracked" / RUNS[0]
    files, rows = offline_files(folder), rows_of(folder)
    assert [path.stem for path in files] == [f"run-{state_of(folder)['wandb']['id']}"] * 2
    logged = [list(wandb_rows(path)) for path in files]
    assert [[row["_step"] for row in part] for part in logged] == [[1, 2], [3]]
    assert [row["train/loss"] for part in logged for row in part] == [row["train.loss"] for row in rows]


def test_wandb_has_the_figures_and_the_recipe(made):
    folder = made[0] / "tracked" / RUNS[1]
    records = [record for path in offline_files(folder) for record in wandb_records(path)]
    summary = {tuple(i.nested_key) or (i.key,): i.value_json for r in records for i in r.summary.update}
    expected = json.loads((folder / "summary.json").read_text())["test.accuracy"]
    assert json.loads(summary[("final/test.accuracy",)]) == pytest.approx(expected)
    config = {i.key or i.nested_key[0]: i.value_json for r in records for i in r.run.config.update}
    assert json.loads(config["student.name"]) == "resnet8"


def test_the_comparison_is_in_each_of_them(made):
    folder, comparison, _ = made
    table = folder / "tracked"
    (text,) = tensorboard_events(table / "tensorboard").Tensors("comparison/text_summary")
    assert text.tensor_proto.string_val[0].decode() == comparison.markdown
    state = state_of(table)
    artifacts = table / "mlartifacts" / state["mlflow"]["id"] / "artifacts"
    assert json.loads((artifacts / "table.json").read_text()) == comparison.rows
    assert (artifacts / "table.md").read_text() == comparison.markdown
    path = sorted(table.glob("wandb/offline-run-*/files/media/table/comparison_*.table.json"))[0]
    assert json.loads(path.read_text())["data"] == [list(row.values()) for row in comparison.rows]


def test_mlflow_has_one_store_with_named_and_ended_runs(made):
    table = made[0] / "tracked"
    assert list(table.rglob("mlflow.db")) == [table / "mlflow.db"]
    with sqlite3.connect(table / "mlflow.db") as connection:
        runs = connection.execute("select name, status from runs order by name").fetchall()
    assert runs == [(name, "FINISHED") for name in sorted([*RUNS, "tracked"])]


def test_a_complete_run_is_sent_no_more(made):
    folder = made[0] / "tracked"
    before = state_of(folder / RUNS[0])
    limbeck.compare(folder / "recipe.yaml", out=folder, jobs=1, resume=True)
    assert state_of(folder / RUNS[0]) == before
    assert len(offline_files(folder / RUNS[0])) == 2


def test_the_figures_are_numbers(made):
    rows = rows_of(made[0] / "tracked" / RUNS[0])
    assert all(math.isfinite(value) for row in rows for value in row.values())
