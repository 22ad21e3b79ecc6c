"""Commands on folders with any damaged file, and hostile command lines: exit code 0, 1 or 2, at most one line."""

import csv
import io
import json
import os
import shutil
import struct
from importlib import import_module

import pytest
import yaml
from hypothesis import strategies as st
from safetensors.torch import load_file, save

import limbeck as library
from changed_json import changed
from fuzzing import Crash, amounts, damaged, fuzz, outcome
from limbeck.errors import RunError, UserError
from limbeck.models.checkpoints import read_about
from limbeck.recipes import packaged
from stopped_runs import stopping

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 9)}]}}\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
GARBAGE = (
    *(b"", bytes(100), b"hello\n", b"[1, 2]", b'{"a": 1}', b"[" * 100_000, b'{"a":' * 100_000, b"NaN", b"9" * 5000),
    *(b"\xff\xfe\xe9" * 10, b"PK\x03\x04" + bytes(50), b"\xff" * 8 + b"{}", struct.pack("<Q", 2) + b"{}"),
    *(struct.pack("<Q", 10**12) + b"{}", BOMB.encode(), b'a,b\n1,2,3\n"', b"cos\nmkdir\n(S'ran'\ntR."),
)
TRAINING = {
    "epochs": 2,
    "batch_size": 20,
    "optimizer": {"name": "sgd", "lr": 0.05},
    "precision": "fp32",
    "device": "cpu",
}
RECIPE = {
    "name": "tiny",
    "data": "iris",
    "teacher": {"name": "mlp", "training": {**TRAINING, "epochs": 1}, "cache": "epochs"},
    "student": {"name": "mlp", "options": {"hidden": 4}},
    "method": "kd",
    "training": TRAINING,
    "compare": {"methods": ["none", "kd"], "seeds": 1},
}
OF_RUN = (
    ("run", "r.yaml", "--out", "w", "--resume", "--quiet"),
    ("report", "w", "--out", "w.html"),
    ("evaluate", "w", "--out", "evaluated", "--overwrite"),
    ("predict", "w", "x.csv"),
    ("export", "w", "--out", "w.safetensors", "--overwrite", "--quiet"),
)
OF_COMPARISON = (
    ("compare", "r.yaml", "--out", "w", "--resume", "--quiet", "--jobs", "1"),
    ("report", "w", "--out", "w.html"),
)
OF_CACHE = (
    ("run", "r.yaml", "--out", "w", "--overwrite", "--quiet"),
    ("cache", "info"),
    ("cache", "check", "r.yaml"),
    ("cache", "build", "r.yaml"),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A complete run, one that was stopped, a comparison, and the caches of all of them."""
    home = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIMBECK_CACHE", str(home / "cache"))
        patch.setattr("limbeck.runs.pictures.save_class_picture", lambda figures, path, title: path)
        # The package has a function of the module's name.
        patch.setattr(import_module("limbeck.runs.compare"), "write_page", lambda *args, **more: None)
        library.run(RECIPE, out=home / "done")
        library.compare(RECIPE, out=home / "compared", jobs=1)
        with pytest.raises(KeyboardInterrupt):
            library.run(RECIPE, out=home / "stopped", reporting=stopping(1, 2))
    (home / "r.yaml").write_text(yaml.safe_dump(RECIPE))
    columns = read_about(home / "done" / "student.safetensors")["numeric"]
    (home / "x.csv").write_text(f"{','.join(columns)}\n1,2,3,4\n")
    return home


@pytest.fixture
def place(made, tmp_path, monkeypatch):
    """A working folder with the recipe, and a copy of the caches."""
    for name in ("r.yaml", "x.csv"):
        shutil.copy(made / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def checked(command, words):
    """Run a command; raise its line as a UserError, and Crash for all that is none."""
    code, _, err = command(*words)
    lines = err.splitlines()
    if code not in (0, 1, 2) or "Traceback" in err or (code and len(lines) > 1) or not "".join(lines).isprintable():
        raise Crash(f"{words}: exit code {code}, {err[-500:]!r}")
    # A group of commands alone prints its help.
    if code and not lines and words != ("cache",):
        raise Crash(f"{words}: exit code {code} without a line")
    if code:
        raise UserError(lines[0] if lines else "its help")


def contents(folder, file):
    """What may stand in a file's place: it with damage, with other values, or something else."""
    content = file.read_bytes()
    more = []
    if file.suffix == ".json":
        more.append(changed(json.loads(content)).map(lambda value: json.dumps(value).encode()))
    elif file.suffix == ".yaml":
        more.append(changed(yaml.safe_load(content)).map(_yaml))
    elif file.suffix == ".csv":
        more.append(changed([*csv.reader(io.StringIO(content.decode()))]).map(_csv))
    elif file.name == "student.safetensors":
        tensors, about = load_file(file), read_about(file)
        more.append(changed(about).map(lambda value: save(tensors, metadata={"limbeck": json.dumps(value)})))
    inputs = st.one_of(damaged(content), st.sampled_from(GARBAGE), *more)
    return st.tuples(st.just(file.relative_to(folder)), inputs)


def _yaml(value):
    return yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass")


def _csv(rows):
    text = io.StringIO()
    csv.writer(text).writerows([row if isinstance(row, list) else [row] for row in rows])
    return text.getvalue().encode("utf-8", "surrogatepass")


def any_file(folder, commands):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return st.sampled_from(files).flatmap(lambda file: st.tuples(contents(folder, file), st.sampled_from(commands)))


def copied(source, target):
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


@pytest.mark.parametrize(("name", "commands"), [("done", OF_RUN), ("stopped", OF_RUN[:1]), ("compared", OF_COMPARISON)])
@amounts(8, 250)
def test_folders_with_a_damaged_file(examples, name, commands, made, place, limbeck, slow_counts, monkeypatch):
    monkeypatch.setenv("LIMBECK_CACHE", str(place / "cache"))
    copied(made / "cache", place / "cache")

    def attempt(trial):
        ((file, content), words) = trial
        copied(made / name, place / "w")
        (place / "w" / file).write_bytes(content)
        checked(limbeck, words)

    fuzz(attempt, any_file(made / name, commands), examples=examples, count=slow_counts, clean=(UserError, RunError))
    assert not (place / "ran").exists()


@amounts(8, 250)
def test_caches_and_kept_teachers_with_a_damaged_file(examples, made, place, limbeck, slow_counts, monkeypatch):
    monkeypatch.setenv("LIMBECK_CACHE", str(place / "cache"))
    expected = json.loads((made / "done" / "summary.json").read_text())["test.accuracy"]

    def attempt(trial):
        ((file, content), words) = trial
        copied(made / "cache", place / "cache")
        (place / "cache" / file).write_bytes(content)
        checked(limbeck, words)
        if words[0] == "run" and json.loads((place / "w" / "summary.json").read_text())["test.accuracy"] != expected:
            raise Crash("another accuracy")

    fuzz(attempt, any_file(made / "cache", OF_CACHE), examples=examples, count=slow_counts)


def hostile_lines():
    """Command lines with anything in them."""
    words = (
        *("run", "compare", "search", "check", "advise", "report", "predict", "evaluate", "export", "speed", "methods"),
        *("recipes", "cache", "info", "clear", "--resume", "--overwrite", "--out", "--help", "--version", "-"),
        *(
            "--seeds",
            "--jobs",
            "--methods",
            "--runs",
            "--minutes",
            "-1",
            "0",
            "nan",
            "x",
            "",
            " ",
            "\0",
            "\udcff",
            "😀",
        ),
        *("w", "nowhere", "r.yaml", "x.csv", "/", "/dev/null", "..", "~nosuchuser", "a" * 5000, "--", "--nope", "-q"),
        *(
            "method=nope",
            "training.epochs=0",
            "a.b.c.d=1",
            "=",
            "x=",
            "data.root=/dev/zero",
            "seed=" + "9" * 5000,
            "&a *a",
        ),
        *(
            "teacher.weights=/dev/zero",
            "teacher.weights=w",
            "data={name: table, root: w}",
            "student=sklearn:SVC",
            "[",
            "{",
        ),
        *(
            "student=python:os:system",
            "teacher.name=python:antigravity:x",
            "data.options={a: 1}",
            "training={a: {b: 1}}",
        ),
    )
    starts = st.sampled_from(("check", "report", "predict", "evaluate", "export", "cache", "recipes", "methods"))
    rest = st.lists(st.sampled_from((*words, *packaged())), max_size=5)
    return st.tuples(starts, rest).map(lambda parts: (parts[0], *parts[1]))


@amounts(25, 300)
def test_hostile_command_lines(examples, made, place, limbeck, slow_counts):
    copied(made / "done", place / "w")
    fuzz(lambda words: checked(limbeck, words), hostile_lines(), examples=examples, count=slow_counts, seconds=120)


def command(limbeck, *words):
    """Run a command, which is refused; return its line."""
    with pytest.raises(UserError) as error:
        checked(limbeck, words)
    return str(error.value)


@pytest.mark.parametrize("name", ["recipe.yaml", "summary.json", "student.safetensors", "metrics.csv"])
def test_pipes_in_a_runs_folder_do_not_hang(name, made, place, limbeck):
    copied(made / "done", place / "w")
    (place / "w" / name).unlink()
    os.mkfifo(place / "w" / name)
    for words in OF_RUN[:4]:
        outcome(lambda words=words: checked(limbeck, words), seconds=30)


@pytest.mark.parametrize(
    "words", [("predict", "~nosuchuser", "x.csv"), ("report", "~nosuchuser"), ("export", "~nosuchuser")]
)
def test_the_home_of_a_user_who_is_not_known(words, place, limbeck):
    assert "'~nosuchuser', whose home folder is not known" in command(limbeck, *words)


def test_a_recipe_in_a_runs_folder_that_repeats_itself(made, place, limbeck):
    copied(made / "stopped", place / "w")
    (place / "w" / "recipe.yaml").write_text(BOMB)
    assert "recipe.yaml: holds no recipe" in command(limbeck, *OF_RUN[0])


def test_a_checkpoint_of_another_training_is_named(made, place, limbeck):
    from limbeck.training.checkpoint import save_checkpoint

    copied(made / "stopped", place / "w")
    save_checkpoint(place / "w" / "checkpoints" / "last", {"epoch": 1})
    line = command(limbeck, *OF_RUN[0])
    assert "checkpoints/last: holds no checkpoint of this training (KeyError: 'record'); expected" in line


def test_a_comparison_of_more_seeds_than_there_can_be_is_read_at_once(made, place, limbeck):
    copied(made / "compared", place / "w")
    recipe = yaml.safe_load((place / "w" / "recipe.yaml").read_text())
    recipe["compare"]["seeds"] = 10**15
    (place / "w" / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    checked(limbeck, OF_COMPARISON[1])
