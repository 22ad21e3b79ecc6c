"""A machine with a GPU: pieces, stages that resume, and steps that are replayed on a CPU."""

import json
import sys
import tarfile
import threading
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

import limbeck
from gpu_runners import maker
from limbeck import Distiller
from limbeck.data import Augment, ImageSet, Views
from limbeck.runs import load_recipe
from limbeck.training import Engine, OptimizerSettings, TrainingSettings, make_fabric, updates

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def runner(script, tmp_path, monkeypatch):
    return maker(script, tmp_path, monkeypatch)


def stage(script, *sources, name="one", rehearsal=(), **more):
    """A stage whose commands are Python sources."""
    words = tuple(("-c", source, "{results}", "{minutes}") for source in sources)
    values = {"minutes": 1, "least": 0, "commands": words, "rehearsal": rehearsal, **more}
    return script("gpu_stages").Stage(name, **values)


WRITE = "import sys, pathlib; pathlib.Path(sys.argv[1], 'out').open('a').write('x')"
FAIL = "raise SystemExit(1)"


def second_time(status):
    """The source of a command that ends with a status first, and with 0 the second time."""
    seen = "import sys, pathlib; path = pathlib.Path(sys.argv[1], 'seen'); done = path.exists(); path.touch()"
    return f"{seen}; raise SystemExit(0 if done else {status})"


def test_every_command_is_one_that_its_script_takes(script, capsys):
    stages = script("gpu_stages")
    places = {"work": "w", "results": "r", "minutes": "1.5"}
    seen = set()
    for one in stages.STAGES:
        assert 0 < one.least <= one.minutes <= 9
        for words in (*one.commands, *one.rehearsal):
            name, *rest = stages.filled(words, places)
            module = script(Path(name).stem)
            assert (FOLDER.parent / name).is_file()
            args = module.arguments(rest)
            seen.add(Path(name).stem)
            if Path(name).stem == "accuracy":
                assert set(args.methods) <= set(script("accuracy_plan").METHODS)
                assert script("accuracy").plan(Path("data"), args)
    assert seen == {
        *("gpu_check", "gpu_tests", "losses", "step", "peers", "sharing", "throughput", "accuracy"),
    }


def test_the_table_on_a_gpu_has_the_papers_recipe(script):
    stages = script("gpu_stages")
    rows = next(one for one in stages.STAGES if one.name == "rows")
    _, *words = stages.filled(rows.commands[1], {"work": "w", "results": "r", "minutes": "2"})
    args = script("accuracy").arguments(words)
    plan = script("accuracy").plan(Path("data"), args)
    assert {row.pair for row in plan} == {"resnet32x4 -> resnet8x4"}
    assert len(plan) == 10 * 3
    for row in plan:
        assert (row.recipe.training.epochs, row.recipe.training.batch_size) == (240, 64)
        assert row.recipe.training.cuda_graph
        assert row.recipe.training.evaluate_every == 1
        assert row.recipe.teacher.training.epochs == 240
    dkd = next(row.recipe.method.composed.settings for row in plan if row.method == "lskd+dkd")["dkd"]
    assert (dkd["temperature"], dkd["alpha"], dkd["beta"], dkd["warmup"]) == (2, 9, 72, 20)


def test_a_runner_goes_on_where_it_stopped(script, runner, tmp_path, capsys):
    stages = [stage(script, WRITE, name="first"), stage(script, WRITE, FAIL, name="second")]
    assert runner().run(stages) == 1
    assert "left: nothing; failed: second" in capsys.readouterr().out
    assert (tmp_path / "work/results/out").read_text() == "xx"
    assert runner().run(stages) == 1
    assert "[1/2] first: finished before" in capsys.readouterr().out
    # What failed is not tried again by the same code.
    assert (tmp_path / "work/results/out").read_text() == "xx"
    with tarfile.open(tmp_path / "back/limbeck-gpu.tar.gz") as archive:
        names = archive.getnames()
        state = json.load(archive.extractfile("state.json"))
    assert {"results/out", "logs/first.txt", "state.json"} <= set(names)
    assert (state["first"]["state"], state["second"]["state"]) == ("finished", "failed")


def test_a_failed_command_is_repeated_by_other_code(script, runner, tmp_path, monkeypatch):
    stages = [stage(script, second_time(1))]
    assert runner().run(stages) == 1
    monkeypatch.setattr(script("gpu_runner"), "code_digest", lambda: "another")
    assert runner().run(stages) == 0


def test_what_is_too_long_is_stopped_and_waits(script, runner, tmp_path, capsys):
    slow = "import time; print('begun', flush=True); time.sleep(60)"
    stages = [stage(script, slow, name="slow"), stage(script, WRITE, name="next", least=0.5)]
    assert runner(minutes=0.08).run(stages) == 0
    out = capsys.readouterr().out
    assert "slow: unfinished" in out
    assert "next: waits" in out
    assert "left: slow, next; failed: none" in out
    assert "begun" in (tmp_path / "work/logs/slow.txt").read_text()


def test_what_takes_longer_than_its_limit_has_failed(script, runner, capsys):
    slow = "import time; time.sleep(60)"
    assert runner().run([stage(script, slow, name="slow", minutes=0.01)]) == 1
    assert "failed: slow" in capsys.readouterr().out


def test_a_command_that_stops_by_itself_is_resumed(script, runner, tmp_path):
    stops = second_time(script("gpu_runner").STOPPED)
    first = runner()
    first.run([stage(script, stops)])
    assert first.state["one"]["state"] == "unfinished"
    second = runner()
    second.run([stage(script, stops)])
    assert second.state["one"]["state"] == "finished"
    assert script("accuracy").STOPPED == script("gpu_runner").STOPPED


def test_recorded_results_are_left_out_unless_wanted_again(script, runner, tmp_path, capsys):
    (tmp_path / "recorded/step-cuda.json").write_text("{}")
    (tmp_path / "recorded/rows-cuda.jsonl").write_text("line\n")
    stages = [stage(script, WRITE, results=("step-cuda",))]
    runner().run(stages)
    assert "recorded in benchmarks/results" in capsys.readouterr().out
    assert not (tmp_path / "work/results/out").exists()
    assert (tmp_path / "work/results/rows-cuda.jsonl").read_text() == "line\n"
    runner(again=True).run(stages)
    assert (tmp_path / "work/results/out").read_text() == "x"


def test_without_packages_a_line_names_the_piece(script, runner, monkeypatch):
    monkeypatch.setattr(script("gpu_runner"), "is_installed", lambda name: False)
    with pytest.raises(SystemExit, match="expected the first piece"):
        runner().unpack([])


def test_only_packages_that_are_not_there_are_installed(script, runner, tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(script("gpu_runner").subprocess, "run", lambda words, **_: commands.append(words))
    (tmp_path / "piece/wheels").mkdir(parents=True)
    # Also of another Python's wheels, as in a rehearsal.
    (tmp_path / "piece/wheels/pydantic_core-1.0-cp39-cp39-linux_x86_64.whl").touch()
    runner().unpack([tmp_path / "piece"])
    assert not commands
    (tmp_path / "work/installed").unlink()
    (tmp_path / "piece/wheels/no_such_package-1.0-py3-none-any.whl").touch()
    runner().unpack([tmp_path / "piece"])
    ((*_, last),) = commands
    assert last.endswith("no_such_package-1.0-py3-none-any.whl")
    assert not any("pydantic_core" in word for word in commands[0])


def test_a_rehearsal_has_a_folder_of_its_own(script, tmp_path, monkeypatch, capsys):
    gpu = script("gpu")
    monkeypatch.setattr(gpu, "STAGES", [])
    words = ["--work", str(tmp_path / "work"), "--pieces", str(tmp_path / "none"), "run", "--rehearse"]
    assert gpu.arguments(words).do(gpu.arguments(words)) == 0
    assert (tmp_path / "work/rehearsal/results").is_dir()
    assert not (tmp_path / "work/results").exists()


def test_stages_wait_for_the_data_of_all_pieces(script, runner, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("LIMBECK_SHARED", raising=False)
    module = script("gpu_runner")
    one, two = tmp_path / "pieces/1", tmp_path / "pieces/2"
    for folder, names in ((one, module.TARS[:1]), (two, module.TARS[1:])):
        (folder / "data").mkdir(parents=True)
        for name in names:
            (folder / "data" / name).write_bytes(b"x")
    (one / "about.json").write_text('{"commit": "abc1234"}')
    (one / "site/limbeck-0.dist-info").mkdir(parents=True)
    stages = [stage(script, WRITE, data=True)]
    first = runner()
    first.unpack([one])
    first.run(stages)
    assert "waits for the other piece" in capsys.readouterr().out
    assert first.shared is None
    second = runner()
    second.unpack([two])
    second.run(stages)
    assert second.environment()["LIMBECK_SHARED"] == str(tmp_path / "work/shared")
    assert second.environment()["LIMBECK_COMMIT"] == "abc1234"
    assert (tmp_path / "work/results/out").read_text() == "x"


def test_a_rehearsal_runs_its_own_commands(script, runner, tmp_path):
    print_it = "import os, sys, pathlib; pathlib.Path(sys.argv[1]).write_text(os.environ['LIMBECK_REHEARSAL'])"
    made = stage(script, FAIL, rehearsal=(("-c", print_it, "{work}/seen"),))
    assert runner(rehearse=True).run([made]) == 0
    assert (tmp_path / "work/seen").read_text() == "1"


def test_finished_rows_are_known_without_their_folders(script, tmp_path):
    ledger = script("ledger")
    recipe = load_recipe("quickstart", {"method": "kd"})
    kept = ledger.Ledger(tmp_path / "rows.jsonl")
    assert kept.get(recipe) is None
    kept.add(recipe, {"last": 70.0}, method="kd")
    again = ledger.Ledger(tmp_path / "rows.jsonl")
    assert again.get(recipe)["last"] == 70.0
    # Where things lie, and what only reports, decides no number.
    moved = load_recipe("quickstart", {"method": "kd", "output.cache": "x", "training.evaluate_every": 3})
    assert again.get(moved)["last"] == 70.0
    assert again.get(load_recipe("quickstart", {"method": "kd", "seed": 1})) is None
    assert again.get(load_recipe("quickstart", {"method": "kd", "training.epochs": 99})) is None


def test_a_result_is_the_last_epoch_with_the_best_one_beside_it(script, tmp_path):
    recipe = {
        "data": {"name": "fashion_mnist_sample", "train_limit": 64, "test_limit": 50},
        "student": "resnet8",
        "method": "none",
        "training": {"epochs": 2, "batch_size": 32, "precision": "fp32"},
    }
    run = limbeck.run(recipe, out=tmp_path / "run")
    found = script("ledger").result_of(limbeck.runs.RunFolder(run.folder))
    assert found["last"] == pytest.approx(100 * run.summary["test.accuracy"])
    assert found["best"] >= found["last"]
    assert found["measured epochs"] == 2
    assert found["seconds"] > 0
    assert found["samples/s"] > 0


def test_the_number_of_processes_is_the_one_that_did_most(script, tmp_path, monkeypatch):
    sharing = script("sharing")
    monkeypatch.setattr(sharing.record, "RESULTS", tmp_path)
    assert sharing.best_jobs("cuda", "resnet20") is None
    speeds = {1: 100, 2: 190, 4: 300, 8: 305}
    rows = [{"pair": "resnet56 -> resnet20", "processes": n, "images/s": speed} for n, speed in speeds.items()]
    (tmp_path / "sharing-cuda.json").write_text(json.dumps({"rows": rows}))
    assert sharing.best_jobs("cuda", "resnet20") == 4
    assert sharing.best_jobs("cuda", "resnet8x4") is None


def test_a_process_trains_with_the_logits_that_another_stored(script, tmp_path):
    work = script("sharing").Work(("resnet8", "resnet8"), "cpu", steps=2, epochs=1, seconds=0.01, folder=tmp_path)
    work.fill()
    images, seconds = work.train(threading.Barrier(1))
    assert images == 2 * 64
    assert seconds > 0


def test_reports_of_tests_are_counted(script):
    text = (
        "<testsuites><testsuite><testcase classname='a' name='b'/>"
        "<testcase classname='a' name='c'><failure/></testcase>"
        "<testcase classname='a' name='d'><skipped/></testcase></testsuite></testsuites>"
    )
    assert script("gpu_tests").counts(ElementTree.fromstring(text)) == {
        "passed": 1,
        "failed": 1,
        "skipped": 1,
        "which failed": "a::c",
    }


def trained(cuda_graph):
    settings = TrainingSettings(
        epochs=2,
        batch_size=16,
        precision="fp32",
        device="cpu",
        cuda_graph=cuda_graph,
        optimizer=OptimizerSettings(name="sgd", lr=0.05, momentum=0.9),
    )
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (150, 1, 8, 8), dtype=torch.uint8, generator=generator)
    split = ImageSet(images, torch.randint(5, (150,), generator=generator))
    views = Views(split, batch_size=16, mean=[0.5], std=[0.2], augment=Augment(crop=1), shuffle=True)
    torch.manual_seed(0)
    networks = [torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 5)) for _ in range(2)]
    distiller, lines = Distiller(*networks, method="dist"), []
    trained = Engine(distiller, views, settings, fabric=make_fabric(settings), splits={}, log=lines.append)
    return trained.fit(), distiller.student[1].weight, lines


def test_a_rehearsal_replays_the_steps_themselves(script, monkeypatch):
    plain, weight, _ = trained(False)
    replayed, recorded = [], script("rehearsal")
    for name in ("CudaRecorder", "GraphedSteps", "why_not_graphed"):
        monkeypatch.setattr(updates, name, getattr(updates, name))
    recorded.replay_steps_eagerly()
    again = recorded.EagerSteps._again
    monkeypatch.setattr(recorded.EagerSteps, "_again", lambda *words: (replayed.append(1), again(*words)))
    record, other, lines = trained(True)
    assert torch.equal(weight, other)
    assert [row["train.loss"] for row in record] == [row["train.loss"] for row in plain]
    assert len(replayed) == 2 * (150 // 16 - 3)
    assert lines == []


def test_one_line_names_what_a_command_lacks(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    with pytest.raises(SystemExit, match="2"):
        script("gpu").main()
    assert "required" in capsys.readouterr().err


def test_results_that_came_back_lie_where_they_are_committed(script, tmp_path, monkeypatch, capsys):
    gpu = script("gpu")
    (tmp_path / "work/results").mkdir(parents=True)
    (tmp_path / "work/results/step-cuda.md").write_text("# Steps\n")
    (tmp_path / "work/results/step-cpu.md").write_text("# Rehearsed\n")
    with tarfile.open(tmp_path / "back.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "work/results", arcname="results")
    (tmp_path / "tree/benchmarks/results").mkdir(parents=True)
    monkeypatch.setattr(gpu, "TREE", tmp_path / "tree")
    words = ["--work", str(tmp_path / "else"), "collect", str(tmp_path / "back.tar.gz")]
    assert gpu.arguments(words).do(gpu.arguments(words)) == 0
    assert (tmp_path / "tree/benchmarks/results/step-cuda.md").read_text() == "# Steps\n"
    assert not (tmp_path / "tree/benchmarks/results/step-cpu.md").exists()
