"""The command line, as a user types it: what it prints, and its exit codes."""

import os
import subprocess
import sys

import pytest
import torch
import yaml

from limbeck.recipes.packaged import packaged


@pytest.fixture
def recipe(tiny, tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny))
    return path


def test_run(limbeck, recipe, tmp_path):
    code, out, err = limbeck("run", recipe, "method=kd", "training.epochs=1", "--out", tmp_path / "r")
    assert (code, err) == (0, "")
    assert "training resnet8 as teacher" in out
    assert "epoch 1/1  loss" in out
    assert "test accuracy" in out.splitlines()[-1]
    assert (tmp_path / "r" / "summary.json").is_file()


def test_run_resumes(limbeck, recipe, tmp_path):
    limbeck("run", recipe, "--out", tmp_path / "r")
    code, _, err = limbeck("run", recipe, "--out", tmp_path / "r")
    assert (code, err.count("\n")) == (2, 1)
    assert "already holds a run" in err
    assert limbeck("run", recipe, "--out", tmp_path / "r", "--resume")[0] == 0


def test_compare(limbeck, recipe, tmp_path):
    code, out, _ = limbeck(
        "compare", recipe, "--methods", "none,kd,lr", "--seeds", 2, "--jobs", 1, "--out", tmp_path / "c"
    )
    assert code == 0
    assert "gain" in out
    assert "±" in out
    assert "table.md" in out.splitlines()[-1]


def test_a_comparison_with_a_failed_run_prints_its_table_and_ends_with_1(limbeck, recipe, tmp_path):
    settings = "compare.settings={lr@bad: {ce_weight: 1.0e+38, kd_weight: 1.0e+38}}"
    words = ["compare", recipe, "training.epochs=1", settings, "--methods", "none,lr@bad", "--jobs", 1]
    code, out, err = limbeck(*words, "--out", tmp_path / "c", "--quiet")
    assert code == 1
    assert err == "limbeck: 1 of the runs failed; the same command with --resume tries them again\n"
    assert out.splitlines()[0].strip().startswith("resnet8 on mnist")
    assert "0 of 1" in out
    assert "lr@bad, seed 0 failed: epoch 1, step" in out
    assert "epoch 1/1" not in out
    code, out, err = limbeck(*words[:-4], "--methods", "none", "--jobs", 1, "--out", tmp_path / "c", "--resume")
    assert (code, err) == (0, "")
    code, out, err = limbeck("compare", recipe, "--methods", "none", "--jobs", 1, "--out", tmp_path / "c")
    assert (code, err.count("\n")) == (2, 1)
    code, out, err = limbeck(
        "compare", recipe, "--methods", "none", "--jobs", 1, "--out", tmp_path / "c", "--overwrite"
    )
    assert (code, err) == (0, "")
    assert not (tmp_path / "c" / "lr@bad").exists()


def test_run_overwrites_with_the_option_alone(limbeck, recipe, tmp_path):
    limbeck("run", recipe, "training.epochs=1", "--out", tmp_path / "r")
    code, out, _ = limbeck("run", recipe, "training.batch_size=30", "--out", tmp_path / "r", "--overwrite")
    assert code == 0
    assert "epoch 2/2" in out


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (OSError(28, "No space left on device", "/full/file"), 1, "limbeck: /full/file: No space left on device\n"),
        (RecursionError("maximum"), 2, "limbeck: something given is nested too deeply, expected a few levels\n"),
        (MemoryError(), 1, "limbeck: the memory is full\n"),
        (torch.OutOfMemoryError("CUDA out of memory.\nTried"), 1, "limbeck: the device's memory is full (CUDA out"),
    ],
)
def test_errors_of_memory_and_files_are_one_line(limbeck, recipe, monkeypatch, error, code, line):
    def refuse(*args, **settings):
        raise error

    monkeypatch.setattr("limbeck.runs.run", refuse)
    found, _, err = limbeck("run", recipe)
    assert (found, err.count("\n")) == (code, 1)
    assert err.startswith(line)


def test_a_mistake_of_the_programs_is_no_users_line(limbeck, recipe, monkeypatch):
    def fail(*args, **settings):
        raise KeyError("a bug")

    monkeypatch.setattr("limbeck.runs.run", fail)
    with pytest.raises(KeyError):
        limbeck("run", recipe)


def test_echoed_input_is_limited(limbeck):
    code, _, err = limbeck("methods", "x" * 10**6)
    assert (code, len(err) < 3000) == (2, True)
    code, _, err = limbeck("run", "quickstart", f"--{'x' * 10**6}")
    assert (code, len(err) < 3000, err.endswith("see limbeck run --help\n")) == (2, True, True)


def test_names_that_are_no_text_are_printed(tiny, tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({**tiny, "training": {**tiny["training"], "epochs": 1}}))
    command = [sys.executable, "-m", "limbeck", "run", path, "--out", os.fsencode(tmp_path) + b"/r\xff"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"r\\udcff" in done.stdout


def test_a_reader_that_stops_reading_gets_no_traceback():
    command = f"{sys.executable} -m limbeck methods --markdown | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("# Methods\n", "")


def test_methods(limbeck):
    code, out, _ = limbeck("methods")
    assert code == 0
    assert all(name in out for name in ("none", "dr_kd", "lr_ds", "revise"))
    code, out, _ = limbeck("methods", "dist")
    assert code == 0
    assert all(word in out for word in ("2205.10536", "published", "temperature", "76.31"))


def test_recipes(limbeck, tmp_path):
    code, out, _ = limbeck("recipes")
    assert code == 0
    assert out.count("\n") == len(packaged())
    code, out, _ = limbeck("recipes", "own-images")
    (tmp_path / "mine.yaml").write_text(out)
    assert limbeck("run", tmp_path / "mine.yaml", "training.epochs=0")[0] == 2
    code, _, err = limbeck("recipes", "quikstart")
    assert (code, "did you mean 'quickstart'" in err) == (2, True)


@pytest.mark.parametrize("words", [("--help",), ("run", "--help"), ("compare", "--help"), ("methods", "--help")])
def test_help_has_examples(limbeck, words):
    code, out, _ = limbeck(*words)
    assert code == 0
    assert "limbeck" in out
    assert "Examples" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "quikstart"), "unknown recipe 'quikstart'; did you mean 'quickstart'"),
        (("run", "gone.yaml"), "recipe gone.yaml: no such file"),
        (("run", "quickstart", "training.epochs"), "expected key=value"),
        (("run", "quickstart", "training.epochs=0"), "training.epochs: got 0"),
        (("run", "quickstart", "method=dits"), "unknown method 'dits'"),
        (("run", "quickstart", "method.temperature=-2"), "dist.temperature: got -2"),
        (("compare", "quickstart", "--methods", "kd,dits"), "unknown method 'dits'"),
        (("methods", "dits"), "unknown method 'dits'; did you mean 'dts' or 'dist'"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(limbeck, monkeypatch, tmp_path, words, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = limbeck(*words)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert "Traceback" not in out + err
    assert not list(tmp_path.glob("runs*"))


@pytest.mark.parametrize("words", [("rum",), ("run",), ("run", "quickstart", "--outt", "x")])
def test_an_unknown_command_or_option_is_exit_code_2(limbeck, words):
    code, _, err = limbeck(*words)
    assert code == 2
    assert "Traceback" not in err


def test_a_failure_is_one_line_and_exit_code_1(limbeck, recipe, tmp_path):
    code, _, err = limbeck("run", recipe, "training.optimizer.lr=1e30", "--out", tmp_path / "r")
    assert code == 1
    assert err.startswith("limbeck: epoch 1, step 2 of 3: the loss part")
    assert err.count("\n") == 1


def test_the_installed_command(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "limbeck", "run", "nothing"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("limbeck: unknown recipe 'nothing'")


def test_ctrl_c_is_one_line_and_resume_continues_the_run(limbeck, recipe, tmp_path, monkeypatch):
    from limbeck.cli.console import LiveProgress

    def stop(self, row, epochs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(LiveProgress, "epoch", stop)
        code, _, err = limbeck("run", recipe, "--out", tmp_path / "r")
    assert (code, err) == (130, "limbeck: stopped; the same command with --resume continues\n")
    code, out, _ = limbeck("run", recipe, "--out", tmp_path / "r", "--resume")
    assert code == 0
    assert "epoch 1/2" not in out
    assert "epoch 2/2" in out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["run"], "limbeck: Missing argument 'RECIPE'; see limbeck run --help"),
        (["run", "quickstart", "--sed", "3"], "limbeck: No such option: --sed; see limbeck run --help"),
        (["frobnicate"], "limbeck: No such command 'frobnicate'; see limbeck --help"),
        (["compare", "quickstart", "--seeds", "x"], "limbeck: Invalid value for '--seeds': "),
    ],
)
def test_a_mistake_in_the_command_itself_is_one_line(limbeck, words, line):
    code, out, err = limbeck(*words)
    assert (code, out) == (2, "")
    # Versions of click write an option's name in two ways.
    assert err.replace("option '--sed'", "option: --sed").startswith(line)
    assert err.count("\n") == 1


def test_version(limbeck):
    code, out, _ = limbeck("--version")
    assert code == 0
    assert out.startswith("limbeck ")
    assert "torch" in out
