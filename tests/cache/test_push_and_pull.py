"""``limbeck cache push`` and ``pull``: a cache and its teacher on another machine, and the same run there."""

import json
import shutil

import fsspec
import pytest
import yaml

from limbeck.build.reporting import Reporting
from limbeck.cache.remote import RemoteFolder
from limbeck.runs import run

URL = "memory://bucket/limbeck"


@pytest.fixture(autouse=True)
def _clear():
    yield
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]


@pytest.fixture
def recipe(tiny, tmp_path):
    path = tmp_path / "tiny.yaml"
    teacher = {**tiny["teacher"], "cache": "views"}
    path.write_text(yaml.safe_dump({**tiny, "method": "kd", "teacher": teacher}))
    return path


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Move to a machine of that name, which has caches of its own."""

    def move(name):
        monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / name))
        return tmp_path / name

    return move


def numbers(folder):
    """The rows of a run's metrics without what depends on the clock, and its weights."""
    header, *rows = (line.split(",") for line in (folder / "metrics.csv").read_text().splitlines())
    kept = [column for column, name in enumerate(header) if "second" not in name]
    return [[row[column] for column in kept] for row in rows], (folder / "student.safetensors").read_bytes()


def tree(folder, *parts):
    """The content of all files below, without locks."""
    paths = [path for part in parts for path in (folder / part).rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths if "lock" not in path.name}


@pytest.mark.parametrize("mode", ["views", "epochs"])
def test_a_pulled_cache_gives_the_very_same_run(limbeck, recipe, machine, tmp_path, mode):
    words, url = (recipe, f"teacher.cache={mode}"), tmp_path / "elsewhere"
    first = machine("first")
    assert limbeck("cache", "build", *words)[0] == 0
    run(recipe, overrides={"teacher.cache": mode}, out=tmp_path / "here")
    code, out, err = limbeck("cache", "push", recipe, url, *words[1:])
    assert (code, err) == (0, "")
    rows = 3000 if mode == "views" else 120
    assert f"logit cache: resnet8 on mnist, {rows:,} of {rows:,} rows in 2 parts, 2 sent now ({url}/logits/" in out
    assert "teacher: 3 parts sent" in out
    assert limbeck("cache", "push", recipe, url, *words[1:], "--quiet")[1] == "cache push: complete, 0 parts sent\n"

    second = machine("second")
    code, out, err = limbeck("cache", "pull", recipe, url, *words[1:])
    assert (code, err) == (0, "")
    assert f"teacher: fetched from {url}/teachers/" in out
    assert f"100.0% stored ({second}/logits/" in out
    assert f"; {rows:,} rows fetched from {url}/logits/" in out
    both = [tree(folder, "logits", "teachers") for folder in (first, second)]
    assert both[0].keys() == both[1].keys()
    assert len(both[0]) == 6
    # The description of a cache is made here, like the cache.
    assert both[0] == both[1]
    assert limbeck("cache", "pull", recipe, url, *words[1:], "--quiet")[1] == "cache pull: complete, 0 rows stored\n"
    lines = []
    run(recipe, overrides={"teacher.cache": mode}, out=tmp_path / "there", reporting=Reporting(lines.append))
    assert not any(line.startswith("training ") for line in lines)
    assert any("100.0% of what this run reads" in line for line in lines)
    assert numbers(tmp_path / "here") == numbers(tmp_path / "there")


@pytest.mark.slow
def test_machines_without_a_shared_folder_fill_a_cache_by_turns(limbeck, recipe, machine):
    first = machine("first")
    assert limbeck("cache", "build", recipe, "--shard", "1/2")[0] == 0
    assert "1,500 of 3,000 rows" in limbeck("cache", "push", recipe, URL)[1]
    second = machine("second")
    assert "1,500 rows fetched" in limbeck("cache", "pull", recipe, URL)[1]
    assert limbeck("cache", "build", recipe, "--shard", "2/2")[0] == 0
    assert "3,000 of 3,000 rows" in limbeck("cache", "push", recipe, URL)[1]
    machine("first")
    code, _, err = limbeck("cache", "push", recipe, URL)
    assert (code, err.count("\n")) == (2, 1)
    assert "holds 1,500 rows that are missing in" in err
    assert limbeck("cache", "pull", recipe, URL)[0] == 0
    assert tree(first, "logits") == tree(second, "logits")
    assert limbeck("cache", "push", recipe, URL)[0] == 0


def test_what_is_damaged_there_is_named_and_nothing_of_it_is_used(limbeck, recipe, machine):
    machine("first")
    limbeck("cache", "build", recipe)
    limbeck("cache", "push", recipe, URL)
    store = fsspec.filesystem("memory").store
    (teacher,) = (name for name in store if "teacher.safetensors" in name)
    (rows,) = (name for name in store if "/rows." in name)
    for name in (teacher, rows):
        whole = store[name].getvalue()
        fsspec.filesystem("memory").pipe_file(name, whole[:-9] + bytes(9))
        there = machine(f"at {name[-4:]}")
        code, _, err = limbeck("cache", "pull", recipe, URL)
        assert (code, err.count("\n")) == (1, 1)
        assert f"memory:/{name}: is damaged, its SHA-256 is not that of the manifest" in err
        assert (
            not any(path.is_dir() and "." not in path.name for path in (there / "teachers").iterdir()) or name == rows
        )
        fsspec.filesystem("memory").pipe_file(name, whole)
        # The same command continues.
        assert limbeck("cache", "pull", recipe, URL)[0] == 0


def test_other_caches_and_teachers_are_refused_in_one_line(limbeck, recipe, machine, tmp_path):
    def fails(*words):
        code, _, err = limbeck("cache", *words)
        assert (code, err.count("\n")) == (2, 1)
        return err

    first = machine("first")
    assert "cache push: nothing is stored for this recipe; expected `limbeck cache build`" in fails("push", recipe, URL)
    assert f"no such teacher; {URL}/teachers is empty; expected `limbeck cache push`" in fails("pull", recipe, URL)
    assert not (first / "teachers").exists()
    limbeck("cache", "build", recipe)
    (teacher,) = (first / "teachers").iterdir()
    # A push that was stopped before its end.
    RemoteFolder.open(URL).child("teachers").child(teacher.name).write("x", b"half")
    machine("second")
    expected = f"{URL}/teachers/{teacher.name}: teacher is not complete; expected `limbeck cache push` to end before"
    assert expected in fails("pull", recipe, URL)
    machine("first")
    limbeck("cache", "push", recipe, URL)
    # Another recipe's.
    other = fails("pull", recipe, URL, "teacher.seed=7")
    assert f"no such teacher; {URL}/teachers has {teacher.name}; expected `limbeck cache push` with the same" in other
    before = sorted((first / "logits").iterdir())
    assert f"no such logit cache; {URL}/logits has " in fails("pull", recipe, URL, "teacher.cache_dtype=float32")
    assert sorted((first / "logits").iterdir()) == before
    # The same recipe's teacher of another training, as on a machine with other numbers of threads.
    second = machine("second")
    shutil.copytree(first / "teachers", second / "teachers")
    weights = second / "teachers" / teacher.name / "teacher.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert f"holds other weights than {weights.parent}, from another training" in fails("pull", recipe, URL)
    # A manifest of another key.
    machine("third")
    there = RemoteFolder.open(URL).child("teachers").child(teacher.name)
    manifest = json.loads(there.read("manifest.json"))
    there.write("manifest.json", json.dumps({**manifest, "key": "0" * 20}).encode())
    assert f"holds teacher of key {'0' * 20}, expected teacher of key {teacher.name}" in fails("pull", recipe, URL)


@pytest.mark.parametrize("command", ["push", "pull"])
def test_mistakes_are_one_line_before_anything_is_loaded(limbeck, recipe, command, tmp_path):
    for words, message in (
        ((recipe, "clowd://b"), "URL 'clowd://b': Protocol not known: clowd; expected such as s3://bucket/folder"),
        ((recipe, "s3://b"), "URL 's3://b': needs a package that is not installed: Install s3fs to access S3"),
        ((recipe, URL, "teacher.cache=off"), "teacher.cache: got 'off', expected views or epochs"),
        ((recipe, URL, "method=none"), "nothing to store, as method 'none' has no network as teacher"),
        (("quikstart", URL), "quikstart"),
    ):
        code, _, err = limbeck("cache", command, *words)
        assert (code, err.count("\n")) == (2, 1)
        assert message in err
    assert not (tmp_path / "cache").exists()
    assert "Examples" in limbeck("cache", command, "--help")[1]
