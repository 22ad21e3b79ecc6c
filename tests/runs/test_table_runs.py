"""Tables from the command line to the run folder: methods, precisions, resuming, caches, own models and loops."""

import json
import pickle

import numpy as np
import pytest
import skops.io
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from sklearn.ensemble import RandomForestClassifier
from torch import nn

import limbeck
from limbeck import data as datasets
from limbeck.data.tables import prepare
from limbeck.errors import UserError
from limbeck.teachers import EstimatorTeacher
from stopped_runs import assert_same_run, stopping

FOREST = {"name": "sklearn:RandomForestClassifier", "options": {"n_estimators": 5}, "training": {}}


@pytest.fixture
def recipe(tmp_path):
    return {
        "data": {"name": "digits", "train_limit": 60, "test_limit": 40},
        "teacher": FOREST,
        "student": {"name": "mlp", "options": {"hidden": 8}},
        "method": "none",
        "training": {"epochs": 2, "batch_size": 20, "device": "cpu", "precision": "fp32"},
    }


@pytest.fixture
def command(request):
    """The command of the fixture ``limbeck``, whose name here is the package's."""
    return request.getfixturevalue("limbeck")


def log_of(done):
    return (done.folder / "log.txt").read_text()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", ["none", "kd", "dist", "lr_ds", "dr_kd", "lw_kd"])
def test_every_kind_of_method_in_either_precision(recipe, tmp_path, method, precision):
    settings = {"teacher.lightweight.per_class": 4, "teacher.lightweight.epochs": 1} if method == "lw_kd" else {}
    overrides = {"method": method, "training.precision": precision, **settings}
    done = limbeck.run(recipe, overrides=overrides, out=tmp_path / "run")
    assert done.summary["epoch"] == 2
    assert 0 <= done.summary["test.accuracy"] <= 1


def test_a_file_by_the_command_and_its_student_serves_raw_rows(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [
        "size,color,kind",
        *(f"{k % 7},{'red' if k % 3 else 'blue'},{'big' if k % 7 > 3 else 'small'}" for k in range(80)),
    ]
    (tmp_path / "rows.csv").write_text("\n".join(rows))
    (tmp_path / "mine.yaml").write_text(
        "data: {name: table, root: rows.csv, options: {label: kind, test_rows: 20}, augment: {noise: 0.1}}\n"
        "teacher: {name: 'sklearn:RandomForestClassifier', training: {}, options: {n_estimators: 3}}\n"
        "student: {name: mlp, options: {hidden: 8}}\nmethod: kd\n"
        "training: {epochs: 2, batch_size: 20, precision: fp32}\n"
    )
    code, out, err = command("run", "mine.yaml", "--out", "run")
    assert code == 0
    assert "60 training and 20 test rows of 3 numbers" in out + err
    with safe_open(tmp_path / "run" / "student.safetensors", "pt") as file:
        about = json.loads(file.metadata()["limbeck"])
    assert (about["classes"], about["label"], about["categories"]) == (
        ["big", "small"],
        "kind",
        {"color": ["blue", "red"]},
    )
    assert prepare({"size": [3], "color": ["red"]}, about).shape == (1, 3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.options.label=sort"], "data.options.label: rows.csv has no column 'sort', expected one of: size, kind"),
        (["data.augment.flip=true"], "data.augment.flip: got True, but rows take of such settings noise"),
        (["student=resnet8"], "model 'resnet8': is for images"),
        (["student.name=sklearn:SVC"], "student: estimator SVC: has no predict_proba"),
        (["student.name=sklearn:GaussianNB"], "student: a GaussianNB has no gradients and can only teach"),
        (["student.name=sklearn:GaussianNB", "method=dr_kd"], "student: a GaussianNB has no gradients"),
        (["teacher.name=sklearn:SVC"], "teacher: estimator SVC: has no predict_proba"),
        (["teacher.training=null"], "teacher: sklearn:GaussianNB: the GaussianNB is not fitted, expected weights"),
        (["teacher.freeze=[a]"], "teacher: freeze: got one for a GaussianNB"),
        (["teacher.training.epochs=3"], "teacher: training.epochs: got one for a GaussianNB, which has no epochs"),
        (["teacher.layers=[a]", "method=kd"], "layers: got one for a GaussianNB, which is no network"),
        (["method=fitnet"], "compares features, and a GaussianNB has none"),
        (["teacher.options.prior=1"], "unknown sklearn:GaussianNB option 'prior'; did you mean 'priors'"),
    ],
)
def test_bad_input_is_one_line_before_training(command, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("size,kind\n" + "".join(f"{k},{'ab'[k % 2]}\n" for k in range(40)))
    (tmp_path / "mine.yaml").write_text(
        "data: {name: table, root: rows.csv, options: {label: kind}}\n"
        "teacher: {name: 'sklearn:GaussianNB', training: {}}\n"
        "student: mlp\nmethod: kd\ntraining: {epochs: 1, batch_size: 8}\n"
    )
    code, _, err = command("run", "mine.yaml", *words)
    assert code == 2
    assert message in " ".join(err.split())
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").rglob("student.safetensors"))


def test_the_forest_is_fitted_once_and_taken_from_the_store(recipe, tmp_path):
    first = limbeck.run({**recipe, "method": "kd"}, out=tmp_path / "first")
    second = limbeck.run({**recipe, "method": "dist"}, out=tmp_path / "second")
    assert "fitting sklearn:RandomForestClassifier as teacher on 60 rows" in log_of(first)
    assert "trained on 60 rows in" in log_of(first)
    assert "fitting" not in log_of(second)
    assert "before this run (kept in" in log_of(second)
    third = limbeck.run({**recipe, "method": "kd"}, overrides={"teacher.seed": 1}, out=tmp_path / "third")
    assert "fitting" in log_of(third)
    assert (
        third.summary["teacher.test.loss"] != first.summary["teacher.test.loss"] == second.summary["teacher.test.loss"]
    )


def test_a_damaged_kept_forest_is_named(recipe, tmp_path):
    limbeck.run({**recipe, "method": "kd"}, out=tmp_path / "first")
    (path,) = (tmp_path / "cache" / "teachers").rglob("teacher.skops")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match="is damaged, expected a kept teacher"):
        limbeck.run({**recipe, "method": "kd"}, out=tmp_path / "second")


def test_a_forest_of_a_file_is_the_teacher(recipe, tmp_path):
    data = datasets.load("digits", train_limit=60)
    forest = RandomForestClassifier(5, random_state=0).fit(data.train.inputs.numpy(), data.train.labels.numpy())
    skops.io.dump(forest, tmp_path / "forest.skops")
    teacher = {"name": "sklearn:RandomForestClassifier", "weights": str(tmp_path / "forest.skops")}
    loaded = limbeck.run({**recipe, "method": "kd", "teacher": teacher}, out=tmp_path / "loaded")
    fitted = limbeck.run({**recipe, "method": "kd"}, out=tmp_path / "fitted")
    assert loaded.summary["test.loss"] == fitted.summary["test.loss"]
    (tmp_path / "forest.skops").write_bytes(pickle.dumps(forest))
    with pytest.raises(UserError, match="forest.skops'?: is no file of skops"):
        limbeck.run({**recipe, "method": "kd", "teacher": teacher}, out=tmp_path / "pickle")
    with pytest.raises(UserError, match="teacher: weights: got a file beside training"):
        limbeck.run({**recipe, "method": "kd", "teacher": {**teacher, "training": {}}}, out=tmp_path / "both")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("cache", "noise"), [("views", 0.0), ("epochs", 0.2)])
def test_a_cache_changes_nothing(recipe, tmp_path, cache, noise, precision):
    recipe = {**recipe, "method": "kd"}
    common = {"data.augment.noise": noise, "training.precision": precision}
    live = limbeck.run(recipe, overrides=common, out=tmp_path / "live")
    stored = {"teacher.cache": cache, "teacher.cache_dtype": "float32", **common}
    for name in ("cached", "again"):
        done = limbeck.run(recipe, overrides=stored, out=tmp_path / name)
        ours, theirs = (load_file(run.folder / "student.safetensors") for run in (done, live))
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert "100.0% of what this run reads" in log_of(done)


def test_stopped_and_resumed_equals_never_stopped(recipe, tmp_path):
    recipe = {**recipe, "method": "dist", "data": {**recipe["data"], "augment": {"noise": 0.2}}}
    limbeck.run(recipe, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(recipe, out=tmp_path / "stopped", reporting=stopping(1))
    limbeck.run(recipe, out=tmp_path / "stopped", resume=True)
    assert_same_run(tmp_path / "stopped", tmp_path / "whole")


def test_series_through_a_convolutional_network(recipe, tmp_path):
    data = {**recipe["data"], "options": {"shape": [8, 8]}}
    done = limbeck.run({**recipe, "data": data, "student": "cnn1d", "method": "kd"}, out=tmp_path / "run")
    assert "test series, 8 channels of 8 steps" in log_of(done)


MODULE = """
from sklearn.linear_model import LogisticRegression
from sklearn.datasets import load_digits
from torch import nn

def forest(num_classes, in_features):
    x, y = load_digits(return_X_y=True)
    return LogisticRegression(max_iter=20).fit((x - x.mean(0)) / (x.std(0) + 1e-9), y)

def unfitted():
    return LogisticRegression(max_iter=20)

def student(num_classes, in_features):
    return nn.Sequential(nn.Linear(in_features, 8), nn.ReLU(), nn.Linear(8, num_classes))
"""


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_models_of_a_users_own_module(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tablemodels.py").write_text(MODULE)
    own = {**recipe, "method": "kd", "student": "python:tablemodels:student"}
    done = limbeck.run({**own, "teacher": "python:tablemodels:forest"}, out=tmp_path / "fitted")
    assert done.summary["teacher.test.accuracy"] > 0.8
    fitted = {"name": "python:tablemodels:unfitted", "training": {}}
    assert "fitting python:tablemodels:unfitted" in log_of(
        limbeck.run({**own, "teacher": fitted}, out=tmp_path / "fit")
    )
    with pytest.raises(UserError, match="the LogisticRegression is not fitted, expected weights"):
        limbeck.run({**own, "teacher": "python:tablemodels:unfitted"}, out=tmp_path / "unfitted")


def test_an_own_estimator_may_be_fitted_on_names(recipe, tmp_path, monkeypatch):
    (tmp_path / "namedmodels.py").write_text(
        "from limbeck.data import load\nfrom sklearn.tree import DecisionTreeClassifier\n"
        "def tree():\n    data = load('iris')\n    names = [data.classes[k] for k in data.train.labels]\n"
        "    return DecisionTreeClassifier(random_state=0).fit(data.train.inputs.numpy(), names)\n"
    )
    monkeypatch.chdir(tmp_path)
    own = {**recipe, "data": {"name": "iris"}, "method": "kd", "teacher": "python:namedmodels:tree"}
    done = limbeck.run(own, out=tmp_path / "run")
    assert done.summary["teacher.test.accuracy"] > 0.8


def test_a_network_of_a_table_prepared_otherwise_is_refused(recipe, tmp_path):
    first = limbeck.run(recipe, out=tmp_path / "first")
    teacher = {"name": "mlp", "options": {"hidden": 8}, "weights": str(first.folder / "student.safetensors")}
    limbeck.run({**recipe, "method": "kd", "teacher": teacher}, out=tmp_path / "same")
    with pytest.raises(UserError, match="took inputs of a table with other values of 'mean', expected the same"):
        limbeck.run(
            {**recipe, "method": "kd", "teacher": teacher}, overrides={"data.split_seed": 1}, out=tmp_path / "other"
        )


def test_a_forest_teaches_images_too(tiny, tmp_path):
    done = limbeck.run({**tiny, "method": "kd", "teacher": FOREST}, out=tmp_path / "run")
    assert "fitting sklearn:RandomForestClassifier as teacher on 60 images" in log_of(done)


def test_an_own_loop():
    data = datasets.load("digits", train_limit=100)
    forest = RandomForestClassifier(10, random_state=0).fit(data.train.inputs.numpy(), data.train.labels.numpy())
    student = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
    distiller = limbeck.Distiller(student, EstimatorTeacher(forest), method="kd")
    optimizer = torch.optim.Adam(distiller.parameters(), 0.01)
    losses = []
    for epoch in range(10):
        for batch in data.batches(data.train, batch_size=20, shuffle=True).epoch(epoch):
            loss = distiller(batch.inputs, batch.labels).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])


def test_the_packaged_recipe_runs(tmp_path):
    overrides = {"training.epochs": 1, "training.evaluate_every": 1, "teacher.options.n_estimators": 5}
    done = limbeck.run("table_quickstart", overrides=overrides, out=tmp_path / "run")
    assert done.summary["student.parameters"] < 1500
