"""A run's recipe once more: whether the numbers came back, which differ first, and what is refused."""

import csv
import importlib
import json
import random
import re
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import limbeck
from data_layouts import write_mnist
from limbeck.errors import UserError
from limbeck.runs import Reporting, RunFolder
from limbeck.runs.same_numbers import Difference, compare_numbers
from stopped_runs import StopAfter


@pytest.fixture
def done(tiny, tmp_path):
    """A complete run with a teacher."""
    data = {**tiny["data"], "train_limit": 40}
    return limbeck.run({**tiny, "data": data, "method": "kd"}, out=tmp_path / "run").folder


@pytest.fixture
def short(tiny, tmp_path):
    """A complete run of one epoch on labels alone."""
    training = {**tiny["training"], "epochs": 1}
    return limbeck.run({**tiny, "method": "none", "training": training}, out=tmp_path / "run").folder


@pytest.fixture
def command(request):
    """The command of the fixture ``limbeck``, whose name here is the package's."""
    return request.getfixturevalue("limbeck")


def change_json(path, change):
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def test_the_numbers_come_back_and_nothing_stays(done, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    before = {path: path.read_bytes() for path in done.rglob("*") if path.is_file()}
    random.seed(5)
    expected = random.getstate()
    found = limbeck.replay(done)
    assert found.equal
    assert re.fullmatch(
        rf"{done}: the numbers came back: \d+ figures, 56 weights and \d tables of predictions equal", found.line
    )
    assert "its teacher is the one that was kept" in found.notes
    assert "versions, threads and machine are those of the run" in found.notes
    assert random.getstate() == expected
    assert not list((tmp_path / "temporary").iterdir())
    assert {path: path.read_bytes() for path in done.rglob("*") if path.is_file()} == before


def test_without_its_teacher_it_is_trained_again_and_the_numbers_come_back(done, tmp_path):
    found = limbeck.replay(done, overrides={"output.cache": tmp_path / "elsewhere"}, out=tmp_path / "kept")
    assert found.equal
    assert "its teacher was trained again" in found.notes
    assert list((tmp_path / "elsewhere" / "teachers").glob("*/teacher.safetensors"))
    assert RunFolder(tmp_path / "kept").finished


def test_another_seed_is_found_at_its_first_epoch(short, tmp_path):
    """A recipe that was edited after the run gives other numbers, all of which are named."""
    recipe = yaml.safe_load((short / "recipe.yaml").read_text())
    (short / "recipe.yaml").write_text(yaml.safe_dump({**recipe, "seed": 1}))
    found = limbeck.replay(short, out=tmp_path / "again")
    then, now = (
        float(next(csv.DictReader((folder / "metrics.csv").open()))["train.loss"])
        for folder in (short, tmp_path / "again")
    )
    assert not found.equal
    assert (
        f"the numbers did not come back: epoch 1, train.loss: {then}, now {now} ({abs(then - now):.3g} apart);"
        in found.line
    )
    counts = dict(re.findall(r"([\d,]+) of [\d,]+ (figures|weights)", found.line.rpartition(";")[2])[::-1])
    assert len(counts) == 2


def test_one_other_weight_or_prediction_is_found(short, tmp_path):
    kept = shutil.copytree(short, tmp_path / "kept")
    weights = load_file(short / "student.safetensors")
    weights["conv1.weight"].view(-1)[7] += 1e-3
    save_file(weights, short / "student.safetensors")
    (first,) = compare_numbers(kept, short).kinds[1].differing
    assert first.name == "conv1.weight[7] (1 of 36 differ)"
    assert first.now - first.before == pytest.approx(1e-3, rel=1e-3)
    predictions = load_file(short / "predictions.safetensors")
    save_file({**predictions, "test": 9 - predictions["test"]}, short / "predictions.safetensors")
    found = compare_numbers(kept, short)
    assert found.counted_differing == "1 of 56 weights and 1 of 3 tables of predictions"


def test_the_earliest_epoch_is_named_and_no_number_equals_itself(tmp_path):
    for name, cells in (("one", ("1,nan,0.5", "2,1.0,0.25")), ("other", ("1,nan,0.5", "2,1.5,0.125"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.csv").write_text("\n".join(["epoch,train.loss,test.accuracy", *cells]))
    found = compare_numbers(tmp_path / "one", tmp_path / "other")
    assert found.first == Difference("epoch 2", "train.loss", 1.0, 1.5)
    assert (found.counted, found.counted_differing) == ("4 figures", "2 of 4 figures")
    assert sum("is missing or damaged, so it is not compared" in line for line in found.left_out) == 3


def test_the_recorded_threads_are_taken_and_set_back(short, monkeypatch):
    # The package has a function of the module's name.
    module = importlib.import_module("limbeck.runs.replay")
    monkeypatch.setattr(module, "cores", lambda: 64)
    change_json(short / "provenance.json", lambda values: values["threads"].update(number=2))
    seen = []
    log = Reporting(lambda _: seen.append(torch.get_num_threads()))
    found = limbeck.replay(short, reporting=log)
    assert set(seen) == {2}
    assert torch.get_num_threads() == 1
    assert not any("threads" in note and "had" in note for note in found.notes)
    monkeypatch.setattr(module, "cores", lambda: 1)
    found = limbeck.replay(short)
    assert "the run had 2 threads, the replay has 1 (cores here: 1)" in found.notes
    assert "threads.number: 2, now 1" in found.notes


def test_what_an_earlier_version_did_not_record_is_named(short):
    def older(values):
        for group in ("seeds", "machine", "environment", "switches"):
            del values[group]
        values["versions"]["torch"] = "2.6.0"

    change_json(short / "provenance.json", older)
    change_json(short / "summary.json", lambda values: values.pop("test.ece"))
    (short / "predictions.safetensors").unlink()
    found = limbeck.replay(short)
    assert found.equal
    assert found.line.endswith("figures and 56 weights equal")
    notes = " | ".join(found.notes)
    assert "not recorded by the version that made the run: seeds, machine, environment, switches" in notes
    assert re.search(r"versions\.torch: 2\.6\.0, now \d", notes)
    assert "predictions.safetensors is missing or damaged, so it is not compared" in notes
    assert "summary.json alone has summary.json, test.ece" in notes
    (short / "provenance.json").unlink()
    assert any("no provenance.json there" in note for note in limbeck.replay(short).notes)


def test_moved_data_are_found_and_other_data_refused(short, tiny, tmp_path):
    moved = shutil.move(tiny["data"]["root"], tmp_path / "moved")
    with pytest.raises(UserError, match=r"mnist"):
        limbeck.replay(short)
    assert limbeck.replay(short, overrides={"data.root": moved}).equal
    write_mnist(tmp_path / "moved", train=61, test=30)
    with pytest.raises(UserError, match=r"^data: the train images is not as in the run in \S+; expected the same, so"):
        limbeck.replay(short, overrides={"data.root": moved}, out=tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_weights_that_changed_since_are_refused(tiny, short, tmp_path):
    student = {
        **tiny["student"],
        "weights": str(shutil.copy(short / "student.safetensors", tmp_path / "start.safetensors")),
    }
    done = limbeck.run({**tiny, "student": student}, overrides={"training.epochs": 1}, out=tmp_path / "tuned").folder
    assert limbeck.replay(done).equal
    shutil.copy(done / "student.safetensors", tmp_path / "start.safetensors")
    with pytest.raises(UserError, match=r"^files: the content of student\.weights is not as in the run in \S+tuned;"):
        limbeck.replay(done)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"seed": 3}, r"^seed: the run in \S+run has 0, got 3; a replay takes settings alone that change no number"),
        ({"training.epochs": 5}, r"^training.epochs: the run in \S+run has 1, got 5; a replay"),
        ({"method": "dits"}, r"unknown method 'dits'"),
    ],
)
def test_settings_that_change_numbers_are_refused(short, changes, line):
    with pytest.raises(UserError, match=line):
        limbeck.replay(short, overrides=changes)


def test_folders_that_cannot_be_replayed(short, tmp_path):
    with pytest.raises(UserError, match=r"nowhere: no such folder, expected that of a complete run$"):
        limbeck.replay(tmp_path / "nowhere")
    shutil.copytree(short, tmp_path / "both" / "kd" / "seed-0")
    shutil.copytree(short, tmp_path / "both" / "none" / "seed-0")
    runs = f"{tmp_path}/both/kd/seed-0, {tmp_path}/both/none/seed-0"
    with pytest.raises(UserError, match=re.escape(f"holds 2 runs ({runs}), expected the folder of one of them")):
        limbeck.replay(tmp_path / "both")
    with pytest.raises(UserError, match="is the folder of the run itself, expected another --out"):
        limbeck.replay(short, out=short)
    with pytest.raises(UserError, match="resume: expected --out with the folder of the replay that was stopped"):
        limbeck.replay(short, resume=True)
    (short / "summary.json").unlink()
    with pytest.raises(UserError, match=r"no summary\.json there, expected the folder of a complete run"):
        limbeck.replay(short)


def test_a_stopped_replay_is_resumed(done, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        limbeck.replay(done, out=tmp_path / "again", reporting=Reporting(progress=StopAfter(1)))
    found = limbeck.replay(done, out=tmp_path / "again", resume=True)
    assert found.equal
    assert found.run.folder == tmp_path / "again"


def test_the_command(command, short, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = command("run", "--replay", "run", "output.cache=other", "--quiet")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1].startswith("run: the numbers came back: ")
    change_json(short / "summary.json", lambda values: values.update({"test.accuracy": 2.0}))
    code, out, err = command("run", "--replay", "run", "--quiet")
    assert code == 1
    assert re.search(r"^limbeck: run: the numbers did not come back: summary\.json, test\.accuracy: 2\.0, now 0\.", err)
    assert re.search(r"; 1 of \d+ figures differ$", err.rstrip())
    assert "versions, threads and machine are those of the run" in out
    for words in (["quickstart"], ["output.cache=other", "quickstart"]):
        code, _, err = command("run", "--replay", "run", *words)
        assert (code, err) == (
            2,
            "limbeck: RECIPE: got 'quickstart' beside --replay, expected none: the recipe is that of the run\n",
        )
