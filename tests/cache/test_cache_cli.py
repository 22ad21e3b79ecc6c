"""``limbeck cache``, as a person types it."""

import re

import pytest
import yaml

from limbeck.cache import holding


@pytest.fixture
def recipe(tiny, tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({**tiny, "method": "kd"}))
    return path


def folders(tmp_path):
    return list((tmp_path / "cache" / "logits").glob("*"))


def test_a_cache_is_not_deleted_beneath_a_build(limbeck, recipe, tmp_path):
    views = (recipe, "teacher.cache=views")
    assert limbeck("cache", "build", *views)[0] == 0
    (folder,) = (tmp_path / "cache" / "logits").iterdir()
    with holding(folder):
        code, _, err = limbeck("cache", "clear", *views)
    assert code == 1
    assert re.search(r"process \d+ on .* is working on it; wait for it", " ".join(err.split()))
    assert (folder / "about.json").is_file()
    assert limbeck("cache", "clear", *views)[0] == 0
    assert not folder.exists()


def test_build_check_info_clear(limbeck, recipe, tmp_path):
    views = (recipe, "teacher.cache=views")
    code, out, _ = limbeck("cache", "info", *views)
    assert code == 0
    assert "not there yet, would be 60 images x 50 views x 10 classes x float16 = 60 kB, with checksums 72 kB" in out
    assert not (tmp_path / "cache").exists()

    code, out, err = limbeck("cache", "build", *views)
    assert (code, err) == (0, "")
    assert "0.0% stored" in out
    assert "3,000 rows to store" in out
    assert "complete, 3,000 rows stored" in out.splitlines()[-1]
    code, out, _ = limbeck("cache", "build", *views)
    assert "; 0 rows to store" in out

    code, out, err = limbeck("cache", "check", *views)
    assert (code, err) == (0, "")
    assert "100.0% stored" in out
    assert "0 damaged; 64 rows computed again, largest difference 0, up to" in out
    for words in ((), views):
        code, out, _ = limbeck("cache", "info", *words)
        assert code == 0
        assert "resnet8 on mnist: 60 images x 50 views" in out
        assert "100.0% stored, takes" in out

    code, out, _ = limbeck("cache", "clear", *views)
    assert code == 0
    assert out.startswith("deleted: resnet8 on mnist")
    assert folders(tmp_path) == []
    code, out, _ = limbeck("cache", "clear", *views)
    assert (code, "not there yet" in out) == (0, True)
    assert "no logit caches in" in limbeck("cache", "info")[1]


def test_epochs_of_several_seeds(limbeck, recipe, tmp_path):
    words = (recipe, "teacher.cache=epochs", "--seeds", 2)
    assert limbeck("cache", "build", *words)[0] == 0
    assert len(folders(tmp_path)) == 2
    assert limbeck("cache", "check", *words)[1].count("0 damaged") == 2
    assert limbeck("cache", "info", *words)[1].count("100.0% stored") == 2
    assert limbeck("cache", "clear", recipe, "teacher.cache=epochs")[1].count("deleted") == 1
    assert limbeck("cache", "clear", "--all")[1].count("deleted") == 1
    assert folders(tmp_path) == []


def test_damage_is_found_and_made_good(limbeck, recipe, tmp_path):
    views = (recipe, "teacher.cache=views")
    limbeck("cache", "build", *views)
    with (folders(tmp_path)[0] / "logits.bin").open("r+b") as file:
        file.write(b"x")
    code, _, err = limbeck("cache", "check", *views)
    assert code == 1
    assert "1 stored rows were damaged and will be made again" in err
    assert err.count("\n") == 1
    assert "1 rows to store" in limbeck("cache", "build", *views)[1]
    assert limbeck("cache", "check", *views)[0] == 0


def test_rows_of_another_teacher_are_found(limbeck, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("limbeck.build.caching.teacher_hash", lambda teacher: "one for all")
    limbeck("cache", "build", recipe, "teacher.cache=views")
    limbeck("run", recipe, "teacher.seed=1", "--out", tmp_path / "live")
    code, _, err = limbeck("cache", "check", recipe, "teacher.cache=views", "teacher.seed=1")
    assert code == 1
    assert "differs from its teacher; delete it with `limbeck cache clear`" in err
    code, _, err = limbeck("run", recipe, "teacher.cache=views", "teacher.seed=1", "--out", tmp_path / "r")
    assert code == 2
    assert "stored logits differ from the live teacher's by" in err
    assert err.count("\n") == 1


def test_a_damaged_folder_is_described_and_cleared(limbeck, recipe, tmp_path):
    limbeck("cache", "build", recipe, "teacher.cache=views")
    (folders(tmp_path)[0] / "about.json").write_text("{")
    assert "damaged, takes" in limbeck("cache", "info")[1]
    assert limbeck("cache", "clear", "--all")[0] == 0
    assert folders(tmp_path) == []


def test_ctrl_c_prints_how_to_resume(limbeck, recipe, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("limbeck.runs.cache_commands.fill", stop)
    code, _, err = limbeck("cache", "build", recipe, "teacher.cache=views")
    assert (code, err) == (130, "limbeck: stopped; the same command continues\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("build", "RECIPE"), "teacher.cache: got 'off', expected views or epochs, such as teacher.cache=views"),
        (("build", "gone.yaml"), "recipe gone.yaml: no such file"),
        (
            ("build", "RECIPE", "teacher.cache=views", "method=none"),
            "nothing to store, as method 'none' has no network as teacher",
        ),
        (("build", "RECIPE", "teacher.cache=views", "method=lw_kd"), "nothing to store, as a lightweight teacher"),
        (("build", "RECIPE", "teacher.cache=views", "teacher.cache_limit_gb=0.00001"), "72 kB, more than"),
        (("build", "RECIPE", "teacher.cache=epochs", "--seeds", "0"), "seeds: got 0"),
        (("clear",), "cache clear: got neither or both, expected a recipe or --all"),
        (("clear", "RECIPE", "--all"), "cache clear: got neither or both"),
    ],
)
def test_mistakes_are_one_line(limbeck, recipe, words, message):
    code, _, err = limbeck("cache", *(recipe if word == "RECIPE" else word for word in words))
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("words", [(), ("build",), ("check",), ("info",), ("clear",)])
def test_help_has_examples(limbeck, words):
    code, out, _ = limbeck("cache", *words, "--help")
    assert code == 0
    assert "Examples" in out
