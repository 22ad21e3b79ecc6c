"""Which code a recipe may name, where a run may be put, and which options reach a library's own file loading."""

import sys

import pytest
import yaml

import limbeck as package
from limbeck.errors import UserError
from limbeck.imports import in_working_folder
from limbeck.runs import load_recipe, parse_overrides
from limbeck.runs.cache_commands import clear_caches, describe_caches

NET = """
import torch
from subprocess import run

def make(num_classes):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, num_classes))

def erase(path=""):
    open("erased", "w").close()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    home = tmp_path / "work"
    home.mkdir()
    (home / "trust_net.py").write_text(NET)
    monkeypatch.chdir(home)
    monkeypatch.setitem(sys.modules, "trust_net", None)
    monkeypatch.delitem(sys.modules, "trust_net")
    return home


def written(path, tiny, **changes):
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump({**tiny, **changes}))
    return path


COMMAND = {"name": "python:os:system", "options": {"command": "touch executed"}}


@pytest.mark.parametrize("key", ["student", "teacher"])
def test_a_recipe_that_names_a_command_runs_nothing(limbeck, tiny, folder, key):
    recipe = written(folder / "mine.yaml", tiny, **{key: COMMAND, "method": "kd"})
    for words in (["run"], ["compare", "--jobs", 1], ["cache", "info", "teacher.cache=views"]):
        code, _, err = limbeck(words[0], *words[1:2], recipe, *words[2:])
        # A cache is of the teacher: the student is not made to look at it.
        looks = (words[0], key) == ("cache", "student")
        assert (code, err.count("\n")) == ((0, 0) if looks else (2, 1))
    with pytest.raises(UserError, match=r"got 'python:os:system', but the working folder .* has no module 'os'"):
        package.run({**tiny, key: COMMAND, "method": "kd"})
    assert not (folder / "executed").exists()
    assert not (folder / "runs").exists()


def test_trust_runs_no_command_either(limbeck, tiny, folder):
    for name, message in (
        ("python:os:system", "'system' is a builtin_function_or_method, expected a function or a class of torch.nn"),
        ("python:subprocess:Popen", "'Popen' is the class Popen, expected a function or a class of torch.nn.Module"),
        ("python:trust_net:run", "'run' is defined in subprocess, expected python:subprocess:run"),
    ):
        recipe = written(folder / "mine.yaml", tiny, student={**COMMAND, "name": name})
        code, _, err = limbeck("run", recipe, "--trust")
        assert (code, err.count("\n")) == (2, 1)
        assert message in err
    assert not (folder / "executed").exists()


def test_a_recipe_in_the_working_folder_may_name_its_modules(limbeck, tiny, folder):
    recipe = written(folder / "mine.yaml", tiny, student="python:trust_net:make")
    code, _, err = limbeck("run", recipe, "training.epochs=1", "--out", folder / "r")
    assert (code, err) == (0, "")


def test_commands_that_only_read_import_nothing(limbeck, tiny, folder):
    for method, key in (("kd", "teacher"), ("dr_kd", "student")):
        changes = {key: "python:trust_net:make", "method": method}
        recipe = written(folder / "mine.yaml", tiny, **changes)
        for command in (["cache", "info"], ["cache", "clear"]):
            code, _, err = limbeck(*command, recipe, "teacher.cache=views")
            assert (code, err.count("\n")) == (2, 1)
            assert f"{key}.name: got 'python:trust_net:make', which this never imports" in err
    assert "trust_net" not in sys.modules


def test_a_recipe_from_elsewhere_needs_trust(limbeck, tiny, folder, tmp_path):
    recipe = written(tmp_path / "elsewhere" / "mine.yaml", tiny, student="python:trust_net:make")
    code, _, err = limbeck("run", recipe, "training.epochs=1", "--out", folder / "r")
    assert code == 2
    assert "but the recipe lies outside the working folder; expected --trust" in err
    (folder / "linked.yaml").symlink_to(recipe)
    with pytest.raises(UserError, match="lies outside"):
        load_recipe("linked.yaml")
    assert limbeck("run", recipe, "training.epochs=1", "--out", folder / "r", "--trust")[0] == 0


def test_a_name_typed_on_the_command_line_is_the_users_own(tiny, folder, tmp_path):
    recipe = written(tmp_path / "elsewhere" / "mine.yaml", tiny)
    typed = parse_overrides(["student=python:trust_net:make"])
    assert load_recipe(recipe, typed).student.name == "python:trust_net:make"
    with pytest.raises(UserError, match="has no module 'os'"):
        load_recipe(recipe, parse_overrides(["student=python:os:system"]))


def test_members_and_processes(tiny, folder, tmp_path):
    members = ["python:trust_net:make", {"name": "resnet8", "training": {"epochs": 1}}]
    recipe = written(tmp_path / "elsewhere" / "mine.yaml", tiny, teacher={"members": members})
    with pytest.raises(UserError, match=r"^teacher\.members\.0\.name: got 'python:trust_net:make'"):
        load_recipe(recipe)
    assert load_recipe(recipe, trust=True).teacher.members[0].name == "python:trust_net:make"


def test_trust_reaches_the_runs_of_a_comparison(tiny, folder, tmp_path, monkeypatch):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "trust_lib.py").write_text(NET)
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    compared = {"methods": ["none"], "seeds": 1}
    recipe = {**tiny, "student": "python:trust_lib:make", "compare": compared}
    with pytest.raises(UserError, match="has no module 'trust_lib'"):
        package.compare(recipe, out=folder / "c", jobs=1)
    assert not (folder / "c").exists()
    assert package.compare(recipe, out=folder / "c", jobs=1, trust=True).results[0].method == "none"


def test_what_lies_in_the_working_folder(folder, monkeypatch):
    package = folder / "trust_package"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (package / "inner" / "net.py").write_text(NET)
    (folder / "plain_folder").mkdir()
    (folder / "plain_folder" / "net.py").write_text(NET)
    for taken in ("os", "sys"):
        (folder / f"{taken}.py").write_text("def system(command): pass\n")
    (folder / "torch").mkdir()
    (folder / "torch" / "mine.py").write_text(NET)
    site = folder / ".venv" / "lib" / "site-packages"
    site.mkdir(parents=True)
    (site / "trust_installed.py").write_text(NET)
    monkeypatch.syspath_prepend(str(site))
    for name in ("trust_net:make", "trust_package.inner.net:make", "plain_folder.net:make", "trust_net"):
        assert in_working_folder(name), name
    for name in ("os:system", "sys:exit", "torch.mine:make", "torch.nn:Linear", "trust_installed:make", "gone:make"):
        assert not in_working_folder(name), name
    for name in ("", ":make", "../x:make", "a..b:make", "trust_net/x:y", "plain_folder:make"):
        assert not in_working_folder(name), name
    assert not {"trust_net", "trust_package", "plain_folder"} & set(sys.modules)


@pytest.mark.parametrize(
    "name", ["../../x", "/tmp/x", "a/b", "..", ".", "a\\b", "a\nb", "", "x" * 101, "é" * 51, "a\x7fb"]
)
def test_a_name_stays_within_the_root(tiny, tmp_path, name):
    with pytest.raises(UserError, match="^name: ") as error:
        package.run({**tiny, "name": name})
    assert len(str(error.value)) < 250
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mnist"]


def test_a_name_with_spaces_and_letters_of_any_language_is_a_name(tiny):
    assert load_recipe({**tiny, "name": "my run, 2nd é"}).name == "my run, 2nd é"


@pytest.mark.parametrize("name", ["nul\0", "odd\udcff"])
def test_a_name_that_no_file_system_or_text_takes(tiny, name):
    with pytest.raises(UserError, match="^recipe: name: got "):
        load_recipe({**tiny, "name": name})


@pytest.mark.parametrize("command", [describe_caches, clear_caches])
def test_commands_that_only_read_take_any_recipe_and_import_nothing(folder, tiny, tmp_path, command):
    cached = {**tiny["teacher"], "cache": "views"}
    network = {"name": "python:trust_net:make"}
    elsewhere = written(tmp_path / "elsewhere" / "r.yaml", tiny, student=network, method="kd", teacher=cached)
    lines = []
    command(elsewhere, log=lines.append)
    assert [line.partition(",")[0] for line in lines] == ["logit cache: not there yet"]
    with pytest.raises(UserError, match="teacher.name: got 'python:trust_net:make', which this never imports"):
        command(elsewhere, overrides={"teacher": {**network, "cache": "views"}}, log=lines.append)
    with pytest.raises(UserError, match="data.name: got 'python:trust_net:make', which this never imports"):
        command(elsewhere, overrides={"data": network}, log=lines.append)
    assert "trust_net" not in sys.modules


def test_data_from_elsewhere_needs_trust_too(folder, tiny, tmp_path):
    recipe = written(tmp_path / "elsewhere" / "r.yaml", tiny, data={"name": "python:trust_net:make"})
    with pytest.raises(UserError, match="^data.name: got 'python:trust_net:make', but the recipe lies outside"):
        load_recipe(recipe)
    assert load_recipe(recipe, trust=True).data.name == "python:trust_net:make"
    assert "trust_net" not in sys.modules


LOSS = """
def gap(student_logits, teacher_logits, *, weight=None, power=2.0):
    return (student_logits - teacher_logits).abs().pow(power).mean()
"""


@pytest.fixture
def losses(folder, monkeypatch):
    (folder / "trust_losses.py").write_text(LOSS)
    monkeypatch.setitem(sys.modules, "trust_losses", None)
    monkeypatch.delitem(sys.modules, "trust_losses")
    return "python:trust_losses:gap"


def test_a_method_of_the_working_folder_runs_and_names_its_folder(limbeck, tiny, folder, losses):
    recipe = written(folder / "mine.yaml", tiny, method={"name": f"revise+{losses}", "power": 3.0})
    assert load_recipe(recipe).method.name == f"revise+{losses}"
    assert "trust_losses" not in sys.modules
    code, _, err = limbeck("run", recipe, "training.epochs=1", "output.root=out")
    assert (code, err) == (0, "")
    (run,) = (folder / "out").iterdir()
    assert run.name == "tiny-revise+python-trust_losses-gap-seed0"
    assert "train.gap" in (run / "metrics.csv").read_text().splitlines()[0].split(",")
    assert limbeck("run", recipe, "training.epochs=1", "output.root=out", "--resume")[0] == 0


def test_a_wrong_setting_of_such_a_method_leaves_nothing_behind(limbeck, tiny, folder, losses):
    recipe = written(folder / "mine.yaml", tiny, method={"name": losses, "powr": 3.0})
    code, _, err = limbeck("run", recipe, "output.root=out")
    assert (code, "unknown setting 'powr'; did you mean 'power'?" in err) == (2, True)
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "python:os:system"},
        {"method": " python:os:system"},
        {"method": {"name": "revise + python:os:system"}},
        {"compare": {"methods": "none,python:os:system"}},
        {
            "compare": {
                "methods": ["none", "revise+python:os:system@hot"],
                "settings": {"revise+python:os:system@hot": {"a": 1}},
            }
        },
        {"compare": {"settings": {"python:os:system": {"alpha": 0.5}}}},
        {"method": {"name": "kd", "kd": {"alpha": 0.5}, "python:os:system": {"alpha": 0.5}}, "seed": 1},
    ],
)
def test_no_key_names_code_from_elsewhere(tiny, folder, changes):
    with pytest.raises(UserError) as error:
        load_recipe({**tiny, **changes})
    expected = "unknown setting" if "seed" in changes else "got 'python:os:system', but the working folder"
    assert expected in str(error.value)


def test_a_method_from_elsewhere_needs_trust(tiny, folder, losses, tmp_path):
    for key, changes in (
        ("method.name", {"method": losses}),
        ("compare.methods.0", {"compare": {"methods": [losses]}}),
    ):
        recipe = written(tmp_path / "elsewhere" / "mine.yaml", tiny, **changes)
        with pytest.raises(UserError, match=f"^{key}: got '{losses}', but the recipe lies outside the working folder"):
            load_recipe(recipe)
        load_recipe(recipe, trust=True)
    typed = parse_overrides([f"compare.methods=none,{losses}"])
    assert load_recipe(written(tmp_path / "elsewhere" / "mine.yaml", tiny), typed).compare.methods == ("none", losses)
    assert "trust_losses" not in sys.modules


@pytest.mark.parametrize("command", ["info", "clear"])
def test_commands_that_only_read_import_no_method(limbeck, tiny, folder, losses, command):
    recipe = written(folder / "mine.yaml", tiny, method=f"revise+{losses}")
    code, _, err = limbeck("cache", command, recipe, "teacher.cache=views")
    assert (code, err.count("\n")) == (2, 1)
    assert f"method.name: got '{losses}', which this never imports" in err
    assert "trust_losses" not in sys.modules
