"""Trackers that are missing, refused or fail: one clear line, and no run ends by it."""

import json
import random
import sys

import pytest
import yaml
from offline_runs import tensorboard_events

import limbeck as library
from limbeck.errors import UserError
from limbeck.runs import Reporting, load_recipe
from limbeck.runs.trackers.ml_flow import MLflow
from limbeck.runs.trackers.tensor_board import TensorBoard
from limbeck.runs.trackers.tracker import Tracked
from stopped_runs import assert_same_run, metrics

VALID = "Valid: mlflow, tensorboard, wandb"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("tensorbord", f"output.trackers: unknown tracker 'tensorbord'; did you mean 'tensorboard'? {VALID}"),
        (["wandb", "wandb"], "output.trackers: got wandb, wandb, expected each tracker once"),
        ([{"name": "wandb", "projct": "x"}], "output.trackers: wandb.projct: unknown key 'projct'; did you mean"),
        ({"name": "wandb", "mode": "off"}, "output.trackers: wandb.mode: got 'off', input should be 'online' or 'off"),
        ([1], "output.trackers: got 1, expected names, or mappings with a name, of: tensorboard, wandb, mlflow"),
    ],
)
def test_bad_settings_are_one_line(tiny, given, message):
    with pytest.raises(UserError) as error:
        load_recipe(tiny, {"output.trackers": given})
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_names_and_settings_survive_the_stored_recipe(tiny):
    given = {"output.trackers": ["tensorboard", {"name": "mlflow", "uri": "http://host:5000"}]}
    recipe = load_recipe(tiny, given)
    assert load_recipe(recipe.model_dump(mode="json")) == recipe
    assert recipe.output.trackers[1].uri == "http://host:5000"


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_missing_package_is_one_line_before_anything(limbeck, tiny, tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny))
    expected = f"expected pip install 'limbeck[{name}]'"
    line = f"limbeck: output.trackers: {name}: needs the package {name}, which is missing, {expected}\n"
    for command in ("run", "compare"):
        words = (command, tmp_path / "tiny.yaml", f"output.trackers={name}", "--out", tmp_path / command)
        assert limbeck(*words) == (2, "", line)
        assert not (tmp_path / command).exists()


def test_a_check_names_a_missing_package(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    (problem,) = library.check(tiny, overrides={"output.trackers": "wandb"}).problems
    assert problem.startswith("output.trackers: wandb: needs the package wandb, which is missing")


def test_wandb_without_an_account_is_one_line(tiny, tmp_path, monkeypatch):
    import wandb

    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("NETRC", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"^output.trackers: wandb: no account .*, expected `wandb login`"):
        library.run(tiny, overrides={"output.trackers": "wandb"}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    # What it read of the environment is that of this test.
    wandb.teardown()


class Failing(TensorBoard):
    """Draws random numbers, and fails after the first epoch."""

    def curves(self, rows):
        random.random()
        if rows[-1]["epoch"] > 1:
            raise ConnectionError("the server is gone\nfor good")
        super().curves(rows)


def test_a_tracker_that_fails_ends_no_run_and_changes_no_number(tiny, tmp_path, monkeypatch):
    plain = library.run(tiny, out=tmp_path / "plain")
    monkeypatch.setattr("limbeck.runs.trackers.opening.TensorBoard", Failing)
    logged = []
    given = {"output.trackers": "tensorboard"}
    done = library.run(tiny, overrides=given, out=tmp_path / "failing", reporting=Reporting(logged.append))
    line = (
        "warning: output.trackers: tensorboard receives nothing more, the run goes on:"
        " ConnectionError: the server is gone for good"
    )
    assert [text for text in logged if "trackers" in text] == [line]
    assert line in (done.folder / "log.txt").read_text()
    assert_same_run(plain.folder, done.folder)
    # The rows that it missed are sent when the run goes on.
    monkeypatch.undo()
    library.run(tiny, overrides=given | {"training.epochs": 3}, out=done.folder, resume=True)
    steps = [event.step for event in tensorboard_events(done.folder / "tensorboard").Scalars("train/loss")]
    assert steps == [1, 2, 3]
    assert json.loads((done.folder / "trackers.json").read_text())["tensorboard"]["sent"] == len(metrics(done.folder))


def test_an_epoch_that_a_killed_run_sent_but_did_not_note_is_there_once(tmp_path):
    tracked = Tracked(tmp_path, "kd", "mine")
    for value in (0.5, 0.25):
        tracker = TensorBoard(tracked, sent=0)
        tracker.curves([{"epoch": 1, "train.loss": value}])
        tracker.close(complete=False)
    assert [event.value for event in tensorboard_events(tmp_path / "tensorboard").Scalars("train/loss")] == [0.25]


def test_a_server_that_is_gone_is_a_warning(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    given, logged = {"output.trackers": [{"name": "mlflow", "uri": "http://127.0.0.1:9"}]}, []
    done = library.run(tiny, overrides=given, out=tmp_path / "run", reporting=Reporting(logged.append))
    (line,) = [text for text in logged if "trackers" in text]
    assert line.startswith("warning: output.trackers: mlflow receives nothing more, the run goes on: MlflowException")
    assert done.summary["epoch"] == 2


def test_mlflow_takes_names_and_settings_of_any_form(tmp_path, monkeypatch):
    sent = []
    tracker = MLflow.__new__(MLflow)
    tracker.id = "run"
    tracker._client = type("Client", (), {"log_batch": lambda self, run, **given: sent.append(given)})()
    tracker._metrics({"train/lr+dist@hot": 1.0}, 1)
    tracker._parameters("run", {f"key{n}": "x" * 9000 for n in range(150)})
    assert sent[0]["metrics"][0].key == "train/lr-dist-hot"
    assert [len(given["params"]) for given in sent[1:]] == [100, 50]
    assert {len(p.value) for given in sent[1:] for p in given["params"]} == {500}


def test_overwriting_a_run_removes_what_trackers_wrote(tiny, tmp_path):
    library.run(tiny, overrides={"output.trackers": "tensorboard"}, out=tmp_path / "run")
    assert (tmp_path / "run" / "tensorboard").is_dir()
    library.run(tiny, out=tmp_path / "run", overwrite=True)
    assert not (tmp_path / "run" / "tensorboard").exists()
    assert not (tmp_path / "run" / "trackers.json").exists()
