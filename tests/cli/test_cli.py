"""The command line, as a person types it: what it prints, and its exit codes."""

import subprocess
import sys

import pytest
import yaml


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
    assert out.count("\n") == 5
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
        (("run", "quikstart"), "unknown recipe 'quikstart'; did you mean 'quickstart'?"),
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
def test_a_word_that_the_command_does_not_know_is_exit_code_2(limbeck, words):
    code, _, err = limbeck(*words)
    assert code == 2
    assert "Traceback" not in err


def test_a_failure_is_one_line_and_exit_code_1(limbeck, recipe, tmp_path):
    code, _, err = limbeck("run", recipe, "training.optimizer.lr=1e30", "--out", tmp_path / "r")
    assert code == 1
    assert err.startswith("limbeck: epoch 1: the loss is")
    assert err.count("\n") == 1


def test_the_installed_command(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "limbeck", "run", "nothing"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("limbeck: unknown recipe 'nothing'")


def test_ctrl_c_is_one_line_and_the_run_goes_on_with_resume(limbeck, recipe, tmp_path, monkeypatch):
    from limbeck.cli.console import LiveProgress

    def stop(self, row, epochs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(LiveProgress, "epoch", stop)
        code, _, err = limbeck("run", recipe, "--out", tmp_path / "r")
    assert (code, err) == (130, "limbeck: stopped; the same command with --resume goes on\n")
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
    assert err.startswith(line)
    assert err.count("\n") == 1


def test_version(limbeck):
    code, out, _ = limbeck("--version")
    assert code == 0
    assert out.startswith("limbeck ")
    assert "torch" in out
